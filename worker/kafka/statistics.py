"""What librdkafka says of itself, as metrics; its own statistics are described in its STATISTICS.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import orjson

from worker.metrics import Metrics

INTERVAL_MS = 30_000
"""How often a client tells its statistics; an operator changes it by `statistics.interval.ms`, 0 ends it."""

_FAULTS = {"timeout": "req_timeouts", "retry": "txretries", "disconnect": "disconnects"}
_BYTES = {"sent": "txbytes", "received": "rxbytes"}


class ClientStatistics:
    """
    Exports one client's statistics; `__call__` is its `stats_cb`.

    Values of several brokers become one: the slowest round trip, the strictest throttle, sums of what is counted. A
    client that replaces another begins to count at 0, and the metric goes on from where it stood.

    Args:
        metrics: the worker's.
        route: the route's name.
        client: which of the route's clients it is.
    """

    def __init__(self, metrics: Metrics, *, route: str, client: Literal["source", "sink"]) -> None:
        self._metrics = metrics
        self._labels = {"route": route, "client": client}
        self._name = ""
        self._seen: dict[tuple[str, str], float] = {}

    def __call__(self, text: str) -> None:
        """Take one statement, JSON."""
        told: dict[str, Any] = orjson.loads(text)
        if told.get("name") != self._name:
            self._name, self._seen = str(told.get("name")), {}
        brokers = list(told.get("brokers", {}).values())
        self._gauges(told, brokers)
        for fault, field in _FAULTS.items():
            self._count("worker_kafka_faults_total", "fault", fault, _sum(brokers, field))
        for direction, field in _BYTES.items():
            self._count("worker_kafka_bytes_total", "direction", direction, _sum(brokers, field))

    def _gauges(self, told: Mapping[str, Any], brokers: list[Mapping[str, Any]]) -> None:
        partitions = [
            partition for topic in told.get("topics", {}).values() for partition in topic.get("partitions", {}).values()
        ]
        fetched, fetched_bytes = _sum(partitions, "fetchq_cnt"), _sum(partitions, "fetchq_size")
        set_, labels = self._metrics.set, self._labels
        set_("worker_kafka_queue_records", told.get("msg_cnt", 0) + fetched, **labels)
        set_("worker_kafka_queue_bytes", told.get("msg_size", 0) + fetched_bytes, **labels)
        # Node -1 are bootstrap addresses and the coordinator by its role: the same brokers once more.
        connected = sum(1 for b in brokers if b.get("state") == "UP" and b.get("nodeid", -1) >= 0)
        set_("worker_kafka_connected_brokers", connected, **labels)
        for percentile in ("p50", "p99"):
            microseconds = max((b.get("rtt", {}).get(percentile, 0) for b in brokers), default=0)
            set_("worker_kafka_round_trip_seconds", microseconds / 1e6, percentile=percentile, **labels)
        milliseconds = max((b.get("throttle", {}).get("avg", 0) for b in brokers), default=0)
        set_("worker_kafka_throttle_seconds", milliseconds / 1e3, **labels)

    def _count(self, metric: str, label: str, word: str, total: float) -> None:
        grown = total - self._seen.get((metric, word), 0.0)
        self._seen[metric, word] = total
        if grown > 0:
            self._metrics.inc(metric, grown, **self._labels, **{label: word})


def _sum(parts: Iterable[Mapping[str, Any]], field: str) -> float:
    # librdkafka says -1 where it does not know.
    return float(sum(max(0, part.get(field, 0)) for part in parts))
