"""What is looked at beside the records: the source's identity, and how far the route is behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import structlog

from worker.errors import TransientError
from worker.metrics import Metrics
from worker.model import TopicPartition
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
        clock: seconds, monotonic.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._assignment, self._options = source, assignment, options
        self._health, self._metrics, self._away, self._clock = health, metrics, away, clock
        self._at = 0.0

    def turn(self) -> None:
        """Look, if it is time; raises what `Source.verify` finds."""
        if self._clock() < self._at:
            return
        self._at = self._clock() + self._options.verify_interval_s
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

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """These are gone: their lag is another member's to tell."""
        for partition in partitions:
            try:
                self._metrics.remove("worker_lag_records", **self._labels(partition))
            except KeyError:
                continue

    def _labels(self, partition: TopicPartition) -> dict[str, str]:
        return {"route": self._health.route, "topic": partition.topic, "partition": str(partition.partition)}
