"""Delivery from Kafka to Kafka, on a real broker, with copies in place of ciphertexts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from tests.components import Kafka
from tests.conftest import TopicFactory
from tests.fakes.pipeline import CopyProcessor, PlainLetters
from worker.errors import Fenced, KeyServiceUnavailable, OffsetLost, RegionViolation, WorkerError
from worker.kafka.properties import connection_properties
from worker.metrics import Metrics
from worker.pipeline.health import RouteHealth
from worker.pipeline.options import Bounds, DeliveryOptions
from worker.pipeline.runner import RouteRunner
from worker.pipeline.stages import Stages
from worker.sink.base import SinkRoute
from worker.sink.kafka import KafkaSink, KafkaSinkOptions
from worker.source.kafka import KafkaSource
from worker.source.options import SourceOptions
from worker.source.properties import GroupMember

pytestmark = pytest.mark.integration

REGION = "eu-central-1"


class Member:
    """One worker's route, on a thread."""

    def __init__(self, kafka: Kafka, source: str, sink: str, **settings: object) -> None:
        self.mode = str(settings.pop("mode", "exactly-once"))
        self.instance = str(settings.pop("instance", "w0"))
        bounds = settings.pop("bounds", Bounds() if settings.pop("bounded", False) else None)
        assert bounds is None or isinstance(bounds, Bounds)
        cluster = settings.pop("cluster_id", kafka.cluster_id)
        self._stop_s = settings.pop("stop_s", 15)
        properties = settings.pop("properties", {})
        assert isinstance(properties, dict)
        self._bounds = bounds
        metrics = Metrics(REGION)
        group = f"group-{source}"
        # With KIP-848 the session is the broker's to say.
        session = {} if settings.get("assignment") == "consumer" else {"session_timeout_s": 6}
        self.processor = CopyProcessor()
        self.health = RouteHealth("r")
        self.source = KafkaSource(
            SourceOptions.model_validate({"topics": (source,), **session, **settings}),
            GroupMember(group, self.instance),
            connection_properties(kafka.bootstrap, {**kafka.properties, **properties}),
            cluster_id=str(cluster),
            bounded=bounds is not None,
        )
        self.sink = KafkaSink(
            KafkaSinkOptions(topic=sink, create=True),
            SinkRoute("r", REGION, topics=(source,)),
            connection_properties(kafka.bootstrap, kafka.properties),
            transactional_id=f"worker.{group}.{self.instance}" if self.mode == "exactly-once" else None,
            metrics=metrics,
        )
        self._metrics = metrics
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.use(self.sink)

    def use(self, sink: KafkaSink) -> None:
        """Write into this sink instead of a usual one."""
        self.sink = sink
        told = {"mode": self.mode, "max_records": 500, "max_latency_ms": 20, "verify_interval_s": 0.2}
        self.runner = RouteRunner(
            Stages(self.source, self.processor, sink, PlainLetters()),
            options=DeliveryOptions.model_validate({**told, "stop_s": self._stop_s}),
            health=self.health,
            metrics=self._metrics,
            bounds=self._bounds,
        )

    def start(self) -> Member:
        self._thread.start()
        return self

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def wait(self, timeout_s: float) -> None:
        """Wait for the end or for the time, whichever comes first."""
        self._thread.join(timeout_s)

    def join(self, timeout_s: float = 40) -> None:
        self._thread.join(timeout_s)
        assert not self._thread.is_alive()

    def stop(self) -> None:
        self.runner.stop()
        self.join()

    def _run(self) -> None:
        try:
            self.runner.run()
        except WorkerError as exc:
            self.error = exc


def produce(kafka: Kafka, topic: str, ids: range, *, partitions: int = 4) -> None:
    # A retry on a topic that was just made must not overtake what is under way.
    producer = Producer({**kafka.client, "linger.ms": 5, "enable.idempotence": True})
    failed: list[object] = []
    for i in ids:
        producer.produce(
            topic,
            str(i).encode(),
            str(i % 7).encode(),
            i % partitions,
            on_delivery=lambda exc, _: failed.append(exc) if exc is not None else None,
        )
        producer.poll(0)
    assert (producer.flush(30), failed) == (0, [])


