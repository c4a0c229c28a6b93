"""The Kafka sink against a real broker."""

from __future__ import annotations

import dataclasses
import re
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.components import Kafka
from tests.conftest import TopicFactory
from tests.contract.batches import of_native
from tests.fakes.records import output_of
from tests.running import until
from worker.errors import ConfigError, Fenced, RegionViolation, SinkRejected, SinkUnavailable
from worker.local import LocalKafka
from worker.metrics import Metrics
from worker.model import Header, Output, Part, Position, SinkRecord, SourceRecord
from worker.model import TopicPartition as Partition
from worker.native import IS_LOADED
from worker.native.batch import NativeOutput
from worker.sink.base import DeadLetter, LedgerRow, OffsetRange, SinkRoute
from worker.sink.kafka import KafkaDeadLetters, KafkaSink, KafkaSinkOptions
from worker.sink.ledger import verify

pytestmark = pytest.mark.integration

_ROOM = {"max.message.bytes": str(1048588 + 4096)}


def _sink(
    kafka: Kafka, target: str, *, transactional: str | None = None, source: str | None = None, **options: object
) -> KafkaSink:
    return KafkaSink(
        KafkaSinkOptions.model_validate({"topic": target, "timeout_s": 20, **options}),
        SinkRoute(
            "customers",
            f"r{uuid.uuid4().hex[:8]}",
            cluster_id=kafka.cluster_id,
            topics=() if source is None else (source,),
        ),
        kafka.client,
        transactional_id=transactional,
        metrics=Metrics("eu-central-1"),
    )


def _records(source: str, count: int, partitions: int = 1) -> list[SinkRecord]:
    return [
        SinkRecord(
            Position(source, i % partitions, i),
            f"k{i}".encode(),
            f"v{i}".encode(),
            [("h", b"1")],
            1,
            1_700_000_000_000 + i,
        )
        for i in range(count)
    ]


def _read(kafka: Kafka, topic: str, partitions: int = 1) -> list[Message]:
    """Read everything committed, up to each partition's last stable offset."""
    own = {"group.id": uuid.uuid4().hex, "enable.partition.eof": True, "isolation.level": "read_committed"}
    consumer = Consumer({**kafka.client, **own, "log_level": 3})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
    found: list[Message] = []
    ended = 0
    while ended < partitions:
        message = consumer.poll(20)
        assert message is not None, "the broker went silent"
        if message.error() is not None:
            ended += 1
        else:
            found.append(message)
    consumer.close()
    return found


def _deliver(sink: KafkaSink, records: Sequence[SinkRecord], ledger: Sequence[LedgerRow] = ()) -> None:
    sink.begin()
    sink.write(output_of(records))
    sink.flush()
    sink.commit({}, ledger, None)


def _row(first: int) -> LedgerRow:
    return LedgerRow(uuid.uuid4(), (uuid.uuid4(),), UUID(int=7), "record", 3, 3, "t", 0, first, first + 2, "1001")


def test_records_arrive_as_they_were(kafka: Kafka, topic: TopicFactory) -> None:
    """Key, value, headers, timestamp and partition number are kept."""
    source, target = topic(partitions=3), topic(partitions=3)
    sink = _sink(kafka, target)

    _deliver(sink, _records(source, 30, 3))

    found = _read(kafka, target, 3)
    sink.close()
    first = next(m for m in found if m.key() == b"k4")
    assert len(found) == 30
    assert (first.partition(), first.value(), first.headers(), first.timestamp()) == (
        1,
        b"v4",
        [("h", b"1")],
        (1, 1_700_000_000_004),
    )


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ("copy", [("a", b"1"), ("b", None), ("a", b"2"), ("c", b"")]),
        ("drop", []),
        (["b", "a", "__value_schema_id"], [("a", b"1"), ("b", None), ("a", b"2")]),
    ],
)
def test_headers_follow_the_policy(
    kafka: Kafka, topic: TopicFactory, policy: object, kept: list[tuple[str, bytes | None]]
) -> None:
    """All, none or the named ones, in order, nulls and duplicates included; the input's schema ids never."""
    target = topic()
    sink = _sink(kafka, target, headers=policy)
    ids: list[Header] = [("__value_schema_id", b"\0\0\0\0\1"), ("__key_schema_id", b"\0\0\0\0\2")]
    headers: list[Header] = [("a", b"1"), ids[0], ("b", None), ("a", b"2"), ids[1], ("c", b"")]

    _deliver(sink, [SinkRecord(Position("s", 0, 0), b"k", b"v", headers)])

    (found,) = _read(kafka, target)
    sink.close()
    assert (found.headers() or []) == kept


