"""What is looked at beside the records: the source's identity, and how far the route is behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import structlog

from worker.errors import TransientError
from worker.metrics import Metrics
from worker.model import Batch, TopicPartition
from worker.pipeline.assignment import Assignment
from worker.pipeline.health import RouteHealth
from worker.pipeline.options import DeliveryOptions
from worker.source.base import Source

_log = structlog.get_logger(__name__)


class SourceWatch:
    """
    Compares the source with what it was, and tells the lag, every `verify_interval_s`.

    Args:
        source: asked, never waited for.
        assignment: whose positions count.
        options: how often.
        health: told when the source is back.
        metrics: where lag and backlog are told.
        away: told when the source does not answer.
    """

    def __init__(
        self,
        source: Source,
        assignment: Assignment,
        *,
        options: DeliveryOptions,
        health: RouteHealth,
        metrics: Metrics,
        away: Callable[[TransientError], None],
    ) -> None:
        self._source, self._assignment, self._options = source, assignment, options
        self._health, self._metrics, self._away = health, metrics, away
        self._at = 0.0

    def turn(self) -> None:
        """Look, if it is time; raises what `Source.verify` finds."""
        if time.monotonic() < self._at:
            return
        self._at = time.monotonic() + self._options.verify_interval_s
        route = self._health.route
        try:
            answered = self._source.verify()
        except TransientError as exc:
            self._away(exc)
        else:
            if answered and self._health.resume("source"):
                _log.info("resumed", route=route, reason="source")
        self._metrics.set("worker_backlog_records", self._assignment.backlog(), route=route)
        for partition, lag in self._source.lag(self._assignment.positions()).items():
            self._metrics.set("worker_lag_records", lag, **self._labels(partition))

    def count(self, chunk: Batch, seconds: float) -> None:
        """Count what was read, and how long that took."""
        route = self._health.route
        self._metrics.observe("worker_stage_seconds", seconds, route=route, stage="poll")
        for run in chunk.runs:
            labels = {"route": route, "topic": run.topic}
            self._metrics.inc("worker_source_records_total", run.stop - run.start, **labels)
            self._metrics.inc("worker_source_bytes_total", chunk.content_bytes(run), **labels)

    def held(self, partitions: int) -> None:
        """So many partitions are paused because the batch before takes long."""
        self._metrics.set("worker_paused_partitions", partitions, route=self._health.route, reason="backpressure")

    def rebalanced(self, change: str, partitions: Collection[TopicPartition]) -> None:
        """The group has given partitions (`assigned`), or taken some (`revoked`, `lost`)."""
        route, count = self._health.route, len(self._assignment)
        self._health.set_assigned(count)
        self._metrics.set("worker_assigned_partitions", count, route=route)
        self._metrics.inc("worker_rebalances_total", route=route, change=change)
        _log.info(change, route=route, partitions=[str(p) for p in partitions])
        if change != "assigned":
            self._forget(partitions)

    def _forget(self, partitions: Collection[TopicPartition]) -> None:
        """Drop the lag of partitions that are gone: it is another member's to tell."""
        for partition in partitions:
            try:
                self._metrics.remove("worker_lag_records", **self._labels(partition))
            except KeyError:
                continue

    def _labels(self, partition: TopicPartition) -> dict[str, str]:
        return {"route": self._health.route, "topic": partition.topic, "partition": str(partition.partition)}
