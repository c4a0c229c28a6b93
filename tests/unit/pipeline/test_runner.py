"""The loop's rules, with source and sink in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.fakes.pipeline import CopyProcessor, MemorySink, MemorySource, PlainLetters, numbered
from worker.errors import (
    DecodeError,
    KeyAccessDenied,
    KeyServiceUnavailable,
    PositionsChanged,
    RegionViolation,
    SinkRejected,
    SinkUnavailable,
    SourceUnavailable,
    TransactionExpired,
    WorkerError,
)
from worker.metrics import Metrics
from worker.model import Position, TopicPartition
from worker.pipeline import delivery, placing
from worker.pipeline.health import RouteHealth
from worker.pipeline.job import Failure
from worker.pipeline.options import Bounds, DeliveryOptions
from worker.pipeline.runner import RouteRunner
from worker.pipeline.stages import Stages

P0 = TopicPartition("in", 0)
P1 = TopicPartition("in", 1)


class Bench:
    """One route in memory, run on a thread."""

    def __init__(self, *, owns_positions: bool = False, mode: str = "exactly-once", max_records: int = 10) -> None:
        self.source = MemorySource({P0: numbered(P0, range(30)), P1: numbered(P1, range(30))})
        self.sink = MemorySink(owns_positions=owns_positions)
        self.processor = CopyProcessor()
        self.health = RouteHealth("r")
        self.metrics = Metrics("eu-central-1")
        self.options = DeliveryOptions.model_validate(
            {
                "mode": mode,
                "max_records": max_records,
                "max_latency_ms": 1,
                "retry_s": 0.001,
                "max_retry_s": 0.002,
                "rebalance_s": 10,
                "stop_s": 10,
            }
        )
        self.error: BaseException | None = None
        self.runner: RouteRunner | None = None
        self._thread: threading.Thread | None = None

    def start(self, *, bounds: Bounds | None = None, limit: int | None = None) -> None:
        self.runner = self.made(bounds=bounds, limit=limit)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def made(self, *, bounds: Bounds | None = None, limit: int | None = None) -> RouteRunner:
        return RouteRunner(
            Stages(self.source, self.processor, self.sink, PlainLetters()),
            options=self.options,
            health=self.health,
            metrics=self.metrics,
            bounds=bounds,
            limit=limit,
        )

    def _run(self) -> None:
        assert self.runner is not None
        try:
            self.runner.run()
        except WorkerError as exc:
            self.error = exc

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(4000):
            if condition():
                return
            threading.Event().wait(0.005)
        raise AssertionError("the condition did not come true")

    def join(self) -> None:
        assert self._thread is not None
        self._thread.join(20)
        assert not self._thread.is_alive()

    def stop(self) -> None:
        if self.runner is not None:
            self.runner.stop()
            self.join()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    for gate in made.sink.gates.values():
        gate.set()
    made.stop()


def test_delivers_every_record_once_and_in_order(bench: Bench) -> None:
    """Every record of a partition is committed once, in the source's order."""
    bench.source.give(P0)
    bench.start()

    bench.until(lambda: bench.sink.stored.get(P0) == 30)

    assert bench.sink.offsets() == list(range(30))


def test_begins_where_the_group_left_off(bench: Bench) -> None:
    """A partition is read from the stored position, not from the log's start."""
    bench.source.stored[P0] = 25
    bench.source.give(P0)
    bench.start()

    bench.until(lambda: bench.sink.stored.get(P0) == 30)

    assert bench.sink.offsets() == list(range(25, 30))


def test_reads_positions_from_the_sink_that_owns_them() -> None:
    """Where the sink owns positions the group's own stored offset counts for nothing."""
    bench = Bench(owns_positions=True)
    bench.source.stored[P0] = 3
    bench.sink.stored[P0] = 20
    bench.source.give(P0)
    bench.start()

    bench.until(lambda: bench.sink.stored.get(P0) == 30)
    bench.stop()

    assert bench.sink.offsets() == list(range(20, 30))
    assert bench.source.stored == {P0: 30}


def test_reads_positions_again_at_every_assignment() -> None:
    """A partition that comes back starts from the stored position, not from the one remembered."""
    bench = Bench(owns_positions=True)
    bench.source.give(P0)
    bench.start()
    bench.until(lambda: bench.sink.stored.get(P0) == 30)
    bench.source.take(P0)
    bench.until(lambda: not bench.source.owned)
    bench.sink.stored[P0] = 28
    bench.source.give(P0)

    bench.until(lambda: len(bench.sink.committed) == 32)
    bench.stop()

    assert bench.sink.offsets()[30:] == [28, 29]


