"""One attempt at a piece of a batch: process, begin, write, flush, commit; or abort."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import structlog

from worker import failpoints
from worker.errors import PositionsChanged, SinkUnavailable, TransientError
from worker.metrics import Metrics
from worker.model import Batch, Fate, Position
from worker.pipeline.job import Failure, Job, Processed, ranges
from worker.pipeline.ledger import receipted
from worker.pipeline.stages import Stages
from worker.sink.base import DeadLetter

_log = structlog.get_logger(__name__)


class Attempts:
    """
    Makes attempts, each processed anew: keys of an aborted one are never used again.

    Processing comes before the sink's `begin`, so no transaction waits for keys.

    Args:
        stages: make sink records, take them, and seal those that can't be processed.
        transactional: whether the sink takes the group's offsets into its transaction.
        route: the route's name.
        metrics: written to per attempt.
    """

    def __init__(self, stages: Stages, *, transactional: bool, route: str, metrics: Metrics) -> None:
        self._processor, self._sink, self._dead_letters = stages.processor, stages.sink, stages.dead_letters
        self._receipts = stages.receipts
        self._transactional, self._route, self._metrics = transactional, route, metrics
        self.outcomes: Counter[str] = Counter()
        """Records that are durable, by outcome."""

    def make(self, job: Job, piece: Batch) -> None:
        """
        Make a piece of a job durable.

        Raises:
            Cancelled: the job was.
            TransientError: something is away; try again.
            PositionsChanged: whether it is durable is not known.
            SinkRejected: the sink refuses records.
            FatalError: going on would be wrong.
        """
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
        offsets = ranges(piece, job)
        failpoints.hit("before_commit")
        job.check()
        try:
            with receipted(result.ledger, self._receipts) as ledger:
                self._sink.commit(offsets, ledger, job.metadata)
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
            _log.warning("abort_failed", route=self._route, error=str(exc))

    def _timed(self, stage: str, act: Callable[[], None]) -> None:
        started = time.monotonic()
        act()
        self._metrics.stage(stage, time.monotonic() - started, route=self._route)

    def _count(self, piece: Batch, result: Processed, failures: Sequence[Failure]) -> None:
        route = self._route
        outcomes: Counter[tuple[str, str]] = Counter()
        for run in result.batch.runs:
            for fate, count in result.fates.counts(run.start, run.stop).items():
                if fate is not Fate.FAILED:
                    outcomes[run.topic, fate.outcome] += count
        for run in result.output.runs:
            size = result.output.content_bytes(run)
            self._metrics.inc("worker_sink_bytes_total", size, route=route, topic=run.topic)
        sealed = Counter((failure.record.position.topic, failure.error.code) for failure in failures)
        for (topic, code), count in sealed.items():
            outcomes[topic, Fate.FAILED.outcome] += count
            self._metrics.inc("worker_dead_letters_total", count, route=route, topic=topic, code=code)
            _log.warning("dead_letters_sealed", route=route, topic=topic, code=code, records=count)
        for (topic, outcome), count in outcomes.items():
            self._metrics.inc("worker_records_total", count, route=route, topic=topic, outcome=outcome)
            self.outcomes[outcome] += count
        now_ms = time.time() * 1000
        self._metrics.observe_tally("worker_end_to_end_seconds", partial(piece.ages, now_ms), route=route)
