"""The steps that make a batch durable: process, write, flush, commit; with retries, on a thread of their own."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import structlog

from worker import failpoints
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
from worker.model import Batch, Fate, Position, halves
from worker.pipeline.amplified import Oversized
from worker.pipeline.health import RouteHealth
from worker.pipeline.job import Cancelled, Claim, Failure, Job, Outcome, Processed, ranges
from worker.pipeline.options import DeliveryOptions
from worker.pipeline.repeats import Repeats
from worker.pipeline.stages import DeadLetterSealer, Processor
from worker.sink.base import DeadLetter, Sink

_log = structlog.get_logger(__name__)


class Delivery:
    """
    Delivers one job at a time; while the loop runs, the only caller of the sink.

    Processing comes before the sink's `begin`, so no transaction waits for keys. Each attempt processes anew: keys of
    an aborted attempt are never used again.

    Args:
        processor: makes sink records.
        sink: where they go.
        dead_letters: seals those that can't be processed.
        options: retries and mode.
        health: told what is away.
        metrics: written to per batch.
    """

    def __init__(
        self,
        processor: Processor,
        sink: Sink,
        dead_letters: DeadLetterSealer,
        *,
        options: DeliveryOptions,
        health: RouteHealth,
        metrics: Metrics,
    ) -> None:
        self._processor = processor
        self._sink = sink
        self._dead_letters = dead_letters
        self._options = options
        self._health = health
        self._metrics = metrics
        self._transactional = options.mode == "exactly-once" and not sink.owns_positions
        self._outcomes: Counter[str] = Counter()
        self._tasks: queue.SimpleQueue[Job | Claim | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"deliver-{health.route}", daemon=True)

    @property
    def is_transactional(self) -> bool:
        """Whether the sink takes the group's offsets into its transaction."""
        return self._transactional

    def outcomes(self) -> dict[str, int]:
        """Return the number of records that are durable, by outcome; safe from any thread."""
        return dict(self._outcomes)

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

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
        while (task := self._tasks.get()) is not None:
            if isinstance(task, Claim):
                self._ask(task)
            else:
                self._deliver(task)

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
                self._attempt(job, piece)
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

    def _attempt(self, job: Job, piece: Batch) -> None:
        job.check()
        result, failures, letters = self._process(job, piece)
        failpoints.hit("after_process")
        job.check()
        try:
            self._timed("sink", lambda: self._write(job, result, letters))
            self._timed("commit", lambda: self._commit(job, piece, result))
        except BaseException:
            job.end_flush(failed=True)
            self._abort()
            raise
        job.end_flush(failed=False)
        self._count(piece, result, failures)

    def _process(self, job: Job, piece: Batch) -> tuple[Processed, list[Failure], dict[Position, DeadLetter]]:
        good, rejected = piece, []
        if job.rejected:
            every = [piece.record(i) for i in range(len(piece))]
            rejected = [Failure(r, job.rejected[r.position], "sink") for r in every if r.position in job.rejected]
            good = piece.select([i for i, r in enumerate(every) if r.position not in job.rejected])
        result = job.processed(good, self._processor.process)
        self._metrics.traces.brought(request for row in result.ledger for request in row.request_ids)
        failures = [*result.failures, *rejected]
        return result, failures, self._sealed(job, failures)

    def _sealed(self, job: Job, failures: Sequence[Failure]) -> dict[Position, DeadLetter]:
        """Return which letters of the failures are still to be written; each record is sealed once a job."""
        fresh = [f for f in failures if f.record.position not in job.letters]
        if fresh:
            letters = self._dead_letters.seal(fresh)
            job.letters.update({f.record.position: letter for f, letter in zip(fresh, letters, strict=True)})
        positions = [f.record.position for f in failures if f.record.position not in job.kept_letters]
        return {position: job.letters[position] for position in positions}

    def _write(self, job: Job, result: Processed, letters: Mapping[Position, DeadLetter]) -> None:
        self._sink.begin()
        self._sink.write(result.output)
        if letters:
            self._sink.write_dead(list(letters.values()))
            if self._sink.keeps_letters:
                job.kept_letters |= letters.keys()
        failpoints.hit("after_write")
        job.begin_flush()
        self._sink.flush()
        failpoints.hit("after_flush")

    def _commit(self, job: Job, piece: Batch, result: Processed) -> None:
        offsets = ranges(piece, job.durable)
        failpoints.hit("before_commit")
        job.check()
        try:
            self._sink.commit(offsets, result.ledger, job.metadata)
        except SinkUnavailable as exc:
            if self._sink.owns_positions:
                raise PositionsChanged(str(exc)) from exc
            raise
        following = {partition: span.next for partition, span in offsets.items()}
        job.durable.update(following)
        failpoints.hit("after_sink_commit")
        if self._transactional:
            failpoints.hit("after_commit")

    def _abort(self) -> None:
        try:
            self._sink.abort()
        except TransientError as exc:
            _log.warning("abort_failed", route=self._health.route, error=str(exc))

    def _timed(self, stage: str, act: Callable[[], None]) -> None:
        started = time.monotonic()
        act()
        self._metrics.stage(stage, time.monotonic() - started, route=self._health.route)

    def _count(self, piece: Batch, result: Processed, failures: Sequence[Failure]) -> None:
        route = self._health.route
        outcomes: Counter[tuple[str, str]] = Counter()
        for run in result.batch.runs:
            for fate, count in result.fates.counts(run.start, run.stop).items():
                if fate is not Fate.FAILED:
                    outcomes[run.topic, fate.outcome] += count
        for run in result.output.runs:
            size = result.output.content_bytes(run)
            self._metrics.inc("worker_sink_bytes_total", size, route=route, topic=run.topic)
        for failure in failures:
            topic = failure.record.position.topic
            outcomes[topic, Fate.FAILED.outcome] += 1
            self._metrics.inc("worker_dead_letters_total", route=route, topic=topic, code=failure.error.code)
        for (topic, outcome), count in outcomes.items():
            self._metrics.inc("worker_records_total", count, route=route, topic=topic, outcome=outcome)
            self._outcomes[outcome] += count
        now_ms = time.time() * 1000
        self._metrics.observe_tally("worker_end_to_end_seconds", partial(piece.ages, now_ms), route=route)


def away(error: TransientError) -> str:
    """Return the word for what is away, as in `worker_paused_partitions{reason}`."""
    kinds: dict[type[TransientError], str] = {
        KeyServiceUnavailable: "authority",
        RegistryUnavailable: "registry",
        SinkUnavailable: "sink",
        SourceUnavailable: "source",
    }
    return next((word for kind, word in kinds.items() if isinstance(error, kind)), "dependency")