def test_commits_offsets_only_after_the_sinks_commit() -> None:
    """At least once: the group's offset is stored after the sink's flush and commit, never before."""
    bench = Bench(mode="at-least-once", max_records=30)
    bench.sink.gates["flush"] = threading.Event()
    bench.sink.reached["flush"] = threading.Event()
    bench.source.give(P0)
    bench.start()
    assert bench.sink.reached["flush"].wait(20)
    before = dict(bench.source.stored)
    bench.sink.gates["flush"].set()

    bench.until(lambda: bench.source.stored.get(P0) == 30)
    bench.stop()

    assert before == {P0: 0}


@pytest.mark.parametrize("method", ["begin", "write", "flush"])
def test_tries_a_batch_again_after_the_sink_was_away(bench: Bench, method: str) -> None:
    """A sink that is away for a while costs neither a record nor a duplicate in a transactional sink."""
    bench.sink.faults[method] = [SinkUnavailable("away"), SinkUnavailable("away")]
    bench.source.give(P0)
    bench.start()

    bench.until(lambda: bench.sink.stored.get(P0) == 30)

    assert bench.sink.offsets() == list(range(30))
    assert bench.sink.aborts >= 1


def test_reads_positions_again_after_a_commit_of_unknown_fate() -> None:
    """A commit that took place although its answer was lost is not repeated."""
    bench = Bench(owns_positions=True)
    bench.sink.faults["committed"] = [SinkUnavailable("connection lost while committing")]
    bench.source.give(P0)
    bench.start()

    bench.until(lambda: bench.sink.stored.get(P0) == 30)
    bench.stop()

    assert bench.sink.offsets() == list(range(30))


def test_drops_the_batch_when_positions_have_changed(bench: Bench) -> None:
    """Positions that changed under a batch are read again; nothing is written from memory."""
    bench.sink.faults["commit"] = [PositionsChanged("moved")]
    bench.source.give(P0)
    bench.start()

    bench.until(lambda: bench.sink.stored.get(P0) == 30)

    assert bench.sink.offsets() == list(range(30))


def test_polls_while_the_authority_is_away(bench: Bench) -> None:
    """The group is served all the time that keys can't be had, and the route says why it waits."""
    bench.processor.faults = [KeyServiceUnavailable("away", retry_after_s=0.3)]
    bench.source.give(P0)
    bench.start()
    bench.until(lambda: bool(bench.health.reasons()) and bench.processor.calls == 1)
    polls, reasons = bench.source.polls, bench.health.reasons()

    bench.until(lambda: bench.sink.stored.get(P0) == 30)

    assert bench.source.polls > polls
    assert reasons == ["paused, authority away: away"]
    assert bench.health.reasons() == []


def test_no_batch_is_delivered_from_another_cluster(bench: Bench) -> None:
    """A cluster that turns out to be another one stops the route before a record of the batch is processed."""
    bench.source.cluster_faults = [RegionViolation("expected 'a', found 'b'")]
    bench.source.give(P0)
    bench.start()

    bench.join()

    assert isinstance(bench.error, RegionViolation)
    assert (bench.processor.calls, bench.sink.offsets()) == (0, [])


def test_a_batch_waits_until_its_cluster_has_answered(bench: Bench) -> None:
    """While the broker does not say whose it is, the batch is kept; then it is delivered, once."""
    bench.source.cluster_faults = [SourceUnavailable("no answer"), SourceUnavailable("no answer")]
    bench.source.give(P0)
    bench.start()

    bench.until(lambda: bench.sink.stored.get(P0) == 30)

    assert bench.sink.offsets() == list(range(30))


def test_abandons_a_revoked_batch_before_its_flush(bench: Bench) -> None:
    """A batch whose partitions are revoked while it waits for keys is not written."""
    bench.processor.faults = [KeyServiceUnavailable("away", retry_after_s=60)]
    bench.source.give(P0)
    bench.start()
    bench.until(lambda: bench.processor.calls == 1)
    bench.source.take(P0)

    bench.until(lambda: not bench.source.owned)

    assert bench.sink.committed == []


