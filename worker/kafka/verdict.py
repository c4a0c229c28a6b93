"""librdkafka's errors as the worker's, for who reads and who writes."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError, KafkaException

from worker.errors import (
    ConfigError,
    FatalError,
    Fenced,
    SinkRejected,
    SinkUnavailable,
    SourceUnavailable,
    WorkerError,
)
from worker.kafka.refusals import Needs, missing_right, named, refusal

NOT_THE_OWNER = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._STATE,
    }
)
"""A commit refused with one of these came too late: the group has moved on."""

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

_TWICE = "another process has this instance's name; give each its own WORKER_INSTANCE"
_TEXT_CHARACTERS = 300
_FENCED = frozenset({KafkaError.FENCED_INSTANCE_ID})
_STAMP = "its timestamp is further from the brokers' time than message.timestamp.after.max.ms or before.max.ms allow"
_RECORD = f"it has no key and the topic is compacted, or {_STAMP}"
_REJECTED = {
    KafkaError.INVALID_TIMESTAMP: _STAMP,
    KafkaError.INVALID_RECORD: _RECORD,
    # What librdkafka says of every other record of that request.
    KafkaError._INVALID_DIFFERENT_RECORD: _RECORD,
}
"""What makes a broker refuse a record for good."""


def error_of(exc: KafkaException) -> KafkaError:
    """Return the `KafkaError` that an exception carries."""
    error = exc.args[0]
    assert isinstance(error, KafkaError)
    return error


def read_error(error: Any, doing: str, *, needs: Needs | None = None) -> WorkerError:
    """
    Return what a `KafkaError` means for who reads; its text is librdkafka's and holds no record.

    Refused credentials pause: who changes a password at the broker may not have reached the worker yet. A missing right
    stops: the broker knows who asks.

    Args:
        error: the error.
        doing: what was being done.
        needs: the rights that it takes.
    """
    text = f"{doing}: {named(error)}"
    if error.code() in _FENCED:
        return Fenced(f"{text}: {_TWICE}")
    right = missing_right(error, needs)
    if right is not None:
        return ConfigError(f"{doing}: {right}")
    if refused := refusal(error):
        return SourceUnavailable(f"{doing}: {refused}")
    if error.code() == KafkaError._FATAL:
        # As a message's error it bears no other mark: the client is dead, its cause stands in the text alone.
        what = error.str()[:_TEXT_CHARACTERS]
        return Fenced(f"{doing}: {what}; {_TWICE}") if "fenced" in what.lower() else FatalError(f"{doing}: {what}")
    if error.fatal():
        return FatalError(text)
    return SourceUnavailable(text)


def write_error(error: KafkaError, what: str, *, needs: Needs | None = None) -> WorkerError:
    """
    Return what a `KafkaError` means for who writes.

    `Fenced`, `ConfigError` for a missing right (`needs` names it), `SinkRejected` where a topic takes no such record,
    which one the brokers do not say; else `SinkUnavailable`.
    """
    code = error.code()
    if code in FENCED:
        return Fenced(f"{what}: a newer owner has fenced this one ({error.name()}); exactly one may run: {_TWICE}")
    if code == KafkaError._UNKNOWN_PARTITION:
        remedy = "its topic has fewer partitions than the source; once it has as many the route goes on"
        return SinkUnavailable(f"{what}: {named(error)}: {remedy}")
    if code == KafkaError.INVALID_TRANSACTION_TIMEOUT:
        return ConfigError(f"{what}: transaction_timeout_s is over the brokers' transaction.max.timeout.ms; lower it")
    right = missing_right(error, needs)
    if right is not None:
        return ConfigError(f"{what}: {right}")
    if why := _REJECTED.get(code):
        return SinkRejected(f"{what}: a topic refuses a record, {why}")
    return SinkUnavailable(f"{what}: {refusal(error) or named(error)}")
