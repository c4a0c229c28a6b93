"""Records, dead letters and the ledger into Kafka: at least once, or exactly once in a transaction."""

from worker.sink.kafka.deadletters import KafkaDeadLetters
from worker.sink.kafka.options import KafkaSinkOptions
from worker.sink.kafka.pin import ClusterPin
from worker.sink.kafka.sink import KafkaSink
from worker.sink.kafka.transactions import transactional_id

__all__ = ["ClusterPin", "KafkaDeadLetters", "KafkaSink", "KafkaSinkOptions", "transactional_id"]
