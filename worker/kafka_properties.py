"""
Which librdkafka properties an operator may set: all of them, but those the worker owns.

A property decides delivery (`acks`, `enable.idempotence`), positions (`enable.auto.commit`) or identity (`group.id`);
where the worker's guarantees rest on it, a value from the configuration is refused by name instead of being ignored.
"""

from __future__ import annotations

from collections.abc import Mapping

from worker.errors import ConfigError

Property = str | int | float | bool

_DELIVERY = "the worker's delivery guarantee rests on it; choose [delivery] mode instead"
_POSITIONS = "the worker commits positions itself, after the sink's flush"

OWNED: Mapping[str, str] = {
    "acks": _DELIVERY,
    "auto.commit.enable": _POSITIONS,
    "auto.commit.interval.ms": _POSITIONS,
    "auto.offset.reset": "set the route's source.start and source.on_offset_loss instead",
    "bootstrap.servers": "set [kafka] bootstrap instead",
    "delivery.report.only.error": _DELIVERY,
    "delivery.timeout.ms": "set the sink's timeout_s instead",
    "enable.auto.commit": _POSITIONS,
    "enable.auto.offset.store": _POSITIONS,
    "enable.gapless.guarantee": _DELIVERY,
    "enable.idempotence": _DELIVERY,
    "enable.partition.eof": "the worker sets it for bounded runs",
    "group.id": "set the route's group instead",
    "isolation.level": _DELIVERY,
    "message.timeout.ms": "set the sink's timeout_s instead",
    "metadata.broker.list": "set [kafka] bootstrap instead",
    "partitioner": "set the sink's partitioning instead",
    "request.required.acks": _DELIVERY,
    "transaction.timeout.ms": "set the sink's transaction_timeout_s instead",
    "transactional.id": "it is built from region, group and instance; set WORKER_INSTANCE instead",
}
"""Property name to what an operator does instead."""


def check_properties(properties: Mapping[str, Property]) -> None:
    """
    Refuse properties that the worker owns, and values that no librdkafka property has.

    Raises:
        ConfigError: names every refused property and the remedy, never a value.
    """
    refused = [f"{name}: {OWNED[name]}" for name in sorted(properties) if name in OWNED]
    refused += [f"{name}: callbacks can't be configured" for name in sorted(properties) if name.endswith("_cb")]
    refused += [
        f"{name}: a value is text, a number or a boolean"
        for name, value in sorted(properties.items())
        if not isinstance(value, str | int | float | bool)
    ]
    if refused:
        raise ConfigError("these Kafka properties can't be set: " + "; ".join(refused))


def connection_properties(bootstrap: str, properties: Mapping[str, Property]) -> dict[str, Property]:
    """Return what every client of this cluster shares, the operator's properties checked; raises `ConfigError`."""
    check_properties(properties)
    return {**properties, "bootstrap.servers": bootstrap}


def client_properties(
    connection: Mapping[str, Property],
    *,
    defaults: Mapping[str, Property],
    owned: Mapping[str, Property],
) -> dict[str, Property]:
    """
    Return one client's properties: the worker's defaults, over them the operator's, over them what the worker owns.

    Args:
        connection: what `connection_properties` returned.
        defaults: what an operator may change.
        owned: what an operator may not; each name is in `OWNED` or specific to one client.

    Raises:
        ConfigError: `connection` holds a property that the worker owns.
    """
    check_properties({name: value for name, value in connection.items() if name != "bootstrap.servers"})
    return {**defaults, **connection, **owned}
