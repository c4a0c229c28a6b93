"""What the contestants of `make bench` wrote, opened and compared; and how many bytes it takes where."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import fastavro
import psycopg
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from tests.bench.hot_worker import Stand, Way
from tests.bench.loop import PARTITIONS, PII, SCHEMA
from tests.components import Kafka
from worker.avro import DeclarationOptions, compile_schema
from worker.sdk import Encryption

_NAME = "bench.Customer"


def messages_of(kafka: Kafka, topic: str) -> dict[bytes, bytes]:
    """Every record's value by its key."""
    consumer = Consumer({**kafka.client, "group.id": "compare", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, n, 0) for n in range(PARTITIONS)])
    found: dict[bytes, bytes] = {}
    ended = 0
    while ended < PARTITIONS:
        for message in consumer.consume(10_000, 1.0):
            if (error := message.error()) is None:
                found[message.key() or b""] = message.value() or b""
            elif error.code() == KafkaError._PARTITION_EOF:
                ended += 1
    consumer.close()
    return found


class Comparison:
    """
    The sources' records, beside which outputs are held.

    Args:
        stand: where they are.
        counts: how many records each source has.
    """

    def __init__(self, stand: Stand, counts: Mapping[str, int]) -> None:
        self._stand, self._counts = stand, counts
        self._declared = SCHEMA.read_text()
        self._parsed = fastavro.parse_schema(json.loads(self._declared))
        self._known: dict[str, dict[bytes, object]] = {}

    def _clear(self, source: str) -> dict[bytes, object]:
        if source not in self._known:
            messages = messages_of(self._stand.kafka, source)
            assert len(messages) == self._counts[source]
            self._known[source] = {
                key: fastavro.schemaless_reader(io.BytesIO(value[5:]), self._parsed, None)
                for key, value in messages.items()
            }
        return self._known[source]

    def check(self, way: Way, place: str) -> None:
        """Open everything that one way wrote; raises `AssertionError` where a record is not its source's."""
        hosts = tuple({urlsplit(self._stand.env[name]).netloc for name in ("CS_CTS_HOST", "CS_ZEROKMS_HOST")})
        if not way.encrypts:
            # The frame names the output's schema; what stands behind it is the source's.
            written, source = messages_of(self._stand.kafka, place), messages_of(self._stand.kafka, way.source)
            assert {key: value[5:] for key, value in written.items()} == {k: v[5:] for k, v in source.items()}
            return
        with Encryption.from_env(environ=self._stand.env, allow_hosts=hosts) as encryption:
            if way.table:
                self._check_rows(encryption, way, place)
            else:
                self._check_messages(encryption, way, place)
        print(f"{way.name}: {self._counts[way.source]:,} records opened, each as its source has it", flush=True)

    def _check_messages(self, encryption: Encryption, way: Way, place: str) -> None:
        options = DeclarationOptions.model_validate({"format": way.format})
        output = compile_schema(self._declared, options).plan.output_schema
        written, clear = messages_of(self._stand.kafka, place), self._clear(way.source)
        assert written.keys() == clear.keys()
        opened = encryption.decrypt_records([written[k][5:] for k in written], schema=output, keys=list(written))
        assert dict(zip(written, opened, strict=True)) == clear

    def _check_rows(self, encryption: Encryption, way: Way, dsn: str) -> None:
        clear = self._clear(way.source)
        with psycopg.connect(dsn) as connection:
            rows = connection.execute("SELECT id, name, email, phone FROM customers").fetchall()
        assert len(rows) == len(clear)
        for at, name in enumerate(PII, 1):
            opened = encryption.decrypt_many([row[at] for row in rows], field=f"{_NAME}/{name}")
            source = [clear[str(row[0]).encode()] for row in rows]
            assert opened == [record[name] for record in source]  # type: ignore[index]


def bytes_each(stand: Stand, topic: str, count: int, data: Path | None) -> dict[str, float]:
    """Bytes a record of one topic: its value; and on the broker as it was written, and again under zstd."""
    messages = messages_of(stand.kafka, topic)
    sizes = {"value": sum(map(len, messages.values())) / count}
    if data is not None:
        again = stand.kafka.create_topic(f"{topic}-zstd", partitions=PARTITIONS)
        settings = {"compression.type": "zstd", "linger.ms": 20, "queue.buffering.max.messages": count}
        producer = Producer({**stand.kafka.client, **settings})
        for number, (key, value) in enumerate(messages.items()):
            producer.produce(again, value, key, number % PARTITIONS)
            producer.poll(0)
        assert producer.flush(60) == 0
        sizes |= {"broker, lz4": _stored(data, topic) / count, "broker, zstd": _stored(data, again) / count}
    return sizes


def table_bytes_each(dsn: str, count: int) -> float:
    """Bytes a row of the table, its own index aside."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT pg_table_size('customers')").fetchone()
    assert row is not None
    return float(row[0]) / count


def _stored(data: Path, topic: str) -> int:
    return sum(each.stat().st_size for n in range(PARTITIONS) for each in (data / f"{topic}-{n}").glob("*.log"))
