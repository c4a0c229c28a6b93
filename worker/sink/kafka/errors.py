"""Kafka's errors as verdicts."""

from __future__ import annotations

import re

from confluent_kafka import KafkaError, KafkaException

from worker.errors import ConfigError, Fenced, SinkUnavailable, WorkerError

FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.INVALID_PRODUCER_EPOCH,
        90,  # PRODUCER_FENCED
    }
)
"""A newer owner of the same transactional id or group instance is at work."""

MOVED = frozenset({KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS})
"""The group has given the partitions to somebody else, or is about to."""

_DENIED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
    }
)


def error_of(exc: KafkaException) -> KafkaError:
    """Return the `KafkaError` that an exception carries."""
    error = exc.args[0]
    assert isinstance(error, KafkaError)
    return error


def verdict(error: KafkaError, what: str) -> WorkerError:
    """Return what to raise: `Fenced`, `ConfigError` for a refused identity, else `SinkUnavailable`."""
    code = error.code()
    if code in FENCED:
        return Fenced(f"{what}: a newer owner has fenced this one ({error.name()}); exactly one may run")
    if code in _DENIED:
        return ConfigError(f"{what}: refused ({error.name()}); grant the ACLs of docs/sinks.md or mend the credentials")
    return SinkUnavailable(f"{what}: {error.name()}")


def bad_property(exc: KafkaException) -> ConfigError:
    """Return the refusal of a client's properties: the property's name, never its value."""
    named = re.search(r'property:? "([A-Za-z0-9_.]+)"', str(error_of(exc).str()))
    where = f"Kafka property {named[1]}" if named else "a Kafka property"
    return ConfigError(f"{where} is unknown to librdkafka or has a value it refuses; see librdkafka's CONFIGURATION.md")
