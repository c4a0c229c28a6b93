"""Real Apache Kafka and PostgreSQL on loopback, without Docker: for the demonstration, the tests and the benchmarks."""

from worker.local.kafka import LocalKafka
from worker.local.postgres import LocalPostgres, declare_region

__all__ = ["LocalKafka", "LocalPostgres", "declare_region"]
