"""A source, a sink and a processor in memory, with the roles of the real ones and faults on request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tests.fakes.records import records_of
from worker.errors import SinkUnavailable, SourceUnavailable, TransientError, WorkerError
from worker.model import Batch, Fate, Fates, Output, Part, Position, SinkRecord, SourceRecord, TopicPartition, batch_of
from worker.pipeline.amplified import Oversized
from worker.pipeline.job import Failure, Processed
from worker.sink.base import DeadLetter, LedgerRow, OffsetRange, Positions
from worker.source.base import AssignmentListener, Found, Search


def numbered(partition: TopicPartition, offsets: range) -> list[SourceRecord]:
    return [
        SourceRecord(Position(partition.topic, partition.partition, o), str(o).encode(), f"v{o}".encode(), (), 1, 1000)
        for o in offsets
    ]


@dataclass(frozen=True)
class MemorySearch:
    """Answers at once, but for a partition without a leader."""

    found: Found
    leaderless: Collection[TopicPartition]
    partition: TopicPartition

    def answer(self) -> Found | None:
        if self.partition in self.leaderless:
            raise SourceUnavailable(f"{self.partition}: there is no leader")
        return self.found


class MemorySource:
    """Partitions as lists; rebalances are asked for by `give` and `take` and served within `poll`, as Kafka does."""

    def __init__(self, logs: Mapping[TopicPartition, list[SourceRecord]]) -> None:
        self.logs = dict(logs)
        self.stored: dict[TopicPartition, int] = {}
        self.start = 0
        self.leaderless: set[TopicPartition] = set()
        self.refused_stores = 0
        self.member = True
        self.polls = 0
        self.closed = False
        self.paused: set[TopicPartition] = set()
        self.owned: dict[TopicPartition, int] = {}
        self.on_poll: Callable[[], None] | None = None
        self.cluster_faults: list[WorkerError] = []
        self._listener: AssignmentListener | None = None
        self._events: list[Callable[[], None]] = []

    def give(self, *partitions: TopicPartition) -> None:
        self._events.append(lambda: self._give(partitions))

    def take(self, *partitions: TopicPartition, lost: bool = False) -> None:
        self._events.append(lambda: self._take(partitions, lost))

    def subscribe(self, listener: AssignmentListener) -> None:
        self._listener = listener

    def partitions(self) -> frozenset[TopicPartition]:
        return frozenset(self.logs)

    def poll(self, max_records: int, timeout_s: float) -> Batch | None:
        self.polls += 1
        if self.on_poll is not None:
            self.on_poll()
        events, self._events = self._events, []
        for event in events:
            event()
        out: list[SourceRecord] = []
        for partition in list(self.owned):
            if partition in self.paused:
                continue
            room = max_records - len(out)
            found = [r for r in self.logs[partition] if r.position.offset >= self.owned[partition]][:room]
            if found:
                self.owned[partition] = found[-1].position.offset + 1
            out += found
        if not out:
            threading.Event().wait(min(timeout_s, 0.005))
        return batch_of(out) if out else None

    def wake(self) -> None:
        """Its polls never wait for long."""

    @property
    def patience_s(self) -> float:
        return 0.005

    def find(
        self, partitions: Collection[TopicPartition], *, stored: bool, bounded: bool, until_ms: int | None
    ) -> dict[TopicPartition, Search]:
        return {
            p: MemorySearch(
                Found(
                    self.stored.get(p, self.start) if stored else self.start,
                    self.stored.get(p) if stored else None,
                    len(self.logs[p]) if bounded else None,
                ),
                self.leaderless,
                p,
            )
            for p in partitions
        }

    def at_end(self, partition: TopicPartition, end: int) -> bool:
        return self.owned.get(partition, 0) >= end

    def seek(self, positions: Mapping[TopicPartition, int]) -> set[TopicPartition]:
        self.owned.update({p: o for p, o in positions.items() if p in self.owned})
        return set(positions) & set(self.owned)

    def pause(self, partitions: Collection[TopicPartition]) -> None:
        self.paused |= set(partitions)

    def resume(self, partitions: Collection[TopicPartition]) -> None:
        self.paused -= set(partitions)

    def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        self.stored.update(offsets)
        return True

    def store(self, offsets: Mapping[TopicPartition, int]) -> None:
        given = dict(offsets)
        self._events.append(lambda: self._answer(given))

    def holds(self) -> bool:
        return self.member

    def group_metadata(self) -> object:
        return "generation"

    def verify(self) -> bool:
        return True

    def confirm(self) -> None:
        if self.cluster_faults:
            raise self.cluster_faults.pop(0)

    def lag(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        return {p: len(self.logs[p]) - o for p, o in positions.items()}

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._take(tuple(self.owned), False)

    def _answer(self, offsets: Mapping[TopicPartition, int]) -> None:
        assert self._listener is not None
        taken = self.refused_stores == 0
        self.refused_stores = max(0, self.refused_stores - 1)
        if taken:
            self.stored.update(offsets)
        self._listener.stored(offsets, taken=taken)

    def _give(self, partitions: Sequence[TopicPartition]) -> None:
        assert self._listener is not None
        self.owned.update(dict.fromkeys(partitions, 0))
        self.paused |= set(partitions)
        self._listener.assigned(partitions)

    def _take(self, partitions: Sequence[TopicPartition], lost: bool) -> None:
        assert self._listener is not None
        self._listener.revoked(partitions, lost=lost)
        for partition in partitions:
            self.owned.pop(partition, None)


@dataclass
class MemorySink:
    """
    Keeps what was committed; with `owns_positions` the positions too.

    `faults` maps a method to errors, raised one a call; `gates` maps a method to an event that it waits for.
    """

    owns_positions: bool = False
    committed: list[SinkRecord] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    stored: dict[TopicPartition, int] = field(default_factory=dict)
    ledger: list[LedgerRow] = field(default_factory=list)
    faults: dict[str, list[BaseException]] = field(default_factory=dict)
    gates: dict[str, threading.Event] = field(default_factory=dict)
    reached: dict[str, threading.Event] = field(default_factory=dict)
    refuses: set[Position] = field(default_factory=set)
    refusal: Callable[[list[Position]], WorkerError] | None = None
    held: set[TopicPartition] = field(default_factory=set)
    aborts: int = 0
    closed: bool = False
    calls: list[str] = field(default_factory=list)
    _records: list[SinkRecord] = field(default_factory=list)
    _letters: list[DeadLetter] = field(default_factory=list)

    def check(self) -> None:
        return

    def positions(self, partitions: Mapping[TopicPartition, int | None]) -> Positions:
        self._enter("positions")
        known = {p: self.stored.get(p, start) for p, start in partitions.items()}
        held = {p: SinkUnavailable(f"{p}: held by another") for p in partitions if p in self.held}
        return Positions({p: at for p, at in known.items() if at is not None and p not in held}, held)

    def begin(self) -> None:
        self._enter("begin")
        self._records, self._letters = [], []

    def write(self, output: Output) -> None:
        self._enter("write")
        records = records_of(output)
        bad = [r.position for r in records if r.position in self.refuses]
        if bad and self.refusal is not None:
            raise self.refusal(bad)
        self._records += records

    @property
    def keeps_letters(self) -> bool:
        return self.owns_positions

    def write_dead(self, letters: Sequence[DeadLetter]) -> None:
        self._enter("write_dead")
        if self.keeps_letters:
            self.dead += letters
        else:
            self._letters += letters

    def flush(self) -> None:
        self._enter("flush")

    def commit(
        self,
        offsets: Mapping[TopicPartition, OffsetRange],
        ledger: Sequence[LedgerRow],
        group_metadata: object | None,
    ) -> None:
        self._enter("commit")
        self.committed += self._records
        self.dead += self._letters
        self.ledger += ledger
        self.stored.update({p: span.next for p, span in offsets.items()})
        self._enter("committed")

    def abort(self) -> None:
        self.aborts += 1
        self._records, self._letters = [], []

    def rest(self) -> None:
        self._enter("rest")

    def close(self) -> None:
        self.closed = True

    def offsets(self) -> list[int]:
        return [r.position.offset for r in self.committed]

    def _enter(self, method: str) -> None:
        self.calls.append(method)
        if method in self.reached:
            self.reached[method].set()
        if method in self.gates:
            assert self.gates[method].wait(20)
        if self.faults.get(method):
            raise self.faults[method].pop(0)


class CopyProcessor:
    """Copies; records in `poison` fail with their error, `faults` are raised one a call, over `most` is too much."""

    def __init__(self) -> None:
        self.most = 10**9
        self.faults: list[TransientError | WorkerError] = []
        self.poison: dict[Position, Failure] = {}
        self.calls = 0

    def process(self, batch: Batch) -> Processed:
        self.calls += 1
        if self.faults:
            raise self.faults.pop(0)
        if len(batch) > self.most:
            raise Oversized
        fates = Fates(len(batch))
        for i in range(len(batch)):
            failure = self.poison.get(batch.record(i).position)
            if failure is not None:
                fates.fail(i, failure.error, failure.stage)
        fates.settle(fates.open(range(len(batch))), Fate.ENCRYPTED)
        fates.close()
        everything = Part(range(len(batch)), batch.values)
        return Processed(batch, batch.output([everything], fates.written), fates)


class PlainLetters:
    """Letters without a seal, for tests of the loop alone."""

    def seal(self, failures: Sequence[Failure]) -> list[DeadLetter]:
        return [
            DeadLetter(f"{f.record.position.topic}.dead", str(f.record.position.offset).encode(), f.error.code.encode())
            for f in failures
        ]
