"""What a client's error means for the loop."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from worker.errors import ConfigError, FatalError, Fenced, SourceUnavailable, WorkerError
from worker.kafka.verdict import read_error

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