def test_finishes_a_revoked_batch_whose_flush_has_begun(bench: Bench) -> None:
    """A revocation waits for a batch in its flush, which is then committed."""
    gate = bench.sink.gates["flush"] = threading.Event()
    reached = bench.sink.reached["flush"] = threading.Event()
    bench.source.give(P0)
    bench.start()
    assert reached.wait(20)
    bench.source.take(P0)
    bench.until(lambda: not bench.source._events)
    held = dict(bench.source.owned)
    gate.set()

    bench.until(lambda: not bench.source.owned)

    assert P0 in held
    assert bench.sink.stored[P0] == 10


def test_aborts_a_lost_batch_even_in_its_flush(bench: Bench) -> None:
    """Partitions that are lost may have a new owner: what was flushed for them is not committed."""
    gate = bench.sink.gates["flush"] = threading.Event()
    reached = bench.sink.reached["flush"] = threading.Event()
    bench.source.give(P0)
    bench.start()
    assert reached.wait(20)
    bench.source.on_poll = lambda: gate.set()
    bench.source.take(P0, lost=True)
    job = bench.runner._under_way.job if bench.runner else None
    assert job is not None
    bench.source.on_poll = None
    bench.until(job.cancelled.is_set)
    gate.set()

    bench.until(lambda: not bench.source.owned)

    assert bench.sink.committed == []


def test_keeps_the_other_partitions_of_an_abandoned_batch(bench: Bench) -> None:
    """A cooperative revocation of one partition loses nothing of the others in the same batch."""
    bench.processor.faults = [KeyServiceUnavailable("away", retry_after_s=60)]
    bench.source.give(P0, P1)
    bench.start()
    bench.until(lambda: bench.processor.calls == 1)
    bench.source.take(P0)

    bench.until(lambda: bench.sink.stored.get(P1) == 30)

    assert bench.sink.offsets() == list(range(30))
    assert {r.position.partition for r in bench.sink.committed} == {1}


def test_dead_letters_go_with_the_batch(bench: Bench) -> None:
    """A record that can't be processed is dead-lettered in the commit of its neighbours."""
    record = bench.source.logs[P0][7]
    bench.processor.poison[record.position] = Failure(record, DecodeError("x", code="trailing_bytes"), "decode")
    bench.source.give(P0)
    bench.start()

    bench.until(lambda: bench.sink.stored.get(P0) == 30)

    assert [(d.key, d.value) for d in bench.sink.dead] == [(b"7", b"trailing_bytes")]
    assert 7 not in bench.sink.offsets()


def test_isolates_a_record_the_sink_names(bench: Bench) -> None:
    """A record that the sink names as refused becomes a dead letter; its neighbours arrive."""
    bench.sink.refuses = {Position("in", 0, 4)}
    bench.sink.refusal = lambda bad: SinkRejected("too large", positions=bad)
    bench.source.give(P0)
    bench.start()

    bench.until(lambda: bench.sink.stored.get(P0) == 30)

    assert [(d.key, d.value) for d in bench.sink.dead] == [(b"4", b"sink_rejected")]
    assert bench.sink.offsets() == [o for o in range(30) if o != 4]


def test_finds_a_record_the_sink_does_not_name(bench: Bench) -> None:
    """A sink that can't tell which record it refuses is asked with halves until one is left."""
    bench.sink.refuses = {Position("in", 0, 4)}
    bench.sink.refusal = lambda bad: SinkRejected("a row breaks a rule")
    bench.source.give(P0)
    bench.start()

    bench.until(lambda: bench.sink.stored.get(P0) == 30)

    assert [d.key for d in bench.sink.dead] == [b"4"]
    assert bench.sink.offsets() == [o for o in range(30) if o != 4]


def test_a_batch_that_would_become_too_much_goes_in_parts(bench: Bench) -> None:
    """Its halves, or theirs, are written one after the other, each record once and in order."""
    bench.processor.most = 4
    bench.source.give(P0)
    bench.start()

    bench.until(lambda: bench.sink.stored.get(P0) == 30)

    assert bench.sink.offsets() == list(range(30))


def test_a_fatal_error_ends_the_run_with_nothing_half_done(bench: Bench) -> None:
    """A fatal error aborts the batch, closes source and sink, and is raised."""
    bench.processor.faults = [KeyAccessDenied("refused")]
    bench.source.give(P0)
    bench.start()

    bench.join()

    assert isinstance(bench.error, KeyAccessDenied)
    assert bench.sink.committed == []
    assert bench.source.closed
    assert bench.sink.closed
    assert bench.health.reasons() == ["stopped by KeyAccessDenied"]


