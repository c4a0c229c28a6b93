"""Credentials for Kafka leave this machine over TLS alone."""

from __future__ import annotations

import pytest

from worker.assembly.connections import checked_connection
from worker.errors import ConfigError
from worker.kafka.properties import Property

URL = "sasl.oauthbearer.token.endpoint.url"
OIDC: dict[str, Property] = {"security.protocol": "SASL_SSL", "sasl.mechanisms": "OAUTHBEARER"}
PLAIN: dict[str, Property] = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}


@pytest.mark.parametrize(
    "url", ["http://idp.example/token", "HTTP://10.0.0.1/token", "ftp://idp.example/", "idp/token"]
)
def test_a_token_endpoint_off_this_machine_is_asked_over_https(url: str) -> None:
    """librdkafka sends the client's secret there."""
    with pytest.raises(ConfigError, match=URL):
        checked_connection("b:9092", {**OIDC, URL: url})


@pytest.mark.parametrize("url", ["https://idp.example/token", "http://127.0.0.1:8080/token", "http://localhost/token"])
def test_https_and_loopback_are_taken(url: str) -> None:
    """As for every other service."""
    assert checked_connection("b:9092", {**OIDC, URL: url})[URL] == url


@pytest.mark.parametrize(
    "bootstrap", ["kafka.eu:9092", "localhost:9092,kafka.eu:9092", "SASL_PLAINTEXT://kafka.eu:9092"]
)
@pytest.mark.parametrize("mechanism", ["PLAIN", "OAUTHBEARER", "plain"])
def test_a_password_or_token_is_not_sent_in_the_clear(bootstrap: str, mechanism: str) -> None:
    """Mechanisms that send the secret itself need TLS."""
    with pytest.raises(ConfigError, match="use SASL_SSL"):
        checked_connection(bootstrap, {**PLAIN, "sasl.mechanism": mechanism})


@pytest.mark.parametrize(
    ("bootstrap", "changed"),
    [
        ("127.0.0.1:9092, [::1]:9092", {}),
        ("kafka.eu:9092", {"sasl.mechanism": "SCRAM-SHA-512"}),
        ("kafka.eu:9092", {"security.protocol": "SASL_SSL"}),
    ],
)
def test_loopback_tls_and_proofs_are_taken(bootstrap: str, changed: dict[str, Property]) -> None:
    """SCRAM proves the password without sending it."""
    assert checked_connection(bootstrap, {**PLAIN, **changed})
