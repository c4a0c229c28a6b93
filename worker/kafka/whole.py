"""A whole topic, once, from its start to what is its end now; without a group."""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from worker.errors import ConfigError, RegionViolation, SourceUnavailable
from worker.kafka.clients import make_consumer
from worker.kafka.properties import Property
from worker.kafka.refusals import Refusals, named
from worker.kafka.verdict import read_error
from worker.model import Position, SourceRecord

_REQUEST_S = 10.0
_SILENCE_S = 30.0
_BATCH = 1000


def read_whole(
    topic: str,
    connection: Mapping[str, Property],
    *,
    cluster_id: str | None = None,
    exists: bool = False,
    last: int | None = None,
    since_ms: int | None = None,
) -> Generator[list[SourceRecord]]:
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
        **connection,
        "error_cb": refusals,
        "group.id": f"worker-reader-{uuid.uuid4()}",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "fetch.queue.backoff.ms": 10,
    }
    consumer = make_consumer(conf)
    try:
        ends = _ends(consumer, topic, cluster_id=cluster_id, exists=exists)
        starts = {p: OFFSET_BEGINNING if last is None else max(0, end - last) for p, end in ends.items()}
        if since_ms is not None:
            starts = _starts(consumer, topic, ends, since_ms)
        consumer.assign([KafkaPartition(topic, partition, start) for partition, start in starts.items()])
        yield from _read(consumer, topic, ends)
    except KafkaException as exc:
        if refusals.reason:
            raise SourceUnavailable(f"reading {topic}: {refusals.reason}") from exc
        raise _error(exc.args[0], topic) from exc
    finally:
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


def _read(consumer: Consumer, topic: str, ends: dict[int, int]) -> Generator[list[SourceRecord]]:
    heard = time.monotonic()
    while ends:
        records: list[SourceRecord] = []
        messages: list[Any] = list(consumer.consume(1, 1.0))
        messages += consumer.consume(_BATCH - 1, 0) if messages else []
        for message in messages:
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:
                heard = time.monotonic()
                record = _before_end(message, ends, is_end=error is not None)
                if record is not None:
                    records.append(record)
            elif error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                continue  # The client's library asks for the group's coordinator; nothing is joined or stored.
            elif not isinstance(_error(error, topic), SourceUnavailable):
                raise _error(error, topic)
        if records:
            yield records
            heard = time.monotonic()
        elif ends and time.monotonic() - heard > _SILENCE_S:
            raise SourceUnavailable(f"reading {topic}: no answer within {_SILENCE_S:.0f} s")


def _before_end(message: Any, ends: dict[int, int], *, is_end: bool) -> SourceRecord | None:
    """Return the message's record where it lies before its partition's end, and note that the end is reached."""
    partition, offset = message.partition(), message.offset()
    end = ends.get(partition)
    if end is None:
        return None
    if offset >= end - (not is_end):
        del ends[partition]
    if is_end or offset >= end:
        return None
    kind, at_ms = message.timestamp()
    position = Position(message.topic(), partition, offset)
    return SourceRecord(position, message.key(), message.value(), message.headers() or (), kind, at_ms)


def _error(error: KafkaError, topic: str) -> Exception:
    return read_error(error, f"reading {topic}", needs={"TOPIC": f"Read on topic {topic}"})


def ends_of(topic: str, connection: Mapping[str, Property], *, cluster_id: str | None = None) -> dict[int, int]:
    """
    Return the last stable offset of each of a topic's partitions that holds anything.

    Raises as `read_whole`.
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