def test_a_graceful_stop_finishes_what_was_collected() -> None:
    """Stopping flushes and commits what is under way, so that nothing is read twice afterwards."""
    bench = Bench(mode="at-least-once", max_records=10)
    gate = bench.sink.gates["flush"] = threading.Event()
    reached = bench.sink.reached["flush"] = threading.Event()
    bench.source.give(P0)
    bench.start()
    assert reached.wait(20)
    assert bench.runner is not None
    bench.runner.stop()
    gate.set()

    bench.join()

    assert bench.sink.offsets() == list(range(bench.source.stored[P0]))


def test_holds_two_batches_at_most(bench: Bench) -> None:
    """While a batch is stuck only one more is collected, and the partitions are paused."""
    gate = bench.sink.gates["flush"] = threading.Event()
    bench.source.give(P0)
    bench.start()

    bench.until(lambda: P0 in bench.source.paused)
    polled = bench.source.polls
    bench.until(lambda: bench.source.polls > polled + 3)
    taken = bench.source.owned[P0]
    gate.set()
    bench.until(lambda: bench.sink.stored.get(P0) == 30)

    assert taken <= 21
    assert bench.sink.offsets() == list(range(30))


def test_a_bounded_run_ends_by_itself(bench: Bench) -> None:
    """A run until the end delivers what is there and returns."""
    bench.source.give(P0, P1)
    bench.start(bounds=Bounds())

    bench.join()

    assert len(bench.sink.committed) == 60
    assert bench.error is None


def test_a_limit_ends_the_run(bench: Bench) -> None:
    """A limited run delivers exactly that many records."""
    bench.source.give(P0)
    bench.start(limit=17)

    bench.join()

    assert bench.sink.offsets() == list(range(17))


def test_a_start_is_stored_before_the_first_record_is_read() -> None:
    """A worker that dies before its first commit is begun again where it began, not where the log ends by then."""
    bench = Bench(mode="exactly-once")
    bench.source.start = 12
    bench.processor.faults = [KeyServiceUnavailable("away")] * 1000
    bench.source.give(P0)
    bench.start()

    bench.until(lambda: bench.processor.calls > 0)
    stored = dict(bench.source.stored)
    bench.processor.faults.clear()
    bench.stop()

    assert stored == {P0: 12}
    assert bench.sink.offsets()[:1] == [12]


def test_a_refused_answer_is_asked_for_again() -> None:
    """At rest the group has what is durable, though it refused to take it for a while."""
    bench = Bench(owns_positions=True)
    bench.source.refused_stores = 3
    bench.source.give(P0)
    bench.start()

    bench.until(lambda: bench.source.stored.get(P0) == 30)
    bench.stop()

    assert bench.source.refused_stores == 0


@pytest.mark.parametrize("owns_positions", [False, True])
def test_a_partition_that_cant_be_placed_holds_no_other_up(owns_positions: bool) -> None:
    """Without a leader, or held by a frozen owner, it waits alone, says so, and is read when that has passed."""
    bench = Bench(owns_positions=owns_positions, mode="at-least-once")
    waits = bench.sink.held if owns_positions else bench.source.leaderless
    waits.add(P1)
    bench.source.give(P0, P1)
    bench.start()

    bench.until(lambda: len(bench.sink.committed) == 30)
    bench.until(lambda: any("1 partitions can't be placed" in reason for reason in bench.health.reasons()))
    alone = {r.position.partition for r in bench.sink.committed}
    waits.clear()
    bench.until(lambda: len(bench.sink.committed) == 60)
    bench.stop()

    assert alone == {0}


class Leaderless(list[int]):
    """No partition has a leader; at which poll of a source one was asked for."""

    def __init__(self, source: MemorySource) -> None:
        super().__init__()
        self._source = source

    def __contains__(self, _partition: object) -> bool:
        self.append(self._source.polls)
        return True


def test_the_loop_turns_between_questions_that_use_its_time_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions without a leader are asked for one a turn, where each of them takes all of a turn's time."""
    monkeypatch.setattr(placing, "_SEARCH_S", 0.0)
    bench = Bench(mode="at-least-once")
    asked = Leaderless(bench.source)
    monkeypatch.setattr(bench.source, "leaderless", asked)
    bench.source.give(P0, P1)
    bench.start()

    bench.until(lambda: len(asked) > 3)
    bench.stop()

    assert len(asked) == len(set(asked))


