"""Which librdkafka properties an operator may set."""

from __future__ import annotations

import pytest

from worker.errors import ConfigError
from worker.kafka_properties import OWNED, client_properties, connection_properties


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
    }


def test_a_callback_is_refused() -> None:
    """A callback's name can't be configured."""
    with pytest.raises(ConfigError, match="oauth_cb"):
        connection_properties("b:9092", {"oauth_cb": "os.system"})
