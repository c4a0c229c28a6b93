"""The next batch is processed while the one before it waits or is written, and never written out of turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.fakes.pipeline import CopyProcessor, MemorySource, numbered
from tests.unit.pipeline.test_runner import P0, P1, Bench
from worker.errors import KeyServiceUnavailable, PositionsChanged
from worker.model import Batch, batch_of
from worker.pipeline.ahead import Ahead
from worker.pipeline.assignment import Assignment
from worker.pipeline.collect import Collector
from worker.pipeline.job import Job, Processed
from worker.pipeline.options import DeliveryOptions
from worker.turn import given_way


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    for gate in made.sink.gates.values():
        gate.set()
    made.stop()


class SecondFails(CopyProcessor):
    """Has no keys for the second batch at first."""

    failed = False

    def process(self, batch: Batch) -> Processed:
        if batch.offsets[0] == 10 and not self.failed:
            self.failed, self.faults = True, [KeyServiceUnavailable("away")]
        return super().process(batch)


class Waits(CopyProcessor):
    """Waits in the first batch until it may go on, as for keys, and notes how batches follow each other."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[str] = []
        self.came = threading.Event()

    def process(self, batch: Batch) -> Processed:
        number = batch.offsets[0] // 10
        self.steps.append(f"{number} begins")
        if number == 0:
            with given_way():
                assert self.came.wait(20)
        result = super().process(batch)
        self.steps.append(f"{number} ends")
        return result


def stuck(bench: Bench) -> threading.Event:
    """Let the first batch reach its flush and stay there; returns what lets it go on."""
    gate = bench.sink.gates["flush"] = threading.Event()
    reached = bench.sink.reached["flush"] = threading.Event()
    bench.start()
    assert reached.wait(20)
    return gate


def test_the_next_batch_is_processed_before_its_turn_and_once(bench: Bench) -> None:
    """While the first batch is in its flush the second one's keys are had; it is written as it was processed."""
    bench.source.give(P0)
    gate = stuck(bench)
    bench.until(lambda: bench.processor.calls == 2)
    written = list(bench.sink.committed)

    gate.set()
    bench.until(lambda: bench.sink.stored.get(P0) == 30)

    assert written == []
    assert bench.sink.offsets() == list(range(30))
    assert bench.processor.calls == 3


def test_the_next_batch_begins_while_one_waits_for_its_keys(bench: Bench) -> None:
    """It has all of its keys before the first one has; each is written in its turn."""
    bench.processor = processor = Waits()
    bench.source.give(P0)
    bench.start()
    bench.until(lambda: len(processor.steps) == 3)
    steps, written = list(processor.steps), list(bench.sink.committed)

    processor.came.set()
    bench.until(lambda: bench.sink.stored.get(P0) == 30)

    assert steps == ["0 begins", "1 begins", "1 ends"]
    assert written == []
    assert bench.sink.offsets() == list(range(30))


def test_what_fails_before_its_turn_is_processed_again(bench: Bench) -> None:
    """An outage of the keys costs the batch before it nothing, and the batch itself another attempt."""
    bench.processor = SecondFails()
    bench.source.give(P0)
    gate = stuck(bench)
    bench.until(lambda: bench.processor.calls == 2)

    gate.set()
    bench.until(lambda: bench.sink.stored.get(P0) == 30)

    assert bench.sink.offsets() == list(range(30))
    assert bench.processor.calls == 4


def test_a_batch_whose_forerunner_is_uncertain_is_collected_anew(bench: Bench) -> None:
    """Nothing that was made of records from before new positions is written."""
    bench.source.give(P0)
    gate = stuck(bench)
    bench.until(lambda: bench.processor.calls == 2)
    bench.sink.faults["commit"] = [PositionsChanged("moved")]

    gate.set()
    bench.until(lambda: bench.sink.stored.get(P0) == 30)

    assert bench.sink.offsets() == list(range(30))


def test_a_partition_that_goes_takes_its_share_of_the_next_batch_along(bench: Bench) -> None:
    """Records of a revoked partition that were processed ahead are left to its next owner; the others come once."""
    bench.source.give(P0, P1)
    gate = stuck(bench)
    bench.until(lambda: bench.processor.calls == 2)
    bench.source.take(P1)
    bench.until(lambda: not bench.source._events)

    gate.set()
    bench.until(lambda: bench.sink.stored.get(P0) == 30)
    bench.until(lambda: P1 not in bench.source.owned)

    mine = [record.position.offset for record in bench.sink.committed if record.position.partition == 0]
    theirs = [record.position.offset for record in bench.sink.committed if record.position.partition == 1]
    assert mine == list(range(30))
    assert theirs == list(range(bench.sink.stored.get(P1, 0)))


def test_what_waits_for_a_batch_that_never_ends_is_let_go_at_the_close() -> None:
    """The interpreter joins its thread at the end: a delivery that died or is stuck must not keep the process."""
    source = MemorySource({P0: numbered(P0, range(10))})
    source.owned[P0] = 0
    lanes = Assignment(source)
    lanes.add([P0])
    lanes.activate(P0, 0)
    collector, processor = Collector(DeliveryOptions(), lanes, limit=None), CopyProcessor()
    collector.add(batch_of(numbered(P0, range(10))))
    ahead = Ahead(processor, collector, "stuck")
    ahead.begin(Job(batch_of(numbered(P0, range(0))), {}))

    ahead.close()

    for thread in threading.enumerate():
        if thread.name.startswith("process-stuck"):
            thread.join(20)
            assert not thread.is_alive()
    assert processor.calls == 0


def test_what_fails_beside_a_delivery_ends_the_route(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop hears of it at once, and nothing waits for a batch that nobody has any more."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no trace")

    monkeypatch.setattr(bench.metrics.traces, "batch", fail)
    bench.source.give(P0)
    made = bench.made()

    with pytest.raises(RuntimeError, match="no trace"):
        made.run()

    assert bench.sink.committed == []
