"""
The rate of a rekey beside the worker's own into the same table, and of a topic beside the worker's into a topic.

    python -m tests.bench.rekey --records 200000

Each rate is of a run's whole time less that of a run that finds nothing to do. The worker fills an empty table, then
writes the same keys again, which like the rekey changes rows that are there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Producer

from tests.components import Kafka, running_kafka, running_postgres
from tests.program import worker
from tests.rekeying import NEW, OLD, REGION, clear, declared
from worker.authority.dev import DevAuthority
from worker.avro import encode_value, frame
from worker.local.postgres import create_database

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "acme.crm.Person",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "name", "type": "string", "encrypted": {"format": "leased"}},
        {"name": "email", "type": "string", "encrypted": {"format": "leased"}},
        {"name": "phone", "type": ["null", "string"], "default": None, "encrypted": {"format": "leased"}},
    ],
}
_LEAST = 0.5


def produce(kafka: Kafka, topic: str, count: int) -> None:
    producer = Producer({**kafka.client, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000})
    text = json.dumps(clear(SCHEMA))
    for n in range(count):
        person = {
            "id": n,
            "name": f"person {n}",
            "email": f"{n}@mail.example",
            "phone": None if n % 10 == 9 else f"{n}",
        }
        producer.produce(topic, frame(7) + encode_value(text, person), str(n))
        producer.poll(0)
    assert producer.flush(60) == 0


def config(kafka: Kafka, directory: Path, env: Mapping[str, str], group: str, route: str) -> Path:
    schema, path = directory / "person.avsc", directory / f"{group}.toml"
    schema.write_text(json.dumps(SCHEMA))
    hosts = sorted({env[name].split("/")[2] for name in ("CS_CTS_HOST", "CS_ZEROKMS_HOST")})
    path.write_text(
        f"""region = "{REGION}"
[authority]
allow_hosts = {hosts!r}
[kafka]
bootstrap = "{kafka.bootstrap}"
cluster_id = "{kafka.cluster_id}"
[http]
listen = "127.0.0.1:0"
[schemas]
local = {{ "7" = {{ input = "{schema}", output_id = 1007 }} }}
[encryption]
keyset = "{OLD}"
[[routes]]
name = "bench"
group = "{group}"
source = {{ topics = ["people"], static_membership = true }}
{route}
"""
    )
    return path


def timed(env: Mapping[str, str], *args: str) -> float:
    began = time.perf_counter()
    done = worker(env, *args, timeout_s=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return time.perf_counter() - began


def rate(env: Mapping[str, str], count: int, *args: str) -> float:
    whole = timed(env, *args)
    return count / (whole - timed(env, *args))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=200_000)
    count = parser.parse_args().records
    with (
        running_kafka() as kafka,
        running_postgres() as postgres,
        tempfile.TemporaryDirectory() as name,
        DevAuthority(REGION, Path(name) / "authority") as authority,
    ):
        for keyset in (OLD, NEW):
            authority.create_keyset(keyset)
            authority.grant(authority.env["CS_CLIENT_ID"], keyset)
        dsn, directory = create_database(postgres, region=REGION), Path(name)
        env = {**authority.env, "DATABASE_URL": dsn, "WORKER_INSTANCE": "bench"}
        for topic in ("people", "people.enc"):
            kafka.create_topic(topic, partitions=2)
        kafka.create_topic("people.dead", config={"max.message.bytes": str(2 << 20)})
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE people (id bigint PRIMARY KEY, name bytea, email bytea, phone bytea)")
        produce(kafka, "people", count)
        table = 'sink = { kind = "postgres", table = "people", mode = "upsert", key = ["id"], create = true }'
        first = config(kafka, directory, env, "first", table)
        timed(env, "check", "--create", "--config", str(first))
        filled = rate(env, count, "run", "--config", str(first), "--until-end")
        again = config(kafka, directory, env, "again", table)
        updated = rate(env, count, "run", "--config", str(again), "--until-end")
        (directory / "stored.avsc").write_text(declared(SCHEMA, OLD).plan.output_schema)
        wanted = ("--to-keyset", NEW)
        stored = ("--schema", str(directory / "stored.avsc"))
        rekeyed = rate(env, count, "rekey", "--table", "people", *stored, *wanted)
        own = config(kafka, directory, env, "topic", 'sink = { kind = "kafka", topic = "people.enc" }')
        streamed = rate(env, count, "run", "--config", str(own), "--until-end")
        into = ("--topic", "people.enc", "--into", "people.enc.2", "--config", str(own))
        copied = rate(env, count, "rekey", *into, *wanted)
    print(f"{count:,} records of three leased fields, records/s")
    print(f"worker into an empty table    {filled:>9,.0f}")
    print(f"worker into the same rows     {updated:>9,.0f}")
    print(
        f"rekey of the table in place   {rekeyed:>9,.0f}   {rekeyed / filled:.2f} and {rekeyed / updated:.2f} of these"
    )
    print(f"worker into a topic           {streamed:>9,.0f}")
    print(f"rekey of the topic            {copied:>9,.0f}   {copied / streamed:.2f} of that")
    if rekeyed < _LEAST * filled:
        sys.exit(f"below {_LEAST} of the worker's own rate")


if __name__ == "__main__":
    main()
