"""
What the sinks cost, against bare loops over the same client.

    python -m tests.bench.sink --bootstrap HOST:PORT --dsn postgresql://...

The topics and the database's tables are made and left behind; give a server of your own.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
import uuid
from collections.abc import Callable, Iterator

import psycopg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.fakes.records import output_of
from worker.local.postgres import declare_region
from worker.metrics import Metrics
from worker.model import Header, Position, SinkRecord, TopicPartition
from worker.model.rows import ColumnType, Row, RowType
from worker.sink.base import OffsetRange, SinkRoute
from worker.sink.kafka import KafkaSink, KafkaSinkOptions
from worker.sink.postgres import PostgresSink, PostgresSinkOptions

_BATCH = 10_000
_BATCHES = 20
_ROWS = RowType(
    (ColumnType("id", "long"), ColumnType("name", "string"), ColumnType("email", "bytes", encrypted="leased"))
)
_KEYS = RowType((ColumnType("id", "long"),))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(name: str, run: Callable[[], None]) -> None:
    wall, cpu, count = time.perf_counter(), _cpu_s(), _BATCH * _BATCHES
    run()
    wall, cpu = time.perf_counter() - wall, _cpu_s() - cpu
    print(f"{name:44s} {count / wall:>10,.0f} records/s  {cpu / count * 1e6:6.2f} us CPU/record", flush=True)


def batches(headers: list[Header]) -> Iterator[list[SinkRecord]]:
    for number in range(_BATCHES):
        first = number * _BATCH
        yield [
            SinkRecord(
                Position("s", 0, first + i),
                b"%d" % i,
                os.urandom(150),
                headers,
                1,
                1_790_000_000_000,
                Row(_ROWS, (i, "somebody", bytes(120))),
                Row(_KEYS, (i,)),
            )
            for i in range(_BATCH)
        ]


def _topic(bootstrap: str) -> str:
    name = f"bench-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
    return name


def kafka(bootstrap: str, headers: list[Header], *, transactional: bool) -> None:
    made = list(batches(headers))
    options = KafkaSinkOptions(topic=_topic(bootstrap), ledger=False)
    sink = KafkaSink(
        options,
        SinkRoute("bench", "bench"),
        {"bootstrap.servers": bootstrap},
        transactional_id=uuid.uuid4().hex if transactional else None,
        metrics=Metrics("bench"),
    )
    sink.check()

    def run() -> None:
        for batch in made:
            sink.begin()
            sink.write(output_of(batch))
            sink.flush()
            sink.commit({}, (), None)

    word = "exactly-once" if transactional else "at-least-once"
    measure(f"kafka sink, {word}, {len(headers)} headers", run)
    sink.close()


def bare_kafka(bootstrap: str, headers: list[Header]) -> None:
    made = list(batches(headers))
    topic = _topic(bootstrap)
    producer = Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": "lz4", "linger.ms": 5}
    )
    producer.list_topics(topic)

    def run() -> None:
        produce: Callable[..., None] = producer.produce
        for batch in made:
            for r in batch:
                produce(topic, r.value, r.key, 0, None, None, r.timestamp_ms, headers)
            producer.flush()

    measure(f"bare produce loop, {len(headers)} headers", run)


def postgres(dsn: str, mode: str) -> None:
    made = list(batches([]))
    declare_region(dsn, "eu-central-1")
    key = ("id",) if mode == "upsert" else ()
    sink = PostgresSink(
        PostgresSinkOptions.model_validate({"table": f"bench_{uuid.uuid4().hex[:8]}", "mode": mode, "key": key}),
        SinkRoute("bench", "eu-central-1", group=uuid.uuid4().hex, instance="w", cluster_id="c"),
        dsn=dsn,
        topic_ids=lambda topic: "t",
        metrics=Metrics("bench"),
    )
    sink.ensure_schema()
    sink.tables.create_table(_ROWS, topic="s")
    partition = TopicPartition("s", 0)
    sink.positions({partition: 0})

    def run() -> None:
        read = 0
        for batch in made:
            sink.begin()
            sink.write(output_of(batch))
            sink.flush()
            sink.commit({partition: OffsetRange(read, read + len(batch))}, (), None)
            read += len(batch)

    measure(f"postgres sink, {mode}", run)
    sink.close()


def bare_copy(dsn: str) -> None:
    made = [[(r.row.values, r.position.offset) for r in batch if r.row is not None] for batch in batches([])]
    name = f"bench_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(dsn) as connection:
        connection.execute(
            f"CREATE TABLE {name} (id bigint, name text, email bytea, t text, p int, o bigint PRIMARY KEY)"
        )
        connection.commit()

        def run() -> None:
            for batch in made:
                with connection.cursor() as cursor, cursor.copy(f"COPY {name} FROM STDIN (FORMAT BINARY)") as copy:
                    copy.set_types(["int8", "text", "bytea", "text", "int4", "int8"])
                    for row, offset in batch:
                        copy.write_row((*row, "s", 0, offset))
                connection.commit()

        measure("bare binary COPY loop, 6 columns", run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap")
    parser.add_argument("--dsn")
    given = parser.parse_args()
    if given.bootstrap:
        for headers in ([], [("a", b"1"), ("b", b"2")]):
            bare_kafka(given.bootstrap, list(headers))
            kafka(given.bootstrap, list(headers), transactional=False)
            kafka(given.bootstrap, list(headers), transactional=True)
    if given.dsn:
        bare_copy(given.dsn)
        postgres(given.dsn, "append")
        postgres(given.dsn, "upsert")


if __name__ == "__main__":
    main()
