"""What once lost, doubled, blocked or misreported: each on real components, with copies in place of ciphertexts."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Collection, Mapping

import pytest
from confluent_kafka import Consumer, IsolationLevel, KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from tests.components import Kafka
from tests.conftest import TopicFactory
from tests.fakes.pipeline import CopyProcessor, MemorySink, PlainLetters
from tests.integration.test_delivery_kafka import REGION, Member, produce, read_all
from worker.errors import KeyServiceUnavailable
from worker.kafka.properties import Property, connection_properties
from worker.metrics import Metrics
from worker.model import TopicPartition
from worker.pipeline.health import RouteHealth
from worker.pipeline.options import DeliveryOptions
from worker.pipeline.runner import RouteRunner
from worker.pipeline.stages import Stages
from worker.sink.base import SinkRoute
from worker.sink.kafka import KafkaSink, KafkaSinkOptions
from worker.source.base import AssignmentListener
from worker.source.kafka import KafkaSource
from worker.source.options import SourceOptions
from worker.source.properties import GroupMember

pytestmark = pytest.mark.integration
FOUR = range(4)


@pytest.fixture
def topics(topic: TopicFactory) -> tuple[str, str]:
    return topic(partitions=4), topic(partitions=4)


def until(condition: Callable[[], bool], timeout_s: float = 40) -> None:
    """Wait for what another thread does; the suite's own timeout is the last word."""
    for _ in range(int(timeout_s / 0.05)):
        if condition():
            return
        threading.Event().wait(0.05)
    raise AssertionError("the condition did not come true")


def stored(kafka: Kafka, topic: str) -> dict[int, int]:
    """What the group has stored, by partition."""
    consumer = Consumer({**kafka.client, "group.id": f"group-{topic}", "isolation.level": "read_uncommitted"})
    try:
        found = consumer.committed([KafkaPartition(topic, p) for p in FOUR], timeout=10)
        return {p.partition: p.offset for p in found if p.offset >= 0}
    finally:
        consumer.close()


@pytest.mark.parametrize("mode", ["exactly-once", "at-least-once"])
def test_nothing_is_skipped_by_a_start_at_the_end(kafka: Kafka, topics: tuple[str, str], mode: str) -> None:
    """What arrives behind a first assignment is read, though the worker that had it delivered none of it."""
    source, sink = topics
    produce(kafka, source, range(100))
    first = Member(kafka, source, sink, mode=mode, start="latest", stop_s=1)
    first.processor.faults = [KeyServiceUnavailable("away") for _ in range(100_000)]
    first.start()
    until(lambda: len(first.runner.progress().spans) == len(FOUR))
    produce(kafka, source, range(100, 600))
    until(lambda: first.processor.calls > 0)
    first.stop()

    second = Member(kafka, source, sink, mode=mode, start="latest", bounded=True).start()
    second.join()

    assert second.error is None
    assert sorted(i for _, i in read_all(kafka, sink, lambda ids: len(ids) >= 500)) == list(range(100, 600))


def test_an_open_transaction_of_a_dead_owner_holds_its_own_partition_only(
    kafka: Kafka, topics: tuple[str, str]
) -> None:
    """The other partitions are read at once, and that one as soon as the brokers have ended the transaction."""
    source, sink = topics
    dead = Producer({**kafka.client, "transactional.id": f"dead-{source}", "transaction.timeout.ms": 60_000})
    leave_open(kafka, dead, source)
    member = Member(kafka, source, sink, mode="exactly-once").start()
    produce(kafka, source, range(400))

    early = read_all(kafka, sink, lambda ids: len(ids) >= 300)
    until(lambda: any("1 partitions can't be placed" in reason for reason in member.health.reasons()))
    dead.abort_transaction(20)
    late = read_all(kafka, sink, lambda ids: len(ids) >= 400)
    member.stop()

    assert {i % 4 for _, i in early} == {1, 2, 3}
    assert sorted(i for _, i in late) == list(range(400))
    assert not any("placed" in reason for reason in member.health.reasons())


def leave_open(kafka: Kafka, producer: Producer, source: str) -> None:
    """Leave an offset of partition 0 in an open transaction, as a worker that dies before its commit."""
    consumer = Consumer({**kafka.client, "group.id": f"group-{source}", "session.timeout.ms": 6000})
    consumer.subscribe([source])
    until(lambda: bool(consumer.poll(0.1) or consumer.assignment()))
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.send_offsets_to_transaction([KafkaPartition(source, 0, 0)], consumer.consumer_group_metadata(), 20)
    consumer.close()


