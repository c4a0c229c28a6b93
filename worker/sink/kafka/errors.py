"""Kafka's errors as verdicts."""

from __future__ import annotations

import re

from confluent_kafka import KafkaError, KafkaException

from worker.errors import ConfigError, Fenced, SinkUnavailable, WorkerError
from worker.kafka_errors import Needs, missing_right, refusal

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


def error_of(exc: KafkaException) -> KafkaError:
    """Return the `KafkaError` that an exception carries."""
    error = exc.args[0]
    assert isinstance(error, KafkaError)
    return error


def verdict(error: KafkaError, what: str, *, needs: Needs | None = None) -> WorkerError:
    """Return what to raise: `Fenced`, `ConfigError` for a missing right (`needs` names it), else `SinkUnavailable`."""
    code = error.code()
    if code in FENCED:
        return Fenced(f"{what}: a newer owner has fenced this one ({error.name()}); exactly one may run")
    right = missing_right(error, needs)
    if right is not None:
        return ConfigError(f"{what}: {right}")
    return SinkUnavailable(f"{what}: {refusal(error) or error.name()}")


def unmade(exc: KafkaException) -> WorkerError:
    """Return why a client could not be made: no access token, or a property, by its name and never its value."""
    if error_of(exc).code() == KafkaError.SASL_AUTHENTICATION_FAILED:
        return SinkUnavailable("no access token for Kafka; the log says why (kafka_token_unusable)")
    named = re.search(r'property:? "([A-Za-z0-9_.]+)"', str(error_of(exc).str()))
    where = f"Kafka property {named[1]}" if named else "a Kafka property"
    return ConfigError(f"{where} is unknown to librdkafka or has a value it refuses; see librdkafka's CONFIGURATION.md")
