"""A Kafka sink to which nothing comes lets its producer go, and has another one when something does."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.components import Kafka
from tests.conftest import TopicFactory
from tests.fakes.records import output_of
from tests.integration.test_delivery_kafka import Member, produce, read_all
from tests.integration.test_sink_kafka import _deliver, _read, _records, _sink, _until_available
from tests.running import until
from worker.errors import Fenced, SinkUnavailable
from worker.local import LocalKafka
from worker.pipeline import delivery
from worker.sink.kafka import KafkaSink

pytestmark = pytest.mark.integration
MODES = pytest.mark.parametrize("transactional", ["x", None], ids=["exactly-once", "at-least-once"])


def named(transactional: str | None) -> str | None:
    return transactional and f"{transactional}-{uuid.uuid4().hex}"


def client_threads() -> int:
    """How many threads of librdkafka's this process has."""
    return sum(_is_clients(task) for task in Path("/proc/self/task").iterdir())


def _is_clients(task: Path) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return (task / "comm").read_text().startswith("rdk:")
    return False


@MODES
def test_a_producer_goes_and_comes(kafka: Kafka, topic: TopicFactory, transactional: str | None) -> None:
    """With its threads; what is written before and after lies in the topic once and in order."""
    target = topic()
    sink = _sink(kafka, target, transactional=named(transactional))
    sink.check()
    without = client_threads()

    for first in range(0, 9, 3):
        _deliver(sink, _records("s", 9)[first : first + 3])
        assert client_threads() > without
        sink.rest()
        sink.rest()
        until(lambda: client_threads() <= without, "the producer's threads go on")

    sink.close()
    until(lambda: len(_read(kafka, target)) >= 9, "the last batch does not show")
    assert [m.key() for m in _read(kafka, target)] == [f"k{i}".encode() for i in range(9)]


def test_an_owner_that_comes_back_leaves_who_took_its_name_alone(kafka: Kafka, topic: TopicFactory) -> None:
    """The newer one goes on with what it had begun; the one that was at rest says why it ends."""
    target, name = topic(), named("x")
    rested, other = (_sink(kafka, target, transactional=name) for _ in range(2))
    _deliver(rested, _records("s", 1))
    rested.rest()
    other.begin()
    other.write(output_of(_records("s", 2)))
    other.flush()

    with pytest.raises(Fenced, match=f"took its transactional id {name}.*its own WORKER_INSTANCE"):
        rested.begin()

    other.commit({}, (), None)
    other.close()
    rested.close()
    until(lambda: len(_read(kafka, target)) >= 3, "the last batch does not show")
    assert len(_read(kafka, target)) == 3


@pytest.mark.fault
def test_a_broker_that_is_away_is_waited_for() -> None:
    """A sink at rest that does not reach its broker says so, and is back as soon as that is."""
    with LocalKafka() as broker:
        own = Kafka(broker.bootstrap, broker.cluster_id, dict(broker.properties))
        target = own.create_topic()
        sink = _sink(own, target, transactional=named("x"), timeout_s=3)
        _deliver(sink, _records("s", 3))
        sink.rest()
        broker.kill()
        with pytest.raises(SinkUnavailable):
            _deliver(sink, _records("s", 2))
        sink.abort()

        broker.restart()

        _until_available(lambda: _deliver(sink, _records("s", 2)), sink)
        sink.close()
        until(lambda: len(_read(own, target)) >= 5, "the second batch does not show")
        assert len(_read(own, target)) == 5


@pytest.fixture
def resting(monkeypatch: pytest.MonkeyPatch) -> set[KafkaSink]:
    """The sinks that are at rest now, which they are soon."""
    found: set[KafkaSink] = set()
    begin, rest = KafkaSink.begin, KafkaSink.rest

    def begun(sink: KafkaSink) -> None:
        found.discard(sink)
        begin(sink)

    def rested(sink: KafkaSink) -> None:
        rest(sink)
        found.add(sink)

    monkeypatch.setattr(delivery, "REST_AFTER_S", 0.3)
    monkeypatch.setattr(KafkaSink, "begin", begun)
    monkeypatch.setattr(KafkaSink, "rest", rested)
    return found


@pytest.mark.parametrize("mode", ["exactly-once", "at-least-once"])
def test_a_route_rests_and_goes_on(kafka: Kafka, topic: TopicFactory, resting: set[KafkaSink], mode: str) -> None:
    """Again and again; each record arrives once, and a stop at rest is as any other."""
    source, target = topic(partitions=4), topic(partitions=4)
    member = Member(kafka, source, target, mode=mode).start()

    for count in (100, 200, 300):
        produce(kafka, source, range(count - 100, count))
        found = read_all(kafka, target, partial(_have, count))
        until(lambda: member.sink in resting, "the sink does not rest")
    member.stop()

    assert member.error is None
    assert sorted(i for _, i in found) == list(range(300))


def test_of_two_of_one_name_one_ends(kafka: Kafka, topic: TopicFactory, resting: set[KafkaSink]) -> None:
    """The one that was there first, once it has something to write; each record arrives once."""
    source, target = topic(partitions=4), topic(partitions=4)
    rested = Member(kafka, source, target, instance="same").start()
    produce(kafka, source, range(100))
    read_all(kafka, target, partial(_have, 100))
    until(lambda: rested.sink in resting, "the sink does not rest")
    both = (rested, Member(kafka, source, target, instance="same").start())
    total = 100
    while all(each.is_alive() for each in both) and total < 20_000:
        produce(kafka, source, range(total, total + 200))
        total += 200
        rested.wait(0.1)

    found = read_all(kafka, target, partial(_have, total))
    for each in both:
        if each.is_alive():
            each.stop()

    assert [type(each.error) for each in both] == [Fenced, type(None)]
    assert sorted(i for _, i in found) == list(range(total))


def _have(count: int, ids: Sequence[int]) -> bool:
    return len(ids) >= count