@pytest.mark.parametrize(
    ("start", "properties"),
    [
        ("earliest", {"topic.metadata.refresh.interval.ms": 500}),
        ("latest", {"topic.metadata.refresh.interval.ms": 500}),
        pytest.param("latest", {}, marks=pytest.mark.heavy, id="latest-as by default"),
    ],
)
def test_a_partition_that_is_added_is_read_from_its_start(
    kafka: Kafka, topic: TopicFactory, start: str, properties: dict[str, Property]
) -> None:
    """Also by a route that starts at the end: all of the new partition came after that. Nobody else joins the group."""
    source, sink = topic(partitions=2), topic(partitions=4)
    member = Member(kafka, source, sink, start=start, properties=properties).start()
    until(lambda: len(member.runner.progress().spans) == 2)
    kafka.add_partitions(source, 4)
    produce(kafka, source, range(400))

    found = read_all(kafka, sink, lambda ids: len(ids) >= 400)
    member.stop()

    assert sorted(i for _, i in found) == list(range(400))


@pytest.mark.parametrize("mode", ["exactly-once", "at-least-once"])
def test_a_partition_that_is_added_while_nobody_reads_is_read_from_its_start(
    kafka: Kafka, topic: TopicFactory, mode: str
) -> None:
    """The next worker finds it without a position, and yet must not begin at its end."""
    source, sink = topic(partitions=3), topic(partitions=4)
    first = Member(kafka, source, sink, mode=mode, start="latest").start()
    until(lambda: len(first.runner.progress().spans) == 3)
    produce(kafka, source, range(300), partitions=3)
    read_all(kafka, sink, lambda ids: len(ids) >= 300)
    first.stop()
    kafka.add_partitions(source, 4)
    produce(kafka, source, range(403, 800, 4))

    second = Member(kafka, source, sink, mode=mode, start="latest", bounded=True).start()
    second.join()

    assert second.error is None
    found = sorted(i for _, i in read_all(kafka, sink, lambda ids: len(ids) >= 400))
    assert found == [*range(300), *range(403, 800, 4)]


class StallingSink(KafkaSink):
    """Stalls once within its transaction, until the brokers have ended that."""

    def __init__(self, kafka: Kafka, topic: str, source: str, name: str) -> None:
        super().__init__(
            KafkaSinkOptions(topic=topic, create=True, transaction_timeout_s=2),
            SinkRoute("r", REGION, topics=(source,)),
            connection_properties(kafka.bootstrap, kafka.properties),
            transactional_id=name,
            metrics=Metrics(REGION),
        )
        self._admin_client, self._target = AdminClient(kafka.client), topic
        self.stalls = 1

    def flush(self) -> None:
        super().flush()
        if self.stalls:
            self.stalls -= 1
            until(lambda: self._end(IsolationLevel.READ_COMMITTED) == self._end(IsolationLevel.READ_UNCOMMITTED) > 0)

    def _end(self, level: IsolationLevel) -> int:
        asked = {KafkaPartition(self._target, p): OffsetSpec.latest() for p in FOUR}  # type: ignore[no-untyped-call]
        answers = self._admin_client.list_offsets(asked, isolation_level=level)
        return sum(future.result().offset for future in answers.values())


@pytest.mark.heavy
@pytest.mark.timeout(120)
def test_a_stall_beyond_the_transactions_timeout_is_no_newer_owner(kafka: Kafka, topics: tuple[str, str]) -> None:
    """Brokers that gave a transaction up look like a newer owner; a member of the group goes on, once each record."""
    source, sink = topics
    member = Member(kafka, source, sink, mode="exactly-once")
    member.sink.close()
    stalling = StallingSink(kafka, sink, source, f"worker.group-{source}.w0")
    member.use(stalling)
    produce(kafka, source, range(200))
    member.start()

    found = read_all(kafka, sink, lambda ids: len(ids) >= 200)
    produce(kafka, source, range(200, 400))
    found = read_all(kafka, sink, lambda ids: len(ids) >= 400)
    member.stop()

    assert stalling.stalls == 0
    assert member.error is None
    assert sorted(i for _, i in found) == list(range(400))


def test_at_rest_the_group_has_what_the_sink_has(kafka: Kafka, topics: tuple[str, str]) -> None:
    """A report that nobody took is made again, and a position without a new record is reported too."""
    source, _ = topics
    produce(kafka, source, range(40))
    sink = MemorySink(owns_positions=True)
    sink.stored = {TopicPartition(source, p): 10 if p < 2 else 4 for p in FOUR}
    reader = KafkaSource(
        SourceOptions(topics=(source,), session_timeout_s=6),
        GroupMember(f"group-{source}", "w0"),
        kafka.client,
    )
    runner = RouteRunner(
        Stages(reader, CopyProcessor(), sink, PlainLetters()),
        options=DeliveryOptions(max_latency_ms=20),
        health=RouteHealth("r"),
        metrics=Metrics(REGION),
    )
    thread = threading.Thread(target=runner.run)
    thread.start()

    until(lambda: sink.stored.get(TopicPartition(source, 3)) == 10)
    runner.stop()
    thread.join()

    assert stored(kafka, source) == dict.fromkeys(FOUR, 10)


