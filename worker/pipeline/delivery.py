"""What makes batches durable: attempts with pauses between them, on a thread of their own."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import deque

import structlog

from worker.errors import (
    FatalError,
    KeyServiceUnavailable,
    PositionsChanged,
    RegistryUnavailable,
    SinkRejected,
    SinkUnavailable,
    SourceUnavailable,
    TransactionExpired,
    TransientError,
)
from worker.metrics import Metrics
from worker.model import Batch, halves
from worker.pipeline.amplified import Oversized
from worker.pipeline.attempt import Attempts
from worker.pipeline.health import RouteHealth
from worker.pipeline.job import Cancelled, Claim, Job, Outcome
from worker.pipeline.options import DeliveryOptions
from worker.pipeline.repeats import Repeats
from worker.pipeline.stages import Stages

_log = structlog.get_logger(__name__)
# The threads of a producer to which nothing comes take as much CPU in this time as one takes that is made anew.
REST_AFTER_S = 30.0


class Delivery:
    """
    Delivers one job at a time; while the loop runs, the only caller of the sink.

    What is away is waited for, piece by piece; a batch that the sink refuses without naming records is halved. A sink
    to which nothing has come for `REST_AFTER_S` rests.

    Args:
        stages: make sink records, take them, and seal those that can't be processed.
        options: retries and mode.
        health: told what is away.
        metrics: written to per batch.
    """

    def __init__(self, stages: Stages, *, options: DeliveryOptions, health: RouteHealth, metrics: Metrics) -> None:
        self._sink = stages.sink
        self._options = options
        self._health = health
        self._metrics = metrics
        self._transactional = options.mode == "exactly-once" and not stages.sink.owns_positions
        self._attempts = Attempts(stages, transactional=self._transactional, route=health.route, metrics=metrics)
        self._tasks: queue.SimpleQueue[Job | Claim | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"deliver-{health.route}", daemon=True)

    @property
    def is_transactional(self) -> bool:
        """Whether the sink takes the group's offsets into its transaction."""
        return self._transactional

    def outcomes(self) -> dict[str, int]:
        """Return the number of records that are durable, by outcome; safe from any thread."""
        return dict(self._attempts.outcomes)

    def start(self) -> None:
        """Begin to take jobs; a sink without transactions is opened meanwhile, so that the first batch finds it so."""
        self._thread.start()
        if not self._transactional:
            # What goes wrong now goes wrong again with the first batch, which is where it counts.
            self.submit(Claim({}, settles=True))

    def submit(self, task: Job | Claim) -> None:
        """Take a task; its `done` is set when it has ended."""
        self._tasks.put(task)

    def is_alive(self) -> bool:
        """Whether tasks are taken; without it nothing that the loop does becomes durable."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Take no more tasks; does not wait for one that is stuck."""
        self._tasks.put(None)
        self._thread.join(1.0)

    def _run(self) -> None:
        structlog.contextvars.bind_contextvars(route=self._health.route)
        while (task := self._next()) is not None:
            if isinstance(task, Claim):
                self._ask(task)
                continue
            try:
                self._deliver(task)
            except BaseException as exc:
                # Beside the delivery: a job that never ended would hold up the stop, and the next one.
                task.finish(Outcome.FAILED, exc)

    def _next(self) -> Job | Claim | None:
        """Return the next task; a sink that is given none for a while rests until one comes."""
        try:
            return self._tasks.get(timeout=REST_AFTER_S)
        except queue.Empty:
            self._sink.rest()
            return self._tasks.get()

    def _ask(self, claim: Claim) -> None:
        try:
            if claim.settles:
                self._sink.begin()
                self._sink.abort()
            if claim.partitions:
                claim.positions = self._sink.positions(claim.partitions)
        except BaseException as exc:
            claim.error = exc
        finally:
            claim.done.set()

    def _deliver(self, job: Job) -> None:
        started = time.monotonic()
        outcome, error = Outcome.FAILED, None
        trace = self._metrics.traces.batch(
            self._health.route,
            waited_s=started - job.collected_at,
            records=len(job.batch),
            positions=job.places(),
        )
        try:
            self._deliver_all(job)
            outcome = Outcome.COMMITTED
        except Cancelled:
            outcome = Outcome.CANCELLED
        except PositionsChanged as exc:
            outcome, job.expired = Outcome.UNCERTAIN, isinstance(exc, TransactionExpired)
            _log.warning("positions_changed", route=self._health.route, error=str(exc))
        except BaseException as exc:
            # Whatever it is, the loop must hear of it: a thread that ends in silence would leave it beating for ever.
            error = exc
        finally:
            self._metrics.inc("worker_batches_total", route=self._health.route, outcome=outcome.value)
            _log.debug("batch", outcome=outcome.value, records=len(job.batch), seconds=time.monotonic() - started)
            trace.end(outcome.value, error)
            job.finish(outcome, error)

    def _deliver_all(self, job: Job) -> None:
        pieces = deque([job.batch])
        while pieces:
            piece = pieces.popleft()
            try:
                self._persist(job, piece)
            except Oversized:
                pieces.extendleft(reversed(halves(piece)))
            except SinkRejected as exc:
                if not exc.positions and len(piece) > 1:
                    pieces.extendleft(reversed(halves(piece)))
                    continue
                self._reject(job, piece, exc)
                pieces.appendleft(piece)

    def _reject(self, job: Job, piece: Batch, error: SinkRejected) -> None:
        refused = error.positions or tuple(piece.record(i).position for i in range(len(piece)))
        if all(position in job.rejected for position in refused):
            raise FatalError("the sink refuses dead letters too; see its limits and rights") from error
        for position in refused:
            job.rejected[position] = error

    def _persist(self, job: Job, piece: Batch) -> None:
        delay, repeats = self._options.retry_s, Repeats(self._health.route)
        while True:
            try:
                self._attempts.make(job, piece)
            except PositionsChanged:
                raise
            except TransientError as exc:
                repeats.count(exc)
                self._wait(job, exc, delay)
                delay = min(delay * 2, self._options.max_retry_s)
                continue
            for reason in ("authority", "registry", "sink", "source", "dependency"):
                if self._health.resume(reason):
                    _log.info("resumed", route=self._health.route, reason=reason)
            return

    def _wait(self, job: Job, error: TransientError, delay: float) -> None:
        reason = away(error)
        if self._health.pause(reason, str(error)):
            _log.warning("paused", route=self._health.route, reason=reason, error=str(error))
        self._metrics.traces.retried(reason)
        seconds = max(delay * random.uniform(0.5, 1.5), error.retry_after_s or 0.0)  # noqa: S311 - jitter
        if job.cancelled.wait(seconds):
            raise Cancelled


def away(error: TransientError) -> str:
    """Return the word for what is away, as in `worker_paused_partitions{reason}`."""
    kinds: dict[type[TransientError], str] = {
        KeyServiceUnavailable: "authority",
        RegistryUnavailable: "registry",
        SinkUnavailable: "sink",
        SourceUnavailable: "source",
    }
    return next((word for kind, word in kinds.items() if isinstance(error, kind)), "dependency")
