"""
The only loop: poll, process, write, flush, commit.

::

    collect ──full or old──▶ job: process ─▶ begin, write ─▶ flush ─▶ commit ──▶ committed
       ▲                       │               │               │          │
       │                       └───revoked─────┴──▶ aborted    │          └─ fate unknown ─▶ positions read again
       └── lane: arriving ─(positions read, sought)─▶ active   └─ revoked: waits for it, lost: aborts

Two threads: this one owns the consumer and polls always, with its partitions paused while a batch takes long, so the
group never takes them away because a sink or the authority is slow; `Delivery` has the batch. While one batch is
delivered the next one is collected: at most two are held.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

from worker import failpoints
from worker.errors import TransientError
from worker.metrics import Metrics
from worker.model import TopicPartition
from worker.pipeline.collect import Collector
from worker.pipeline.delivery import Delivery, away
from worker.pipeline.health import RouteHealth
from worker.pipeline.job import DeadLetterWriter, Job, Outcome, Processor
from worker.pipeline.lanes import Lanes
from worker.pipeline.options import DeliveryOptions
from worker.pipeline.progress import RouteProgress
from worker.sink.base import Sink
from worker.source.base import Source

_log = structlog.get_logger(__name__)
_POLL_S = 0.05
# Pausing throws away what was fetched ahead, so a batch that is merely slow is waited for.
_PAUSE_AFTER_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """
    Where a bounded run ends: at what was the end when a partition was assigned, or before a time (ms since 1970).

    With `hold` the member stays at the end until it is stopped: one of several, which may be given more partitions.
    """

    until_ms: int | None = None
    hold: bool = False


class RouteRunner:
    """
    Runs one route until stopped, until its bounds, or until an error that must stop it.

    Args:
        source: closed when `run` ends.
        processor: records to records.
        sink: closed when `run` ends.
        dead_letters: seals what fails.
        options: batches, retries, stopping.
        health: the route's facts.
        metrics: written to once a batch.
        bounds: for a run that ends by itself; needs a bounded source.
        limit: end after this many records.
    """

    def __init__(
        self,
        source: Source,
        processor: Processor,
        sink: Sink,
        dead_letters: DeadLetterWriter,
        *,
        options: DeliveryOptions,
        health: RouteHealth,
        metrics: Metrics,
        bounds: Bounds | None = None,
        limit: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._sink = sink
        self._options = options
        self._health = health
        self._metrics = metrics
        self._clock = clock
        self._holds = bounds is not None and bounds.hold
        self._lanes = Lanes(source, sink, bounded=bounds is not None, until_ms=bounds.until_ms if bounds else None)
        self._collector = Collector(options, self._lanes, limit=limit, clock=clock)
        self._delivery = Delivery(
            source, processor, sink, dead_letters, options=options, health=health, metrics=metrics
        )
        self._job: Job | None = None
        self._unstored: dict[TopicPartition, int] = {}
        self._store_at = 0.0
        self._held = False
        self._stopping = threading.Event()
        self._look_at = 0.0
        self._place_at = 0.0
        self._joined_at: float | None = None
        # What a killed predecessor left open under this sink's name counts as a commit of unknown fate.
        self._unsettled = self._delivery.is_transactional

    def progress(self) -> RouteProgress:
        """How far the route has come; safe from any thread."""
        return RouteProgress(
            self._health.route,
            self._delivery.outcomes(),
            self._lanes.spans(),
            self._lanes.done(),
            self._source.partitions(),
        )

    def stop(self) -> None:
        """Ask for a graceful end; safe from any thread and from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """
        Run the route.

        Raises:
            FatalError: going on would be wrong; what was under way has been flushed or abandoned.
        """
        why = "stopped"
        try:
            self._delivery.start()
            if self._subscribe():
                while not self._stopping.is_set() and not self._finished():
                    self._turn()
                self._drain()
        except BaseException as exc:
            why = f"stopped by {type(exc).__name__}"
            raise
        finally:
            self._close(why)

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """The group gave partitions: they wait for their positions."""
        failpoints.hit("on_assign")
        if self._joined_at is None:
            self._joined_at = self._clock()
        self._lanes.add(partitions)
        self._tell_assigned()
        self._metrics.inc("worker_rebalances_total", route=self._health.route, change="assigned")
        _log.info("assigned", route=self._health.route, partitions=[str(p) for p in partitions])

    def revoked(self, partitions: Collection[TopicPartition], *, lost: bool) -> None:
        """The group takes partitions: finish or abandon what is under way, then forget them."""
        failpoints.hit("on_revoke")
        self._collector.drop(partitions)
        job = self._job
        if job is not None and job.touches(partitions):
            job.cancel() if lost else job.release()
            if not job.done.wait(self._options.rebalance_s):
                job.cancel()
                _log.warning("batch_abandoned", route=self._health.route, reason="the partitions are gone")
            self._owe(job)
        if not lost:
            self._store()
        for partition in partitions:
            self._unstored.pop(partition, None)
        self._lanes.remove(partitions)
        for partition in partitions:
            self._forget_lag(partition)
        self._tell_assigned()
        self._metrics.inc("worker_rebalances_total", route=self._health.route, change="lost" if lost else "revoked")
        _log.info("revoked", route=self._health.route, lost=lost, partitions=[str(p) for p in partitions])

    def _subscribe(self) -> bool:
        delay = self._options.retry_s
        while not self._stopping.is_set():
            self._health.beat()
            try:
                self._source.subscribe(self)
            except TransientError as exc:
                self._pause(exc)
                self._stopping.wait(delay)
                delay = min(delay * 2, self._options.max_retry_s)
            else:
                self._health.resume("source")
                return True
        return False

    def _turn(self) -> None:
        self._health.beat()
        self._settle()
        if self._clock() >= self._store_at:
            self._store()
        if self._job is None:
            self._place()
            if self._collector.due() and not self._lanes.arriving():
                self._submit()
        if self._collector.full() and self._job is not None:
            self._await(self._job)
        else:
            self._poll(self._collector.room(), min(_POLL_S, self._options.max_latency_ms / 1000 or 0.001))
        self._look()

    def _poll(self, room: int, timeout_s: float) -> None:
        started = self._clock()
        chunk = self._source.poll(room, timeout_s)
        if chunk is not None:
            failpoints.hit("after_poll")
            self._collector.add(chunk)
            route = self._health.route
            self._metrics.observe("worker_stage_seconds", self._clock() - started, route=route, stage="poll")
            for run in chunk.runs:
                labels = {"route": route, "topic": run.topic}
                self._metrics.inc("worker_source_records_total", run.stop - run.start, **labels)
                self._metrics.inc("worker_source_bytes_total", chunk.content_bytes(run), **labels)

    def _await(self, job: Job) -> None:
        if job.done.wait(_PAUSE_AFTER_S):
            return
        if not self._held:
            self._held = True
            self._source.pause(self._lanes.active())
            self._metrics.set(
                "worker_paused_partitions", len(self._lanes), route=self._health.route, reason="backpressure"
            )
        self._poll(1, 0.1)

    def _settle(self) -> None:
        job = self._job
        if job is None or not job.done.is_set():
            return
        self._job = None
        self._lanes.advance(job.durable)
        self._owe(job)
        if job.outcome is Outcome.FAILED and job.error is not None:
            raise job.error
        if job.outcome is Outcome.CANCELLED:
            self._collector.put_back(job.remaining())
        elif job.outcome is Outcome.UNCERTAIN:
            self._collector.drop(job.durable)
            self._lanes.reposition(job.durable)
            self._unsettled = True
        if self._held:
            self._held = False
            self._source.resume(self._lanes.active())
            self._metrics.set("worker_paused_partitions", 0, route=self._health.route, reason="backpressure")

    def _owe(self, job: Job) -> None:
        """Note what is durable and not in the group's offsets yet; a transaction takes them along itself."""
        if not self._delivery.is_transactional:
            self._unstored.update(
                {p: offset for p, offset in job.durable.items() if offset > job.read[p] and self._lanes.get(p)}
            )

    def _store(self) -> None:
        """
        Store the group's offsets of what is durable; storing them again is harmless, giving up only repeats records.

        On this thread alone: the client's lock is not fair, and beside a loop of polls another thread's commit starves.
        """
        if not self._unstored:
            return
        try:
            if self._sink.owns_positions:
                self._source.report(self._unstored)
            elif not self._source.commit(self._unstored):
                _log.info("offsets_not_stored", route=self._health.route, reason="the group has moved on")
        except TransientError as exc:
            self._pause(exc)
            self._store_at = self._clock() + max(self._options.retry_s, exc.retry_after_s or 0)
            return
        self._unstored = {}
        self._health.resume("source")
        failpoints.hit("after_commit")

    def _place(self) -> None:
        if not self._lanes.arriving() or self._clock() < self._place_at:
            return
        try:
            if self._unsettled:
                # Opening the sink again settles a commit whose fate is unknown; only then are positions the truth.
                self._sink.begin()
                self._sink.abort()
                self._unsettled = False
            self._lanes.place()
        except TransientError as exc:
            self._pause(exc)
            self._place_at = self._clock() + max(self._options.retry_s, exc.retry_after_s or 0)
            return
        self._health.resume("source")
        self._health.resume("sink")

    def _submit(self) -> None:
        metadata = None
        try:
            self._source.confirm()
            if self._delivery.is_transactional:
                metadata = self._source.group_metadata()
        except TransientError as exc:
            self._pause(exc)
            return
        batch = self._collector.take()
        if batch is None:
            return
        job = Job(batch, self._lanes.durable(batch), metadata)
        self._job = job
        self._delivery.submit(job)

    def _finished(self) -> bool:
        if self._job is not None or not self._collector.is_empty():
            return False
        return self._collector.exhausted() or (self._lanes.ended() and self._is_settled() and not self._holds)

    def _is_settled(self) -> bool:
        """Whether the group's answer counts: a member that is given nothing may be given its share a moment later."""
        if self._joined_at is None:
            return False
        return len(self._lanes) > 0 or self._clock() - self._joined_at >= self._options.rebalance_s

    def _look(self) -> None:
        if self._clock() < self._look_at:
            return
        self._look_at = self._clock() + self._options.verify_interval_s
        try:
            answered = self._source.verify()
        except TransientError as exc:
            self._pause(exc)
        else:
            if answered and self._health.resume("source"):
                _log.info("resumed", route=self._health.route, reason="source")
        route = self._health.route
        self._metrics.set("worker_backlog_records", self._lanes.backlog(), route=route)
        for partition, lag in self._source.lag(self._lanes.positions()).items():
            self._metrics.set(
                "worker_lag_records", lag, route=route, topic=partition.topic, partition=str(partition.partition)
            )

    def _drain(self) -> None:
        deadline = self._clock() + self._options.stop_s
        self._source.pause(self._lanes.active())
        while self._clock() < deadline:
            self._settle()
            if self._job is None:
                if self._collector.is_empty() or self._lanes.arriving():
                    return
                self._submit()
                if self._job is None:
                    return
            self._health.beat()
            self._serve()
        _log.warning("drain_abandoned", route=self._health.route, seconds=self._options.stop_s)

    def _serve(self) -> None:
        # The group is served while the last batch is delivered; what still comes was fetched before the pause.
        job = self._job
        if job is not None and not job.done.wait(0.1):
            self._source.poll(1, 0.0)

    def _close(self, why: str) -> None:
        job = self._job
        if job is not None and not job.done.is_set():
            job.release()
            if not job.done.wait(min(10.0, self._options.stop_s)):
                job.cancel()
                job.done.wait(1.0)
        self._health.end(why)
        self._source.close()
        self._delivery.close()
        if job is None or job.done.is_set():
            self._sink.close()
        _log.info("route_ended", route=self._health.route, reason=why, records=self.progress().records)

    def _pause(self, error: TransientError) -> None:
        reason = away(error)
        if self._health.pause(reason, str(error)):
            _log.warning("paused", route=self._health.route, reason=reason, error=str(error))

    def _tell_assigned(self) -> None:
        self._health.set_assigned(len(self._lanes))
        self._metrics.set("worker_assigned_partitions", len(self._lanes), route=self._health.route)

    def _forget_lag(self, partition: TopicPartition) -> None:
        try:
            self._metrics.remove(
                "worker_lag_records",
                route=self._health.route,
                topic=partition.topic,
                partition=str(partition.partition),
            )
        except KeyError:
            return
