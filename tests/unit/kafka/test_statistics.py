"""librdkafka's statistics become metrics of few series."""

from __future__ import annotations

import json
from typing import Any

from worker.kafka.statistics import ClientStatistics
from worker.metrics import Metrics


def told(name: str = "rdkafka#producer-1", **broker: Any) -> str:
    own = {"nodeid": 1, "state": "UP", "rtt": {"p50": 2_000, "p99": 9_000}, "throttle": {"avg": 30}, "req_timeouts": 4}
    partition = {"fetchq_cnt": 7, "fetchq_size": 700, "consumer_lag": -1}
    return json.dumps(
        {
            "name": name,
            "msg_cnt": 3,
            "msg_size": 300,
            "brokers": {
                "a": {**own, "txbytes": 1_000, "rxbytes": 10, "txretries": 0, "disconnects": 1, **broker},
                "b": {**own, "nodeid": 2, "state": "DOWN", "rtt": {"p50": 1, "p99": 1}, "txbytes": -1},
                "coordinator": {**own, "nodeid": -1},
            },
            "topics": {"t": {"partitions": {"0": partition, "-1": {}}}},
        }
    )


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    of_client = {"region": "eu-central-1", "route": "r", "client": "sink"}
    return metrics.registry.get_sample_value(name, {**of_client, **labels})


def test_of_several_brokers_the_worst_counts() -> None:
    """Gauges are the slowest, the strictest, or sums; a broker named by its role is none of its own."""
    metrics = Metrics("eu-central-1")

    ClientStatistics(metrics, route="r", client="sink")(told())

    assert value(metrics, "worker_kafka_round_trip_seconds", percentile="p99") == 0.009
    assert value(metrics, "worker_kafka_throttle_seconds") == 0.03
    assert value(metrics, "worker_kafka_queue_records") == 10
    assert value(metrics, "worker_kafka_queue_bytes") == 1000
    assert value(metrics, "worker_kafka_connected_brokers") == 1


def test_a_client_that_replaces_another_counts_on() -> None:
    """Counters grow by what each client added, and never go back."""
    metrics = Metrics("eu-central-1")
    statistics = ClientStatistics(metrics, route="r", client="sink")

    for statement in (told(), told(txbytes=1_500), told("rdkafka#producer-2", txbytes=200)):
        statistics(statement)

    assert value(metrics, "worker_kafka_bytes_total", direction="sent") == 1_700
    assert value(metrics, "worker_kafka_faults_total", fault="disconnect") == 2


def test_a_client_without_brokers_yet_says_so() -> None:
    """The first statement may come before any connection."""
    metrics = Metrics("eu-central-1")

    ClientStatistics(metrics, route="r", client="sink")('{"name": "rdkafka#producer-1"}')

    assert value(metrics, "worker_kafka_connected_brokers") == 0
