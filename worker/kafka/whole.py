"""A whole topic, once, from its start to what is its end now; without a group."""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from worker.errors import ConfigError, RegionViolation, SourceUnavailable
from worker.kafka.chunk import chunk_of
from worker.kafka.clients import make_consumer
from worker.kafka.native import NativeEvent, adopted
from worker.kafka.properties import Property
from worker.kafka.refusals import Refusals, named
from worker.kafka.verdict import read_error
from worker.model import Batch, within
from worker.native.batch import NativeBatch

if TYPE_CHECKING:
    from worker import _native

_REQUEST_S = 10.0
_SILENCE_S = 30.0
_WAIT_S = 1.0
_BATCH = 5000
_QUEUE_KB = 16 * 1024


def read_batches(
    topic: str,
    connection: Mapping[str, Property],
    *,
    cluster_id: str | None = None,
    exists: bool = False,
    last: int | None = None,
    since_ms: int | None = None,
) -> Generator[Batch]:
    """
    Yield a topic's committed records as they come, in order within a partition, up to the end it has at the first one.

    Args:
        topic: its name.
        connection: the cluster's properties, secrets included.
        cluster_id: the cluster that it must be; None takes any.
        since_ms: only from the first record of that timestamp on.
        last: only so many offsets before each partition's end; None for all.
        exists: a broker that does not know the topic has not heard of it yet: `SourceUnavailable`.

    Raises:
        ConfigError: there is no such topic, or a right is missing.
        RegionViolation: another cluster answers.
        SourceUnavailable: the brokers do not answer, or refuse these credentials.
    """
    refusals = Refusals()
    conf: dict[str, Any] = {
        # What lies ready becomes one batch.
        "queued.max.messages.kbytes": _QUEUE_KB,
        **connection,
        "error_cb": refusals,
        "group.id": f"worker-reader-{uuid.uuid4()}",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "fetch.queue.backoff.ms": 10,
    }
    consumer, native = adopted(make_consumer, conf)
    try:
        ends = _ends(consumer, topic, cluster_id=cluster_id, exists=exists)
        starts = {p: OFFSET_BEGINNING if last is None else max(0, end - last) for p, end in ends.items()}
        if since_ms is not None:
            starts = _starts(consumer, topic, ends, since_ms)
        if native is not None:
            for partition in starts:
                native.watch(topic, partition)
        consumer.assign([KafkaPartition(topic, partition, start) for partition, start in starts.items()])
        yield from _read(consumer, native, topic, ends)
    except KafkaException as exc:
        if refusals.reason:
            raise SourceUnavailable(f"reading {topic}: {refusals.reason}") from exc
        raise _error(exc.args[0], topic) from exc
    finally:
        if native is not None:
            native.end()
        consumer.close()


def _ends(consumer: Consumer, topic: str, *, cluster_id: str | None, exists: bool) -> dict[int, int]:
    """Return the last stable offset of each partition that holds anything."""
    metadata = consumer.list_topics(topic, timeout=_REQUEST_S)
    if cluster_id is not None and metadata.cluster_id != cluster_id:
        raise RegionViolation(f"Kafka cluster: expected {cluster_id!r}, found {metadata.cluster_id!r}")
    found = metadata.topics[topic]
    if found.error is not None:
        gone = SourceUnavailable if exists else ConfigError
        raise gone(f"topic {topic!r}: {named(found.error)}")
    ends = {}
    for partition in found.partitions:
        marks = consumer.get_watermark_offsets(KafkaPartition(topic, partition), timeout=_REQUEST_S)
        if marks is None:
            raise SourceUnavailable(f"asking for the end of {topic}[{partition}]: no answer in time")
        if marks[0] < marks[1]:
            ends[partition] = marks[1]
    return ends


def _starts(consumer: Consumer, topic: str, ends: dict[int, int], since_ms: int) -> dict[int, int]:
    """Return where to begin; a partition that has nothing so new is taken out of the ends."""
    asked = [KafkaPartition(topic, partition, since_ms) for partition in ends]
    starts: dict[int, int] = {}
    for found in consumer.offsets_for_times(asked, timeout=_REQUEST_S) if asked else []:
        if 0 <= found.offset < ends[found.partition]:
            starts[found.partition] = found.offset
        else:
            del ends[found.partition]
    return starts


def _read(consumer: Consumer, native: _native.Client | None, topic: str, ends: dict[int, int]) -> Generator[Batch]:
    heard = time.monotonic()
    while ends:
        batch, events = _received(consumer, native)
        if batch is not None:
            heard = time.monotonic()
            batch = _before_ends(batch, ends)
        for event in events:
            error = event.error()
            if error.code() == KafkaError._PARTITION_EOF:
                heard = time.monotonic()
                if event.offset() >= ends.get(event.partition(), event.offset() + 1):
                    del ends[event.partition()]
            elif error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                continue  # The client's library asks for the group's coordinator; nothing is joined or stored.
            elif not isinstance(_error(error, topic), SourceUnavailable):
                raise _error(error, topic)
        if batch is not None and len(batch):
            yield batch
            heard = time.monotonic()
        elif ends and time.monotonic() - heard > _SILENCE_S:
            raise SourceUnavailable(f"reading {topic}: no answer within {_SILENCE_S:.0f} s")


def _received(consumer: Consumer, native: _native.Client | None) -> tuple[Batch | None, Sequence[Any]]:
    """Return what lies ready, and what came instead of messages; waits for the first."""
    # What a native client does not watch yet, and what concerns no partition, still comes to the consumer itself.
    messages: list[Any] = list(consumer.consume(1, _WAIT_S if native is None else 0))
    if messages:
        messages += consumer.consume(_BATCH - 1, 0)
    elif native is not None:
        found, events = native.receive(_BATCH, int(_WAIT_S * 1000))
        return NativeBatch(found) if len(found) else None, [NativeEvent(*event) for event in events]
    records = [message for message in messages if message.error() is None]
    return chunk_of(records) if records else None, [message for message in messages if message.error() is not None]


def _before_ends(batch: Batch, ends: dict[int, int]) -> Batch:
    """Return the records that lie before their partition's end, and note the ends that are reached."""
    kept: list[tuple[int, int]] = []
    for run in batch.runs:
        end = ends.get(run.partition)
        if end is None:
            continue
        kept.append((run.start, batch.find(run, end)))
        if batch.offsets[run.stop - 1] >= end - 1:
            del ends[run.partition]
    return within(batch, kept)


def _error(error: KafkaError, topic: str) -> Exception:
    return read_error(error, f"reading {topic}", needs={"TOPIC": f"Read on topic {topic}"})


def ends_of(topic: str, connection: Mapping[str, Property], *, cluster_id: str | None = None) -> dict[int, int]:
    """
    Return the last stable offset of each of a topic's partitions that holds anything.

    Raises as `read_batches`.
    """
    refusals = Refusals()
    conf: dict[str, Any] = {**connection, "error_cb": refusals, "group.id": f"worker-reader-{uuid.uuid4()}"}
    consumer = make_consumer({**conf, "isolation.level": "read_committed"})
    try:
        return _ends(consumer, topic, cluster_id=cluster_id, exists=True)
    except KafkaException as exc:
        if refusals.reason:
            raise SourceUnavailable(f"reading {topic}: {refusals.reason}") from exc
        raise _error(exc.args[0], topic) from exc
    finally:
        consumer.close()