def read_all(kafka: Kafka, topic: str, enough: Callable[[list[int]], bool]) -> list[tuple[int, int]]:
    """Return (partition, id) of what a committed reader sees, until `enough` or the end has been reached."""
    consumer = Consumer(
        {
            **kafka.client,
            "group.id": f"reader-{topic}",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    found: list[tuple[int, int]] = []
    ended: set[int] = set()
    try:
        for _ in range(300):
            for message in consumer.consume(2000, 0.2):
                if message.error() is not None:
                    ended.add(message.partition() or 0)
                else:
                    found.append((message.partition() or 0, int(message.value() or b"-1")))
            if len(ended) >= 4 and enough([i for _, i in found]):
                break
    finally:
        consumer.close()
    return found


@pytest.fixture
def topics(topic: TopicFactory) -> tuple[str, str]:
    source = topic(partitions=4)
    sink = topic(partitions=4)
    return source, sink


def ordered(found: list[tuple[int, int]]) -> bool:
    return all(
        ids == sorted(ids) for ids in ([i for q, i in found if q == p] for p in {partition for partition, _ in found})
    )


@pytest.mark.parametrize("assignment", ["cooperative", "eager", "consumer"])
@pytest.mark.parametrize("mode", ["exactly-once", "at-least-once"])
def test_a_bounded_run_copies_everything_once(
    kafka: Kafka, topics: tuple[str, str], mode: str, assignment: str
) -> None:
    """Under each way of sharing partitions a run until the end delivers each record once and in order."""
    produce(kafka, topics[0], range(3000))
    member = Member(kafka, *topics, mode=mode, assignment=assignment, bounded=True)

    member.start().join()

    found = read_all(kafka, topics[1], lambda ids: len(ids) >= 3000)
    assert member.error is None
    assert sorted(i for _, i in found) == list(range(3000))
    assert ordered(found)


@pytest.mark.parametrize("assignment", ["cooperative", "eager", "consumer"])
def test_members_come_and_go(kafka: Kafka, topics: tuple[str, str], assignment: str) -> None:
    """While members join and leave, an exactly-once sink holds every record once, in order per partition."""
    source, sink = topics
    first = Member(kafka, source, sink, instance="w0", assignment=assignment).start()
    produce(kafka, source, range(2000))
    second = Member(kafka, source, sink, instance="w1", assignment=assignment).start()
    produce(kafka, source, range(2000, 6000))
    read_all(kafka, sink, lambda ids: len(ids) >= 4000)
    first.stop()
    produce(kafka, source, range(6000, 8000))

    found = read_all(kafka, sink, lambda ids: len(ids) >= 8000)
    second.stop()

    assert (first.error, second.error) == (None, None)
    assert sorted(i for _, i in found) == list(range(8000))
    assert ordered(found)


def test_graceful_stops_double_nothing_at_least_once(kafka: Kafka, topics: tuple[str, str]) -> None:
    """Twenty stops under load leave no duplicate although the sink has no transactions."""
    source, sink = topics
    for turn in range(20):
        member = Member(kafka, source, sink, mode="at-least-once").start()
        produce(kafka, source, range(turn * 200, turn * 200 + 200))
        member.stop()
        assert member.error is None
    last = Member(kafka, source, sink, mode="at-least-once", bounded=True).start()
    last.join()

    found = read_all(kafka, sink, lambda ids: len(ids) >= 4000)

    assert sorted(i for _, i in found) == list(range(4000))


def test_a_lost_position_stops_the_worker(kafka: Kafka, topics: tuple[str, str]) -> None:
    """A stored offset that the log does not have stops the worker; nothing is skipped."""
    source, sink = topics
    produce(kafka, source, range(10))
    outside = Consumer({**kafka.client, "group.id": f"group-{source}"})
    outside.commit(offsets=[KafkaPartition(source, p, 1000) for p in range(4)], asynchronous=False)
    outside.close()
    member = Member(kafka, source, sink)

    member.start().join()

    assert isinstance(member.error, OffsetLost)


def test_another_cluster_stops_the_worker(kafka: Kafka, topics: tuple[str, str]) -> None:
    """A cluster whose id is not the pinned one is not read, and the message names both."""
    member = Member(kafka, *topics, cluster_id="another-cluster")

    member.start().join()

    assert isinstance(member.error, RegionViolation)
    assert "another-cluster" in str(member.error)
    assert kafka.cluster_id in str(member.error)


def test_an_instance_of_the_same_name_fences_the_older(kafka: Kafka, topics: tuple[str, str]) -> None:
    """Two processes under one instance name: the newer one goes on, the older one stops as fenced."""
    source, sink = topics
    older = Member(kafka, source, sink, instance="same").start()
    produce(kafka, source, range(100))
    read_all(kafka, sink, lambda ids: len(ids) >= 100)
    newer = Member(kafka, source, sink, instance="same")
    newer.sink.check()
    newer.start()
    total = 100
    # The older one learns that it is fenced when it writes next, so records come until it does.
    while older.is_alive() and total < 20_000:
        produce(kafka, source, range(total, total + 200))
        total += 200
        older.wait(0.5)

    found = read_all(kafka, sink, lambda ids: len(ids) >= total)
    older.join()
    newer.stop()

    assert isinstance(older.error, Fenced)
    assert sorted(i for _, i in found) == list(range(total))


def test_a_member_that_the_group_refuses_for_good_ends(kafka: Kafka, topics: tuple[str, str]) -> None:
    """Under KIP-848 a second process of a static name gets a dead client: it ends, and does not wait for ever."""
    source, sink = topics
    first = Member(kafka, source, sink, assignment="consumer", static_membership=True).start()
    deadline = time.monotonic() + 40
    while not first.health.assigned:
        assert time.monotonic() < deadline
        first.wait(0.05)
    second = Member(kafka, source, sink, assignment="consumer", static_membership=True, mode="at-least-once").start()

    second.join()
    first.stop()

    assert isinstance(second.error, Fenced)
    assert first.error is None


def test_resumes_by_itself_when_keys_come_back(kafka: Kafka, topics: tuple[str, str]) -> None:
    """An authority that is away for a while pauses the route, which loses and doubles nothing."""
    source, sink = topics
    member = Member(kafka, source, sink)
    member.processor.faults = [KeyServiceUnavailable("away") for _ in range(3)]
    member.start()
    produce(kafka, source, range(1000))

    found = read_all(kafka, sink, lambda ids: len(ids) >= 1000)
    member.stop()

    assert sorted(i for _, i in found) == list(range(1000))
