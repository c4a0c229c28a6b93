"""
The only loop: poll, process, write, flush, commit.

::

    collect ──full or old──▶ job: process ─▶ begin, write ─▶ flush ─▶ commit ──▶ committed
       ▲                       │               │               │          │
       │                       └───revoked─────┴──▶ aborted    │          └─ fate unknown ─▶ positions read again
       └── lane: arriving ─(placed)─▶ active   └─ revoked: waits for it, lost: aborts

This thread owns the consumer and polls always, with its partitions paused while a batch takes long, so the group never
takes them away because a sink or the authority is slow; `Delivery` has the batch. While one is delivered the next one
is collected and, once it is full, processed on a thread of its own: at most two are held.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import replace

import structlog

from worker import failpoints
from worker.errors import FatalError, TransientError
from worker.metrics import Metrics
from worker.model import TopicPartition
from worker.pipeline.ahead import Ahead, OneByOne
from worker.pipeline.assignment import Assignment
from worker.pipeline.collect import Collector
from worker.pipeline.delivery import Delivery, away
from worker.pipeline.health import RouteHealth
from worker.pipeline.intake import Intake
from worker.pipeline.job import Job, Outcome
from worker.pipeline.options import Bounds, DeliveryOptions
from worker.pipeline.placing import Placing
from worker.pipeline.progress import RouteProgress
from worker.pipeline.stages import Stages
from worker.pipeline.told import GroupOffsets
from worker.pipeline.underway import UnderWay
from worker.pipeline.watch import SourceWatch

_log = structlog.get_logger(__name__)
_POLL_S = 0.05
# Where nothing has come for so long a route looks up as seldom as its source allows; what comes is taken at once.
_QUIET_AFTER_S = 1.0
_GLANCE_S = 0.005
"""Records that wait for a commit to end wait no longer than this beyond it."""
# Pausing throws away what was fetched ahead, so a batch that is merely slow is waited for.
_PAUSE_AFTER_S = 0.5
# How long a stop waits for the group's answer once all is durable: what it does not take is read again, or told later.
_TOLD_S = 2.0


class RouteRunner:
    """
    Runs one route until stopped, until its bounds, or until an error that must stop it.

    Args:
        stages: what the route consists of.
        options: batches, retries, stopping.
        health: the route's facts.
        metrics: written to once a batch.
        bounds: for a run that ends by itself; needs a bounded source.
        limit: end after this many records.
    """

    def __init__(
        self,
        stages: Stages,
        *,
        options: DeliveryOptions,
        health: RouteHealth,
        metrics: Metrics,
        bounds: Bounds | None = None,
        limit: int | None = None,
    ) -> None:
        source, sink = stages.source, stages.sink
        self._source, self._sink, self._options, self._health = source, sink, options, health
        self._holds = bounds is not None and bounds.hold
        until_ms = bounds.until_ms if bounds else None
        lanes = Assignment(source, bounded=bounds is not None, until_ms=until_ms)
        self._assignment = lanes
        self._collector = Collector(options, lanes, limit=limit)
        processor = OneByOne(stages.processor)
        self._ahead = Ahead(processor, self._collector, health.route)
        self._delivery = Delivery(replace(stages, processor=processor), options=options, health=health, metrics=metrics)
        self._under_way = UnderWay(self._delivery, lanes, health.route)
        self._placing = Placing(source, sink, self._delivery, lanes, options=options, health=health)
        self._told = GroupOffsets(
            source, lanes, owned=sink.owns_positions, options=options, away=self._pause, route=health.route
        )
        self._watch = SourceWatch(source, lanes, options=options, health=health, metrics=metrics, away=self._pause)
        self._intake = Intake(source, lanes, health, self._watch)
        self._stopping = threading.Event()
        self._busy_at = time.monotonic()

    def progress(self) -> RouteProgress:
        """How far the route has come; safe from any thread."""
        counts, lanes, partitions = self._delivery.outcomes(), self._assignment, self._source.partitions()
        return RouteProgress(self._health.route, counts, lanes.spans(), lanes.done(), partitions)

    def stop(self) -> None:
        """Ask for a graceful end; safe from any thread and from a signal handler."""
        self._stopping.set()
        self._source.wake()

    def pause(self) -> None:
        """Read nothing more until `resume`; what was collected is delivered. Safe from any thread."""
        self._intake.want(paused=True)
        self._source.wake()

    def resume(self) -> None:
        """Go on reading. Safe from any thread."""
        self._intake.want(paused=False)
        self._source.wake()

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
        self._busy_at = time.monotonic()
        self._assignment.add(partitions)
        self._watch.rebalanced("assigned", partitions)

    def revoked(self, partitions: Collection[TopicPartition], *, lost: bool) -> None:
        """The group takes partitions: finish or abandon what is under way, then forget them."""
        failpoints.hit("on_revoke")
        self._busy_at = time.monotonic()
        self._ahead.give_back()
        self._collector.drop(partitions)
        self._under_way.release(partitions, lost=lost, patience_s=self._options.rebalance_s)
        if not lost:
            self._told.store_now(partitions)
        self._placing.forget(partitions)
        self._assignment.remove(partitions)
        self._watch.rebalanced("lost" if lost else "revoked", partitions)

    def stored(self, offsets: Mapping[TopicPartition, int], *, taken: bool) -> None:
        """The group has answered."""
        self._told.stored(offsets, taken=taken)

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
        if not self._delivery.is_alive():
            raise FatalError("the thread that delivers has ended; nothing would become durable any more")
        self._intake.turn()
        self._settle()
        self._told.store()
        if not self._intake.is_paused:
            self._placing.turn()
        is_due = self._ahead.is_there or self._collector.due()
        if self._under_way.job is None and is_due and not self._placing.is_unsettled:
            self._submit()
        job = self._under_way.job
        if job is not None and self._collector.full() and not self._ahead.is_there:
            self._ahead.begin(job)
        if job is not None and (self._ahead.is_there or self._collector.full()):
            self._await(job)
        else:
            self._poll(self._collector.room(), self._patience_s())
        self._watch.turn()

    def _patience_s(self) -> float:
        """Return how long to wait for a record: not at all while some can go, briefly while some wait for a commit."""
        if self._collector.is_empty():
            if self._is_quiet():
                return min(self._source.patience_s, self._options.verify_interval_s)
            return min(_POLL_S, self._options.max_latency_ms / 1000 or 0.001)
        return 0.0 if self._under_way.job is None else _GLANCE_S

    def _is_quiet(self) -> bool:
        """Whether nothing has come for a while and nobody waits for an answer."""
        if self._under_way.job is not None or self._assignment.arriving() or not self._assignment.is_told():
            self._busy_at = time.monotonic()
        return time.monotonic() - self._busy_at > _QUIET_AFTER_S

    def _poll(self, room: int, timeout_s: float) -> None:
        started = time.monotonic()
        chunk = self._source.poll(room, timeout_s)
        self._collector.drained(room, len(chunk) if chunk is not None else 0)
        if chunk is not None:
            self._busy_at = time.monotonic()
            failpoints.hit("after_poll")
            self._collector.add(chunk)
            self._watch.count(chunk, time.monotonic() - started)

    def _await(self, job: Job) -> None:
        if job.done.wait(_PAUSE_AFTER_S):
            return
        self._intake.hold()
        self._poll(1, 0.1)

    def _settle(self) -> None:
        job = self._under_way.settled()
        if job is None:
            return
        if job.outcome is Outcome.FAILED and job.error is not None:
            raise job.error
        if job.outcome is not Outcome.COMMITTED:
            self._ahead.give_back()
        if job.outcome is Outcome.CANCELLED:
            self._collector.put_back(job.remaining())
        elif job.outcome is Outcome.UNCERTAIN:
            self._collector.drop(job.durable)
            self._assignment.reposition(job.durable)
            self._placing.unsettle(expired=job.expired)
        self._intake.let_go()

    def _submit(self) -> None:
        metadata = None
        try:
            self._source.confirm()
            if self._delivery.is_transactional:
                metadata = self._source.group_metadata()
        except TransientError as exc:
            self._pause(exc)
            return
        begun = self._ahead.take()
        if begun is not None:
            self._under_way.submit(begun, metadata)

    def _finished(self) -> bool:
        if self._under_way.job is not None or not self._ahead.is_idle:
            return False
        at_end = self._assignment.ended() and self._assignment.is_final(self._options.rebalance_s)
        return self._collector.exhausted() or (at_end and not self._holds)

    def _drain(self) -> None:
        deadline = time.monotonic() + self._options.stop_s
        self._source.pause(self._assignment.active())
        while time.monotonic() < deadline:
            self._settle()
            self._told.store()
            if self._under_way.job is None and not self._ahead.is_idle:
                self._submit()
            if self._under_way.job is None:
                if not self._ahead.is_idle or self._assignment.is_told():
                    return
                deadline = min(deadline, time.monotonic() + _TOLD_S)
            self._health.beat()
            self._serve()
        _log.warning("drain_abandoned", route=self._health.route, seconds=self._options.stop_s)

    def _serve(self) -> None:
        """Serve the group while the last batch is delivered; what still comes was fetched before the pause."""
        job = self._under_way.job
        if job is None or not job.done.wait(0.1):
            self._source.poll(1, 0.0 if job is not None else _POLL_S)

    def _close(self, why: str) -> None:
        is_free = self._under_way.end(min(10.0, self._options.stop_s))
        self._health.end(why)
        self._source.close()
        self._ahead.close()
        self._delivery.close()
        if is_free:
            self._sink.close()
        _log.info("route_ended", route=self._health.route, reason=why, records=self.progress().records)

    def _pause(self, error: TransientError) -> None:
        reason = away(error)
        if self._health.pause(reason, str(error)):
            _log.warning("paused", route=self._health.route, reason=reason, error=str(error))
