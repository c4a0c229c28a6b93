"""What librdkafka tells of a route's connections."""

from __future__ import annotations

from worker.metrics.metric import Metric

_CLIENT = ("route", "client")

KAFKA: tuple[Metric, ...] = (
    Metric(
        "worker_kafka_round_trip_seconds",
        "gauge",
        "Round trip to the slowest broker within the last interval.",
        (*_CLIENT, "percentile"),
    ),
    Metric(
        "worker_kafka_throttle_seconds",
        "gauge",
        "Time for which the strictest broker throttles a request, on average of the last interval.",
        _CLIENT,
    ),
    Metric(
        "worker_kafka_queue_records",
        "gauge",
        "Records in librdkafka's queues: fetched ahead, or not acknowledged yet.",
        _CLIENT,
        aggregate="livesum",
    ),
    Metric(
        "worker_kafka_queue_bytes",
        "gauge",
        "Bytes in librdkafka's queues.",
        _CLIENT,
        aggregate="livesum",
    ),
    Metric(
        "worker_kafka_connected_brokers",
        "gauge",
        "Brokers that the client is connected to.",
        _CLIENT,
        aggregate="livemin",
        from_start=False,
    ),
    Metric(
        "worker_kafka_bytes_total",
        "counter",
        "Bytes on the wire to and from brokers.",
        (*_CLIENT, "direction"),
    ),
    Metric(
        "worker_kafka_faults_total",
        "counter",
        "Requests to brokers that timed out or were sent again, and connections lost.",
        (*_CLIENT, "fault"),
    ),
)