def test_a_released_batch_is_not_tried_again_after_a_failed_flush() -> None:
    """A revocation waits for a flush that may succeed, and not for the retries of one that fails."""
    bench = Bench(mode="at-least-once", max_records=30)
    bench.options = bench.options.model_copy(update={"rebalance_s": 60})
    bench.sink.gates["flush"] = threading.Event()
    bench.sink.reached["flush"] = threading.Event()
    bench.sink.faults["flush"] = [SinkUnavailable("away")] * 1_000_000
    bench.source.give(P0)
    bench.start()
    assert bench.sink.reached["flush"].wait(20)

    bench.source.take(P0)
    bench.until(lambda: bench.source.polls > 0)
    bench.sink.gates["flush"].set()

    bench.until(lambda: bench.health.assigned == 0)
    bench.stop()
    assert bench.sink.committed == []


def test_whatever_ends_a_delivery_ends_the_run() -> None:
    """An error that is no `Exception` must not leave the loop beating over a dead thread."""
    bench = Bench()
    bench.sink.faults["flush"] = [Panic("from below")]
    bench.source.give(P0)
    runner = bench.made()

    with pytest.raises(Panic):
        runner.run()

    assert not bench.health.alive(0.0)


@pytest.mark.parametrize("refused", [1, 7])
def test_a_letter_is_written_once_though_its_batch_is_tried_again(refused: int) -> None:
    """Rows that the table refuses, batch after batch, do not repeat the letters that are durable already."""
    bench = Bench(owns_positions=True, max_records=30)
    for offset in (2, 9):
        bench.processor.poison[Position("in", 0, offset)] = Failure(
            numbered(P0, range(offset, offset + 1))[0], DecodeError("broken"), "decode"
        )
    bench.sink.refuses = {Position("in", 0, o) for o in range(10, 10 + refused)}
    bench.sink.refusal = lambda bad: SinkRejected("refused", positions=bad[:1])
    bench.source.give(P0)
    bench.start()

    bench.until(lambda: bench.sink.stored.get(P0) == 30)
    bench.stop()

    keys = [letter.key for letter in bench.sink.dead]
    assert sorted(keys) == sorted(set(keys))
    assert len(keys) == 2 + refused


def test_an_expired_transaction_is_taken_up_again_only_by_a_member() -> None:
    """The sink's name is taken again when the group counts this member, and not before: that would fence an heir."""
    bench = Bench(mode="exactly-once", max_records=30)
    bench.sink.faults["commit"] = [TransactionExpired("60 s")]
    bench.source.member = False
    bench.source.give(P0)
    bench.start()

    bench.until(lambda: not bench.sink.faults["commit"])
    polls = bench.source.polls
    bench.until(lambda: bench.source.polls > polls + 20)
    waiting = bench.sink.calls.count("begin")
    bench.source.member = True
    bench.until(lambda: len(bench.sink.committed) == 30)
    bench.stop()

    assert waiting == 2
    assert bench.sink.offsets() == list(range(30))


def test_a_sinks_name_is_taken_before_anything_is_assigned(bench: Bench) -> None:
    """What a dead owner of the name left open ends as soon as its successor runs, whatever the group gives it."""
    bench.start()

    bench.until(lambda: bench.sink.aborts > 0)
    bench.stop()

    assert bench.sink.calls[:1] == ["begin"]


class Panic(BaseException):
    """What a native extension raises where it would otherwise have aborted."""


def test_a_thin_stream_waits_for_nothing(bench: Bench) -> None:
    """Where nothing is under way and no more records lie ready, a batch goes long before `max_latency_ms`."""
    bench.options = bench.options.model_copy(update={"max_latency_ms": 60_000})
    bench.source.stored[P0] = 27
    bench.source.give(P0)
    bench.start()

    bench.until(lambda: bench.sink.stored.get(P0) == 30)

    assert bench.sink.offsets() == [27, 28, 29]


def test_a_sink_rests_between_batches(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once nothing has come for a while, and not again before it was used; the next batch finds it as ever."""
    monkeypatch.setattr(delivery, "REST_AFTER_S", 0.05)
    bench.source.logs[P0] = numbered(P0, range(20))
    bench.source.give(P0)
    bench.start()
    bench.until(lambda: bench.sink.calls[-1:] == ["rest"])
    polls = bench.source.polls
    bench.until(lambda: bench.source.polls > polls + 20)

    rested = bench.sink.calls.count("rest")
    bench.source.logs[P0] += numbered(P0, range(20, 30))
    bench.until(lambda: bench.sink.stored.get(P0) == 30)
    bench.until(lambda: bench.sink.calls[-1] == "rest")

    assert bench.sink.offsets() == list(range(30))
    assert bench.sink.calls.count("rest") == rested + 1
