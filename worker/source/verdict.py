"""librdkafka's errors as the worker's."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError

from worker.errors import FatalError, Fenced, SourceUnavailable, WorkerError

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

_FENCED = frozenset({KafkaError.FENCED_INSTANCE_ID})
_REFUSED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.SASL_AUTHENTICATION_FAILED,
    }
)


def as_error(error: Any, doing: str) -> WorkerError:
    """Return what a `KafkaError` means for the loop; its text is librdkafka's and holds no record."""
    text = f"{doing}: {error.name()}"
    if error.code() in _FENCED:
        return Fenced(f"{text}: another process has this instance's name; give each its own WORKER_INSTANCE")
    if error.code() in _REFUSED:
        return FatalError(f"{text}: the broker refuses this identity; see its least rights in docs/delivery.md")
    if error.fatal():
        return FatalError(text)
    return SourceUnavailable(text)
