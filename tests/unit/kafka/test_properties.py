"""Which librdkafka properties an operator may set."""

from __future__ import annotations

import pytest

from worker.errors import ConfigError
from worker.kafka.properties import OWNED, client_properties, connection_properties, is_authenticated


@pytest.mark.parametrize("name", sorted(OWNED))
def test_an_owned_property_is_refused_by_name(name: str) -> None:
    """A property that the worker owns is refused, naming it and no value."""
    with pytest.raises(ConfigError, match=name) as caught:
        connection_properties("b:9092", {name: "hunter2"})

    assert "hunter2" not in str(caught.value)


def test_any_other_property_passes() -> None:
    """Whatever the worker does not own reaches librdkafka, over the worker's defaults."""
    connection = connection_properties("b:9092", {"ssl.ca.location": "/ca.pem", "linger.ms": 50})

    made = client_properties(connection, defaults={"linger.ms": 5, "compression.type": "lz4"}, owned={"acks": "all"})

    assert made == {
        "bootstrap.servers": "b:9092",
        "ssl.ca.location": "/ca.pem",
        "linger.ms": 50,
        "compression.type": "lz4",
        "acks": "all",
        "reconnect.backoff.max.ms": 1_000,
    }


def test_a_callback_is_refused() -> None:
    """A callback's name can't be configured."""
    with pytest.raises(ConfigError, match="oauth_cb"):
        connection_properties("b:9092", {"oauth_cb": "os.system"})


TLS = {"security.protocol": "SASL_SSL", "ssl.ca.location": "/etc/worker/ca.pem"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"security.protocol": "ssl"}, True),
        ({"ssl.ca.location": "", "ssl.ca.pem": "-----BEGIN CERTIFICATE-----"}, True),
        ({"security.protocol": "SASL_PLAINTEXT"}, False),
        ({"ssl.ca.location": ""}, False),
        ({"ssl.ca.location": "probe"}, False),
        ({"ssl.ca.location": "/etc/ssl/certs/ca-certificates.crt"}, False),
        ({"ssl.ca.location": "/etc/pki/tls/certs/ca-bundle.crt"}, False),
        ({"enable.ssl.certificate.verification": "false"}, False),
        ({"ssl.endpoint.identification.algorithm": "none"}, False),
    ],
)
def test_a_cluster_is_authenticated_by_a_named_ca_alone(changes: dict[str, str], expected: bool) -> None:
    """Only verified TLS against a CA that the operator names proves whose cluster it is; the system's CAs do not."""
    assert is_authenticated({**TLS, **changes}) is expected


def test_without_properties_nothing_is_authenticated() -> None:
    """A connection in the clear proves nothing."""
    assert not is_authenticated({"bootstrap.servers": "b:9092"})