@pytest.mark.skipif(not IS_LOADED, reason="the extension module is not built")
@pytest.mark.parametrize("partitioning", ["same", "key"])
@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ("copy", [("a", b"1"), ("b", None), ("a", b"2"), ("c", b"")]),
        ("drop", []),
        (["b", "a", "__value_schema_id"], [("a", b"1"), ("b", None), ("a", b"2")]),
    ],
)
@pytest.mark.parametrize("is_told", [False, True])
def test_headers_follow_the_policy_from_native_memory(
    kafka: Kafka, topic: TopicFactory, policy: object, kept: list[Header], is_told: bool, partitioning: str
) -> None:
    """The same of records that never were Python's, a place in the source told last; a record without any has none."""
    target, names = topic(), ("a", "__value_schema_id", "b", "a", "worker-source", "c")
    headers: list[Header] = list(zip(names, (b"1", b"\0\0\0\0\1", None, b"2", b"elsewhere", b""), strict=True))
    old = [("worker-source", b"elsewhere")] if policy == "copy" and not is_told else []
    batch = of_native([SourceRecord(Position("s", 0, 7 + n), b"k", None, headers if n else [], 1, 5) for n in range(2)])
    output = batch.output([Part(range(2), [None, None])], range(2))
    sink = _sink(kafka, target, headers=policy, source_header=is_told, partitioning=partitioning)

    sink.begin()
    sink.write(output)
    sink.flush()

    found = _read(kafka, target)
    sink.close()
    told: list[list[Header]] = [[("worker-source", f"s/0/{7 + n}".encode())] if is_told else [] for n in range(2)]
    expected = [*kept[:3], *old, *kept[3:]]
    assert isinstance(output, NativeOutput)
    assert [m.headers() or [] for m in found] == [told[0], [*expected, *told[1]]]


def _in_native_memory(records: Sequence[SinkRecord]) -> Output:
    batch = of_native([SourceRecord(r.position, r.key, r.value, [], 1, 5) for r in records])
    output = batch.output([Part(range(len(batch)), [r.value for r in records])], range(len(batch)))
    assert isinstance(output, NativeOutput)
    return output


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(output_of, id="plain"),
        pytest.param(
            _in_native_memory, id="native", marks=pytest.mark.skipif(not IS_LOADED, reason="the extension is not built")
        ),
    ],
)
@pytest.mark.parametrize("transactional", [None, "x-grown"])
def test_a_partition_that_is_added_is_written_to_at_once(
    kafka: Kafka, topic: TopicFactory, form: Callable[[Sequence[SinkRecord]], Output], transactional: str | None
) -> None:
    """By itself the client would refuse its records for five minutes; the batch is tried again, as after any pause."""
    target = topic(partitions=2)
    name = transactional and f"{transactional}-{uuid.uuid4().hex}"
    sink = _sink(kafka, target, transactional=name)
    for _ in range(3):  # the first ones make connections, and whoever made one asks about the topic
        _deliver(sink, _records("s", 2, 2))
    kafka.add_partitions(target, 3)
    refused: list[str] = []

    def delivered() -> bool:
        sink.begin()
        try:
            sink.write(form([SinkRecord(Position("s", 2, 0), b"k", None, [], 1, 5)]))
            sink.flush()
        except SinkUnavailable as exc:
            refused.append(str(exc))
            sink.abort()
            return False
        sink.commit({}, (), None)
        return True

    until(delivered, "the new partition is known")

    found = _read(kafka, target, 3)
    sink.close()
    assert all("_UNKNOWN_PARTITION: its topic has fewer partitions than the source" in text for text in refused)
    assert [m.key() for m in found if m.partition() == 2] == [b"k"]


def test_a_tombstone_stays_null_and_an_empty_value_empty(kafka: Kafka, topic: TopicFactory) -> None:
    """None and no bytes are two things."""
    target = topic()
    sink = _sink(kafka, target)

    _deliver(sink, [SinkRecord(Position("s", 0, 0), b"a", None), SinkRecord(Position("s", 0, 1), None, b"")])

    found = _read(kafka, target)
    sink.close()
    assert [(m.key(), m.value()) for m in found] == [(b"a", None), (None, b"")]


