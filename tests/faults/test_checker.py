"""The checker is proven: it catches bugs that are planted in a loop which is otherwise the real one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

import pytest

from tests.fakes.pipeline import CopyProcessor, MemorySink, MemorySource, PlainLetters, numbered
from tests.fakes.records import output_of
from tests.faults.checker import ahead, behind, findings, forked, latest, letters
from tests.faults.verdict import overspent
from worker.errors import DecodeError, FatalError, SinkUnavailable
from worker.metrics import Metrics
from worker.model import SinkRecord, TopicPartition
from worker.pipeline.health import RouteHealth
from worker.pipeline.job import Failure
from worker.pipeline.options import Bounds, DeliveryOptions
from worker.pipeline.runner import RouteRunner
from worker.pipeline.stages import Stages
from worker.sink.base import DeadLetter, LedgerRow
from worker.sink.ledger import Chain, link

P = TopicPartition("in", 0)
COUNT = 50


class CommitsBeforeFlush(MemorySink):
    """Stores the position when the batch begins to be written, and dies in its first flush."""

    source: MemorySource
    died = False

    def flush(self) -> None:
        if not self.died:
            self.died = True
            self.source.stored[P] = self._records[-1].position.offset + 1
            raise FatalError("killed")


class SkipsABatch(MemorySink):
    """Forgets the second batch."""

    batches = 0

    def flush(self) -> None:
        self.batches += 1
        if self.batches == 2:
            self._records = []


class ProducesTwice(MemorySink):
    """Writes the second batch two times, as a retry without an abort does."""

    batches = 0

    def flush(self) -> None:
        self.batches += 1
        if self.batches == 2:
            self._records = self._records * 2


def in_order(sink: MemorySink) -> list[str]:
    """Judge what every record is appended to: a topic, or a table with coordinates."""
    return findings(range(COUNT), [(0, i) for i in sink.offsets()], exactly_once=True)


def by_key(sink: MemorySink) -> list[str]:
    """Judge what keeps the last record of each key; five records have one key."""
    return latest({i // 5: i for i in range(COUNT)}, list({i // 5: i for i in sink.offsets()}.items()))


def deliver(sink: MemorySink, judge: Callable[[MemorySink], list[str]] = in_order) -> list[str]:
    """Run the loop, again if it died, and judge."""
    log = {P: numbered(P, range(COUNT))}
    stored: dict[TopicPartition, int] = {}
    for _ in range(2):
        source = MemorySource(log)
        source.stored = stored
        source.give(P)
        if isinstance(sink, CommitsBeforeFlush):
            sink.source = source
        options = DeliveryOptions(mode="at-least-once", max_records=10, max_latency_ms=1)
        health, metrics = RouteHealth("r"), Metrics("eu-central-1")
        runner = RouteRunner(
            Stages(source, CopyProcessor(), sink, PlainLetters()),
            options=options,
            health=health,
            metrics=metrics,
            bounds=Bounds(),
        )
        try:
            runner.run()
            break
        except FatalError:
            continue
    return judge(sink)


def test_finds_nothing_in_the_loop_as_it_is() -> None:
    """The checker is silent on a run without a fault."""
    assert deliver(MemorySink()) == []


@pytest.mark.parametrize(
    ("sink", "words"),
    [(CommitsBeforeFlush(), "10 missing"), (SkipsABatch(), "10 missing"), (ProducesTwice(), "10 more than once")],
)
def test_catches_a_planted_bug(sink: MemorySink, words: str) -> None:
    """A commit before the flush, a skipped batch and a double produce are each found."""
    wrong = deliver(sink)

    assert any(words in line for line in wrong)


@pytest.mark.parametrize("sink", [CommitsBeforeFlush(), SkipsABatch()])
def test_catches_a_planted_bug_in_a_keyed_table(sink: MemorySink) -> None:
    """A commit before the flush and a skipped batch leave keys missing; a double produce changes nothing there."""
    assert any("2 keys missing" in line for line in deliver(sink, by_key))
    assert deliver(ProducesTwice(), by_key) == deliver(MemorySink(), by_key) == []


def test_catches_a_start_that_is_computed_anew() -> None:
    """A worker that forgets its first position and begins at what is the end by then skips what came between."""
    log = {P: numbered(P, range(COUNT))}
    source, sink = MemorySource(log), MemorySink()
    source.start = 20  # The end when the second assignment was made; the first one's was 0, and nobody stored it.
    source.give(P)
    RouteRunner(
        Stages(source, CopyProcessor(), sink, PlainLetters()),
        options=DeliveryOptions(mode="at-least-once", max_records=10, max_latency_ms=1),
        health=RouteHealth("r"),
        metrics=Metrics("eu-central-1"),
        bounds=Bounds(),
    ).run()

    assert any("20 missing" in line for line in in_order(sink))


def test_catches_a_forked_ledger() -> None:
    """Entries that go on from what was not the head have a place twice; a chain that simply ends has not."""
    rows = [ledger_row(n) for n in range(3)]
    chain = Chain()
    first = chain.link(rows)
    fork = link(rows[:1], chain=chain.name, sequence=2, prev_hash=first[1].hash)

    assert forked((e.chain, e.sequence) for e in first) == []
    assert forked((e.chain, e.sequence) for e in [*first, *fork]) == [f"ledger chain {chain.name} forks at [2]"]


class LosesLetters(MemorySink):
    """Takes letters for durable that only its first, failed attempt had been given."""

    attempts = 0

    @property
    def keeps_letters(self) -> bool:
        return True

    def write_dead(self, letters: Sequence[DeadLetter]) -> None:
        self.attempts += 1
        if self.attempts > 1:
            super().write_dead(letters)


def test_catches_a_letter_that_is_lost_on_a_retry() -> None:
    """A sink that says it keeps letters and does not leaves one missing."""
    lost, kept = LosesLetters(owns_positions=True), MemorySink(owns_positions=True)
    for sink in (lost, kept):
        sink.faults["flush"] = [SinkUnavailable("away")]
        source, processor = MemorySource({P: numbered(P, range(10))}), CopyProcessor()
        failure = Failure(numbered(P, range(4, 5))[0], DecodeError("broken"), "decode")
        processor.poison[failure.record.position] = failure
        source.give(P)
        RouteRunner(
            Stages(source, processor, sink, PlainLetters()),
            options=DeliveryOptions(max_records=10, max_latency_ms=1, retry_s=0.001),
            health=RouteHealth("r"),
            metrics=Metrics("eu-central-1"),
            bounds=Bounds(),
        ).run()

    assert letters([4], [int(each.key) for each in kept.dead]) == []
    assert letters([4], [int(each.key) for each in lost.dead]) == ["1 dead letters missing, first [4]"]


def ledger_row(offset: int) -> LedgerRow:
    return LedgerRow(UUID(int=1), (), UUID(int=2), "leased", 1, 1, "in", 0, offset, offset, "7")


def test_catches_a_position_ahead_of_its_records() -> None:
    """What a worker that commits before its flush leaves at its death is found without waiting for the end."""
    source, sink = MemorySource({P: numbered(P, range(COUNT))}), CommitsBeforeFlush()
    sink.source = source
    sink.write(output_of([SinkRecord(r.position, r.key, r.value) for r in numbered(P, range(10))]))
    with pytest.raises(FatalError):
        sink.flush()

    assert ahead(range(source.stored[P]), set(sink.offsets())) == [
        "10 committed before they were durable, first [0, 1, 2, 3, 4]"
    ]


def test_catches_a_position_that_goes_back() -> None:
    """A stored position that is less than it was is found, one that stays or advances is not."""
    assert behind({0: 5, 1: 7}, {0: 4, 1: 7, 2: 1}) == ["stored positions went back: {0: (5, 4)}"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(1, 10)], "1 keys missing"),
        ([(1, 10), (2, 20), (2, 20)], "1 keys more than once"),
        ([(1, 10), (2, 19)], "1 keys with another record than their last"),
        ([(1, 10), (2, 20), (3, 30)], "1 keys that must be gone"),
    ],
)
def test_catches_a_wrong_row_of_a_keyed_table(rows: list[tuple[int, int]], words: str) -> None:
    """A key that is missing, doubled, stale or should have been deleted is found."""
    assert any(words in line for line in latest({1: 10, 2: 20}, rows))


def test_is_silent_on_a_keyed_table_as_it_must_be() -> None:
    """Every key with its last record is no finding."""
    assert latest({1: 10, 2: 20}, [(2, 20), (1, 10)]) == []


def test_catches_keys_that_were_never_given() -> None:
    """A worker that counts more keys as used and wasted than generated is found."""
    line = 'worker_keys_total{{event="{}",region="r"}} {}\n'
    metrics = "# TYPE worker_keys_total counter\n" + line.format("generated", 10) + line.format("used", 8)

    assert overspent("w0", metrics) == []
    assert overspent("w0", metrics + line.format("wasted", 3)) != []


def test_catches_a_broken_order() -> None:
    """Two ids of one lane in the wrong order are found."""
    assert findings(range(2), [(0, 1), (0, 0)], exactly_once=True) == ["lane 0: 0 comes after 1"]


def test_the_order_is_that_of_the_log() -> None:
    """A producer that sends again what a dead broker may have taken can have a later record before it."""
    assert findings([1, 0], [(0, 1), (0, 0)], exactly_once=True) == []
    assert findings([1, 0], [(0, 0), (0, 1)], exactly_once=True) == ["lane 0: 1 comes after 0"]


def test_a_copy_out_of_order_is_no_finding_at_least_once() -> None:
    """At least once, a repeated id is neither a finding nor a break of the order."""
    assert findings(range(3), [(0, 0), (0, 1), (0, 0), (0, 1), (0, 2)], exactly_once=False) == []
