"""
Which librdkafka properties an operator may set: all of them, but those the worker owns.

A property decides delivery (`acks`, `enable.idempotence`), positions (`enable.auto.commit`) or identity (`group.id`);
where the worker's guarantees rest on it, a value from the configuration is refused by name instead of being ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from worker.errors import ConfigError

TokenCallback = Callable[[str], tuple[str, float]]
Property = str | int | float | bool | TokenCallback
"""A librdkafka property's value; the one callback is the worker's own `oauth_cb`."""

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
    "group.instance.id": "set the route's source.static_membership and WORKER_INSTANCE instead",
    "group.protocol": "set the route's source.assignment instead",
    "isolation.level": _DELIVERY,
    "max.poll.interval.ms": "set the route's source.max_poll_interval_s instead",
    "message.timeout.ms": "set the sink's timeout_s instead",
    "metadata.broker.list": "set [kafka] bootstrap instead",
    "partition.assignment.strategy": "set the route's source.assignment instead",
    "partitioner": "set the sink's partitioning instead",
    "request.required.acks": _DELIVERY,
    "session.timeout.ms": "set the route's source.session_timeout_s instead",
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


_OURS = ("bootstrap.servers", "oauth_cb")
_DEFAULTS: Mapping[str, Property] = {
    # A client asks who has taken over whenever it fails to reach the old one, so this is how late it may notice: up to
    # librdkafka's 10 s, where Java's client has 1 s.
    "reconnect.backoff.max.ms": 1_000,
}
"""What an operator may change for every client."""


def connection_properties(
    bootstrap: str, properties: Mapping[str, Property], *, tokens: TokenCallback | None = None
) -> dict[str, Property]:
    """
    Return what every client of this cluster shares: the operator's properties, checked, over the worker's defaults.

    Args:
        bootstrap: the cluster's addresses.
        properties: the operator's, secrets included.
        tokens: supplies access tokens for OAUTHBEARER.

    Raises:
        ConfigError: a property is refused, or tokens are given and the properties speak another mechanism.
    """
    check_properties(properties)
    connection: dict[str, Property] = {**_DEFAULTS, **properties, "bootstrap.servers": bootstrap}
    if tokens is not None:
        mechanism = properties.get("sasl.mechanisms", properties.get("sasl.mechanism"))
        if mechanism != "OAUTHBEARER" or "SASL" not in str(properties.get("security.protocol", "")).upper():
            raise ConfigError('[kafka] oauth needs security.protocol = "SASL_SSL" and sasl.mechanisms = "OAUTHBEARER"')
        if properties.get("sasl.oauthbearer.method") == "oidc":
            raise ConfigError("[kafka] oauth and sasl.oauthbearer.method = oidc both supply tokens; keep one")
        connection["oauth_cb"] = tokens
    return connection


_SYSTEM_STORES = (
    "/etc/ssl/",
    "/etc/pki/",
    "/usr/share/ca-certificates",
    "/usr/local/share/certs",
    "/etc/ca-certificates",
)


def is_authenticated(connection: Mapping[str, Property]) -> bool:
    """
    Whether what a broker says of itself counts: over TLS, verified, against a CA that the operator names.

    The system's store, by default or by its path, holds every public CA, so it proves no region's.
    """
    value = {name: str(v).strip() for name, v in connection.items()}
    verifies = value.get("enable.ssl.certificate.verification", "true").lower() == "true"
    names_host = value.get("ssl.endpoint.identification.algorithm", "https").lower() == "https"
    authority = value.get("ssl.ca.location", "")
    system = authority in ("", "probe") or authority.startswith(_SYSTEM_STORES)
    pinned = bool(value.get("ssl.ca.pem")) or not system
    return "SSL" in value.get("security.protocol", "").upper().split("_") and verifies and names_host and pinned


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
    check_properties({name: value for name, value in connection.items() if name not in _OURS})
    return {**defaults, **connection, **owned}