def test_partitioning_by_key_is_javas(kafka: Kafka, topic: TopicFactory) -> None:
    """`key` places a record where Java's murmur2 places it (vectors of org.apache.kafka.common.utils.Utils)."""
    target = topic(partitions=7)
    sink = _sink(kafka, target, partitioning="key")
    murmur2 = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}

    _deliver(sink, [SinkRecord(Position("s", 0, i), key, b"v") for i, key in enumerate(murmur2)])

    found = {m.key(): m.partition() for m in _read(kafka, target, 7)}
    sink.close()
    assert found == {key: (value & 0x7FFFFFFF) % 7 for key, value in murmur2.items()}


def test_an_aborted_transaction_shows_nothing(kafka: Kafka, topic: TopicFactory) -> None:
    """Records, dead letters and ledger of an aborted batch stay invisible; those of the next one do not."""
    source, target = topic(), topic()
    dead = topic(f"{source}.dead", config=_ROOM)
    sink = _sink(kafka, target, transactional=f"x-{uuid.uuid4().hex}", source=source, create=True)
    sink.begin()
    sink.write(output_of(_records(source, 5)))
    sink.write_dead([DeadLetter(dead, b"k", b"sealed")])
    sink.flush()

    sink.abort()

    _deliver(sink, _records(source, 2))
    sink.close()
    assert len(_read(kafka, target)) == 2
    assert _read(kafka, dead) == []


def test_offsets_move_with_the_transaction(kafka: Kafka, topic: TopicFactory) -> None:
    """A committed batch has the group's offset in it, an aborted one has not."""
    source, target = topic(), topic()
    group = f"g-{uuid.uuid4().hex}"
    consumer = Consumer({**kafka.client, "group.id": group, "enable.auto.commit": False, "log_level": 3})
    consumer.subscribe([source])
    while not consumer.assignment():
        consumer.poll(0.2)
    sink = _sink(kafka, target, transactional=f"x-{uuid.uuid4().hex}")
    sink.begin()
    sink.write(output_of(_records(source, 5)))
    sink.flush()

    sink.commit({Partition(source, 0): OffsetRange(0, 5)}, (), consumer.consumer_group_metadata())

    committed = consumer.committed([TopicPartition(source, 0)], timeout=20)
    consumer.close()
    sink.close()
    assert committed[0].offset == 5


def test_an_older_owner_is_fenced(kafka: Kafka, topic: TopicFactory) -> None:
    """When a newer owner takes the transactional id, the older one stops and nothing of its batch shows."""
    source, target, name = topic(), topic(), f"x-{uuid.uuid4().hex}"
    older, newer = _sink(kafka, target, transactional=name), _sink(kafka, target, transactional=name)
    older.begin()
    older.write(output_of(_records(source, 3)))
    older.flush()

    newer.begin()

    with pytest.raises(Fenced):
        older.commit({}, (), None)
    newer.write(output_of(_records(source, 1)))
    newer.flush()
    newer.commit({}, (), None)
    older.close()
    newer.close()
    assert len(_read(kafka, target)) == 1


def test_an_owner_that_is_fenced_within_a_flush_says_so(kafka: Kafka, topic: TopicFactory) -> None:
    """The client raises from what serves its callbacks then, and not from what it was asked for."""
    target, name = topic(), f"x-{uuid.uuid4().hex}"
    waiting = dataclasses.replace(kafka, properties={**kafka.properties, "linger.ms": "3000"})
    older, newer = _sink(waiting, target, transactional=name), _sink(kafka, target, transactional=name)
    older.begin()
    older.write(output_of(_records(target, 100)))

    newer.begin()

    with pytest.raises(Fenced):
        older.flush()
    newer.abort()
    older.close()
    newer.close()


def test_a_check_fences_nobody(kafka: Kafka, topic: TopicFactory) -> None:
    """`check` beside a running worker of the same transactional id leaves its transaction alone."""
    target, name = topic(), f"x-{uuid.uuid4().hex}"
    running = _sink(kafka, target, transactional=name)
    running.begin()
    running.write(output_of(_records("s", 2)))

    _sink(kafka, target, transactional=name).check()

    running.flush()
    running.commit({}, (), None)
    running.close()
    assert len(_read(kafka, target)) == 2


