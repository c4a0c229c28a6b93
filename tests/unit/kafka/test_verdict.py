"""What a client's error means for the loop."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from worker.errors import ConfigError, FatalError, Fenced, SinkUnavailable, SourceUnavailable, WorkerError
from worker.kafka.verdict import read_error, write_error

_DEAD = "Fatal error: Broker: Static consumer fenced by other consumer with same group.instance.id"


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (KafkaError(KafkaError._FATAL, _DEAD), Fenced),
        (KafkaError(KafkaError._FATAL, "Fatal error: something else"), FatalError),
        (KafkaError(KafkaError.FENCED_INSTANCE_ID), Fenced),
        (KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), ConfigError),
        (KafkaError(KafkaError._AUTHENTICATION, "invalid credentials"), SourceUnavailable),
        (KafkaError(KafkaError._TIMED_OUT), SourceUnavailable),
    ],
)
def test_an_error_becomes_its_verdict(error: KafkaError, verdict: type[WorkerError]) -> None:
    """A dead client stops the worker, a missing right too; refused credentials and outages pause."""
    assert type(read_error(error, "reading")) is verdict


@pytest.mark.parametrize(
    ("code", "verdict", "told"),
    [
        (KafkaError._FENCED, Fenced, "its own WORKER_INSTANCE"),
        (KafkaError.INVALID_TRANSACTION_TIMEOUT, ConfigError, "transaction_timeout_s is over"),
        (KafkaError._UNKNOWN_PARTITION, SinkUnavailable, "fewer partitions than the source"),
        (KafkaError._TIMED_OUT, SinkUnavailable, "_TIMED_OUT"),
    ],
)
def test_what_a_writer_meets_says_what_to_do(code: int, verdict: type[WorkerError], told: str) -> None:
    """Nobody waits for what never comes."""
    found = write_error(KafkaError(code), "route r: writing")

    assert type(found) is verdict
    assert told in str(found)
