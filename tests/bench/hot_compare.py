"""What the contestants of `make bench` wrote, opened and compared; and how many bytes it takes where."""

from __future__ import annotations

import io
import json
from pathlib import Path
from urllib.parse import urlsplit

import fastavro
import psycopg
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from tests.bench.hot_worker import Stand, Way
from tests.bench.loop import PARTITIONS, PII, SCHEMA, SOURCE
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
    The source's records, beside which outputs are held.

    Args:
        stand: where they are.
        count: how many records the source has.
    """

    def __init__(self, stand: Stand, count: int) -> None:
        self._stand = stand
        self._declared = SCHEMA.read_text()
        parsed = fastavro.parse_schema(json.loads(self._declared))
        messages = messages_of(stand.kafka, SOURCE)
        assert len(messages) == count
        self._clear = {
            key: fastavro.schemaless_reader(io.BytesIO(value[5:]), parsed, None) for key, value in messages.items()
        }

    def check(self, way: Way, place: str) -> None:
        """Open everything that one way wrote; raises `AssertionError` where a record is not its source's."""
        hosts = tuple({urlsplit(self._stand.env[name]).netloc for name in ("CS_CTS_HOST", "CS_ZEROKMS_HOST")})
        if not way.encrypts:
            # The frame names the output's schema; what stands behind it is the source's.
            written, source = messages_of(self._stand.kafka, place), messages_of(self._stand.kafka, SOURCE)
            assert {key: value[5:] for key, value in written.items()} == {k: v[5:] for k, v in source.items()}
            return
        with Encryption.from_env(environ=self._stand.env, allow_hosts=hosts) as encryption:
            if way.table:
                self._check_rows(encryption, place)
            else:
                self._check_messages(encryption, way, place)
        print(f"{way.name}: {len(self._clear)} records opened, each as its source has it", flush=True)

    def _check_messages(self, encryption: Encryption, way: Way, place: str) -> None:
        options = DeclarationOptions.model_validate({"format": way.format})
        output = compile_schema(self._declared, options).plan.output_schema
        written = messages_of(self._stand.kafka, place)
        assert written.keys() == self._clear.keys()
        opened = encryption.decrypt_records([written[k][5:] for k in written], schema=output, keys=list(written))
        assert dict(zip(written, opened, strict=True)) == self._clear

    def _check_rows(self, encryption: Encryption, dsn: str) -> None:
        with psycopg.connect(dsn) as connection:
            rows = connection.execute("SELECT id, name, email, phone FROM customers").fetchall()
        assert len(rows) == len(self._clear)
        for at, name in enumerate(PII, 1):
            opened = encryption.decrypt_many([row[at] for row in rows], field=f"{_NAME}/{name}")
            source = [self._clear[str(row[0]).encode()] for row in rows]
            assert opened == [record[name] for record in source]  # type: ignore[index,call-overload]


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