@pytest.mark.fault
@pytest.mark.parametrize("transactional", [None, "x-broker-away"])
def test_a_batch_survives_its_broker(transactional: str | None) -> None:
    """A batch that the broker's death interrupted is refused as a whole, and written once it is back."""
    with LocalKafka() as broker:
        own = Kafka(broker.bootstrap, broker.cluster_id, dict(broker.properties))
        target = own.create_topic()
        sink = _sink(own, target, transactional=transactional, timeout_s=3)
        _deliver(sink, _records("s", 3))
        sink.begin()
        broker.kill()
        sink.write(output_of(_records("s", 2)))
        with pytest.raises(SinkUnavailable):
            sink.flush()
        sink.abort()

        broker.restart()

        _until_available(lambda: _deliver(sink, _records("s", 2)), sink)
        sink.close()
        # A commit is answered before its markers are in the partitions.
        until(lambda: len(_read(own, target)) >= 5, "the second batch does not show")
        assert transactional is None or len(_read(own, target)) == 5


def _until_available(deliver: Callable[[], None], sink: KafkaSink) -> None:
    for _ in range(10):
        try:
            deliver()
        except SinkUnavailable:
            sink.abort()
        else:
            return
    raise AssertionError("the sink did not come back")


def test_the_ledgers_chain_verifies(kafka: Kafka, topic: TopicFactory) -> None:
    """Entries of several batches form one chain in the ledger's topic, which is made when missing."""
    target = topic()
    sink = _sink(kafka, target, transactional=f"x-{uuid.uuid4().hex}")
    sink.check()

    for first in (0, 3, 6):
        _deliver(sink, _records("t", 3), [_row(first)])

    documents = [m.value() for m in _read(kafka, sink.ledger_topic)]
    sink.close()
    assert verify([d for d in documents if d is not None]) == 3


def test_a_record_too_large_is_named(kafka: Kafka, topic: TopicFactory) -> None:
    """A record larger than the topic takes is refused with its position, before anything is written."""
    target = topic(config={"max.message.bytes": "20000"})
    sink = _sink(kafka, target)
    records = _records("s", 3)
    records[1].value = bytes(30_000)
    sink.begin()

    with pytest.raises(SinkRejected) as caught:
        sink.write(output_of(records))

    sink.abort()
    sink.close()
    assert caught.value.positions == (Position("s", 0, 1),)


