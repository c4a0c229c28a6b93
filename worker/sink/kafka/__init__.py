"""Records, dead letters and the ledger into Kafka: at least once, or exactly once in a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker import lazy
from worker.sink.kafka.options import KafkaSinkOptions

if TYPE_CHECKING:
    from worker.sink.kafka.deadletters import KafkaDeadLetters
    from worker.sink.kafka.pin import ClusterPin
    from worker.sink.kafka.sink import KafkaSink
    from worker.sink.kafka.transactions import transactional_id

__all__ = ["ClusterPin", "KafkaDeadLetters", "KafkaSink", "KafkaSinkOptions", "transactional_id"]

__getattr__ = lazy.parts(
    __name__,
    {
        "KafkaDeadLetters": "worker.sink.kafka.deadletters",
        "ClusterPin": "worker.sink.kafka.pin",
        "KafkaSink": "worker.sink.kafka.sink",
        "transactional_id": "worker.sink.kafka.transactions",
    },
)