def _join_and_leave(bootstrap: str, properties: dict[str, str], topic: str) -> None:
    """Leave the group once it has given partitions, before a poll has taken them."""
    source = KafkaSource(
        SourceOptions(topics=(topic,), session_timeout_s=6),
        GroupMember(f"group-{topic}", "w0"),
        {"bootstrap.servers": bootstrap, **properties},
    )
    listener = Told()
    source.subscribe(listener)
    admin = AdminClient({"bootstrap.servers": bootstrap, **properties})
    until(lambda: has_partitions(admin, f"group-{topic}"))
    source.close()
    assert listener.events == ["assigned", "revoked"]


class Told(AssignmentListener):
    """What the group said, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        self.events.append("assigned")

    def revoked(self, partitions: Collection[TopicPartition], *, lost: bool) -> None:
        self.events.append("revoked")

    def stored(self, offsets: Mapping[TopicPartition, int], *, taken: bool) -> None:
        self.events.append("stored")


def has_partitions(admin: AdminClient, group: str) -> bool:
    """Whether the group's only member was told what it owns."""
    try:
        found = admin.describe_consumer_groups([group])[group].result(10)
    except KafkaException:
        return False
    return any(m.assignment and m.assignment.topic_partitions for m in found.members)


def test_a_member_that_ends_while_its_group_rebalances_leaves_it(kafka: Kafka, topics: tuple[str, str]) -> None:
    """It ends as soon as the group has met it, when the others are about to give partitions up for it."""
    group, told = f"group-{topics[0]}", Told()
    options = SourceOptions(topics=(topics[0],), session_timeout_s=60)
    connection = connection_properties(kafka.bootstrap, kafka.properties)
    ended = threading.Event()
    staying = threading.Thread(
        target=_stay, args=(KafkaSource(options, GroupMember(group, "stays"), connection), ended)
    )
    staying.start()
    try:
        admin = AdminClient(kafka.client)
        until(lambda: has_partitions(admin, group))
        source = KafkaSource(options, GroupMember(group, "ends"), connection)
        source.subscribe(told)
        while "assigned" not in told.events:
            source.poll(1, 0.05)
        source.close()
        members = admin.describe_consumer_groups([group])[group].result(10).members
    finally:
        ended.set()
        staying.join()

    assert [m.client_id for m in members] == ["worker-stays"]


def _stay(source: KafkaSource, ended: threading.Event) -> None:
    source.subscribe(Told())
    while not ended.is_set():
        source.poll(1, 0.05)
    source.close()


def test_a_member_leaves_while_it_is_given_partitions(kafka: Kafka, topics: tuple[str, str]) -> None:
    """Partitions that arrive while the client closes are given back; the process goes on."""
    # In a process of its own: what hung here held the interpreter's lock.
    leaving = multiprocessing.get_context("spawn").Process(
        target=_join_and_leave, args=(kafka.bootstrap, dict(kafka.properties), topics[0]), daemon=True
    )
    leaving.start()
    leaving.join(50)
    code = leaving.exitcode
    leaving.kill()

    assert code == 0


@pytest.mark.parametrize("mode", ["exactly-once", "at-least-once"])
def test_records_that_a_topic_will_never_take_hold_no_others_up(kafka: Kafka, topic: TopicFactory, mode: str) -> None:
    """A compacted topic refuses a batch for the sake of a record without a key, and does not say which."""
    source, sink = topic(partitions=4), topic(partitions=4, config={"cleanup.policy": "compact"})
    topic(f"{source}.dead", partitions=4)
    producer = Producer({**kafka.client, "enable.idempotence": True})
    for i in range(200):
        producer.produce(source, f"{i}".encode(), None if i in (7, 150) else f"k{i}".encode(), i % 4)
    assert producer.flush(30) == 0
    member = Member(kafka, source, sink, mode=mode).start()

    found = read_all(kafka, sink, lambda ids: len(set(ids)) >= 198)
    member.stop()
    reader = Consumer({**kafka.client, "group.id": f"dead-{source}", "auto.offset.reset": "earliest"})
    reader.subscribe([f"{source}.dead"])
    dead = reader.consume(2, 30)
    reader.close()

    assert member.error is None
    assert {i for _, i in found} == set(range(200)) - {7, 150}
    assert [letter.value() for letter in dead] == [b"sink_rejected"] * 2