@pytest.mark.parametrize(
    ("config", "change"),
    [
        pytest.param({"cleanup.policy": "compact"}, {"key": None}, id="no key"),
        pytest.param({"message.timestamp.before.max.ms": "3600000"}, {"timestamp_ms": 1_500_000_000_000}, id="old"),
        pytest.param({"message.timestamp.after.max.ms": "3600000"}, {"timestamp_ms": 4_000_000_000_000}, id="future"),
    ],
)
@pytest.mark.parametrize("transactional", [False, True])
def test_a_record_that_the_topic_will_never_take_is_refused(
    kafka: Kafka, topic: TopicFactory, config: dict[str, str], change: dict[str, Any], *, transactional: bool
) -> None:
    """Waiting would not help; the brokers do not say which it is, so the runner halves the batch."""
    target = topic(config=config)
    sink = _sink(kafka, target, transactional=f"x-{target}" if transactional else None)
    fresh = [dataclasses.replace(r, timestamp_ms=time.time_ns() // 1_000_000) for r in _records("s", 3)]

    with pytest.raises(SinkRejected, match="a topic refuses a record") as caught:
        _deliver(sink, [*fresh[:2], dataclasses.replace(fresh[2], **change)])
    _deliver(sink, fresh[:2])

    sink.close()
    assert caught.value.positions == ()
    assert [m.value() for m in _read(kafka, target)] == [b"v0", b"v1"]


def test_a_batch_larger_than_the_topic_takes_is_split(kafka: Kafka, topic: TopicFactory) -> None:
    """Many small records reach a topic whose limit is far below a batch's size."""
    target = topic(config={"max.message.bytes": "20000"})
    sink = _sink(kafka, target)
    sink.begin()
    sink.write(output_of([SinkRecord(Position("s", 0, i), None, uuid.uuid4().bytes * 60) for i in range(200)]))

    sink.flush()

    sink.close()
    assert len(_read(kafka, target)) == 200


def test_other_partition_counts_are_refused(kafka: Kafka, topic: TopicFactory) -> None:
    """`same` needs as many partitions as the source has."""
    source, target = topic(partitions=2), topic(partitions=3)
    topic(f"{source}.dead", config=_ROOM)

    with pytest.raises(ConfigError, match=r"2 partitions.*3"):
        _sink(kafka, target, source=source).check()


def test_a_dead_topic_too_small_is_refused(kafka: Kafka, topic: TopicFactory) -> None:
    """A dead topic takes the source's largest record and 4 KiB."""
    source, target = topic(), topic()
    topic(f"{source}.dead")

    with pytest.raises(ConfigError, match="1052684"):
        _sink(kafka, target, source=source).check()


def test_missing_topics_are_created_on_request(kafka: Kafka, topic: TopicFactory) -> None:
    """`create` makes the sink's and the dead topic after the source, with room for envelopes."""
    source = topic(partitions=2)
    target = f"{source}.enc"

    sink = _sink(kafka, target, source=source, create=True)
    sink.check()

    found = AdminClient(kafka.client).list_topics(timeout=20).topics
    assert sink.findings() == []
    sink.close()
    assert len(found[target].partitions) == 2
    assert f"{source}.dead" in found


def test_rewritten_timestamps_and_short_retention_are_warned_of(kafka: Kafka, topic: TopicFactory) -> None:
    """LogAppendTime and a retention below the source's are told, and do not stop."""
    source = topic()
    appended = topic(config={"message.timestamp.type": "LogAppendTime", **_ROOM})
    short = topic(config={"retention.ms": "60000", **_ROOM})

    found = [_sink(kafka, name, source=source).findings() for name in (appended, short)]

    assert [len(texts) for texts in found] == [1, 1]
    assert "LogAppendTime" in found[0][0].found
    assert "60000 ms" in found[1][0].found


def test_another_cluster_is_refused(kafka: Kafka, topic: TopicFactory) -> None:
    """A sink cluster that is not the pinned one stops the worker, naming both."""
    sink = KafkaSink(
        KafkaSinkOptions(topic=topic()),
        SinkRoute("r", "eu-central-1", cluster_id="another"),
        kafka.client,
        transactional_id=None,
        metrics=Metrics("eu-central-1"),
    )

    with pytest.raises(RegionViolation, match=f"another.*{re.escape(kafka.cluster_id)}"):
        sink.begin()


def test_an_unknown_property_is_named_without_its_value(kafka: Kafka, topic: TopicFactory) -> None:
    """librdkafka's refusal reaches the operator with the property's name only."""
    letters = KafkaDeadLetters({**kafka.client, "no.such.property": "hunter2"}, route="r")

    with pytest.raises(ConfigError, match=r"no\.such\.property") as caught:
        letters.write([DeadLetter("t", b"k", b"v")])

    assert "hunter2" not in str(caught.value)


def test_dead_letters_are_durable_after_flush(kafka: Kafka, topic: TopicFactory) -> None:
    """Letters of a route without a Kafka sink lie in the dead topic once flushed."""
    source = topic()
    dead = topic(f"{source}.dead", config=_ROOM)
    letters = KafkaDeadLetters(kafka.client, route="r", source_topics=(source,))
    letters.check()

    letters.write([DeadLetter(dead, b"t/0/1", b"sealed", [("worker.region", b"eu-central-1")])])
    letters.flush()

    found = _read(kafka, dead)
    letters.close()
    assert [(m.key(), m.value(), m.headers()) for m in found] == [
        (b"t/0/1", b"sealed", [("worker.region", b"eu-central-1")])
    ]


def test_a_transaction_that_may_last_longer_than_brokers_allow_is_a_wrong_setting(
    kafka: Kafka, topic: TopicFactory
) -> None:
    """It would be refused for ever: nobody waits for that."""
    sink = _sink(kafka, topic(), transactional=f"x-{uuid.uuid4().hex}", transaction_timeout_s=3600)

    with pytest.raises(ConfigError, match=r"transaction_timeout_s is over .*transaction\.max\.timeout\.ms; lower it"):
        sink.begin()

    sink.close()
