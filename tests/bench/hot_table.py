"""The opponent of `make bench` at a table: a loop that consumes the same topic and copies rows made before."""

from __future__ import annotations

import struct
import time

import psycopg
from confluent_kafka import Consumer, KafkaError, TopicPartition

from tests.bench.hot_worker import Figures, Stand
from tests.bench.loop import PARTITIONS, SOURCE

_ENVELOPE = bytes(140)
_COLUMNS = {
    "country": "text",
    "active": "boolean",
    "score": "double precision",
    "since": "integer",
    "name": "bytea",
    "email": "bytea",
    "phone": "bytea",
    "_topic": "text",
    "_partition": "integer",
    "_offset": "bigint",
    "_timestamp": "timestamptz",
}
_TABLE = f"CREATE TABLE customers (id bigint PRIMARY KEY, {', '.join(map(' '.join, _COLUMNS.items()))})"
_UPSERT = (
    f"INSERT INTO customers SELECT * FROM staged ON CONFLICT (id) DO UPDATE SET ({', '.join(_COLUMNS)}) = "
    f"({', '.join(f'EXCLUDED.{name}' for name in _COLUMNS)})"
)
_HEAD, _TAIL = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


def _field(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


_REST = b"".join(
    map(
        _field,
        (b"DE", b"\1", struct.pack(">d", 1.5), struct.pack(">i", 7), _ENVELOPE, _ENVELOPE, _ENVELOPE, b"source"),
    )
) + b"".join(map(_field, (struct.pack(">i", 0), struct.pack(">q", 0), struct.pack(">q", 0))))


def copied(stand: Stand, dsn: str, *, upsert: bool) -> Figures:
    """Consume the source to its end and copy a ready-made row for each record, 10,000 at once."""
    consumer = Consumer(
        {**stand.kafka.client, "group.id": "rows", "enable.partition.eof": True, "fetch.queue.backoff.ms": 10}
    )
    consumer.assign([TopicPartition(SOURCE, n, 0) for n in range(PARTITIONS)])
    with psycopg.connect(dsn) as connection:
        connection.execute(_TABLE)
        if upsert:
            connection.execute("CREATE TEMPORARY TABLE staged (LIKE customers)")
        connection.commit()
        cpu, start = time.process_time(), time.monotonic()
        ended = 0
        while ended < PARTITIONS:
            ids: list[int] = []
            for message in consumer.consume(10_000, 0.2):
                if (error := message.error()) is None:
                    ids.append(int(message.key() or b""))
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended += 1
            rows = b"".join([b"\0\x0c\0\0\0\x08" + number.to_bytes(8, "big") + _REST for number in ids])
            into = "staged" if upsert else "customers"
            with connection.cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(_HEAD + rows + _TAIL)
            if upsert:
                connection.execute(_UPSERT)
                connection.execute("TRUNCATE staged")
            connection.commit()
        figures = Figures(time.monotonic() - start, time.process_time() - cpu)
    consumer.close()
    return figures
