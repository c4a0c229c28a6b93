"""The published client reads the payloads and search terms of the worker's tables, and its queries find their rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer
from psycopg.types.json import Jsonb

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import OUTPUT_ID, Deployment
from tests.interop.conftest import run
from worker import config
from worker.app import Worker
from worker.assembly.run import RunOptions
from worker.authority.dev import DevAuthority
from worker.avro import encode_value, frame
from worker.checks.start import verify

pytestmark = [pytest.mark.heavy, pytest.mark.integration, pytest.mark.timeout(300)]

FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "int"},
    {"name": "email", "type": ["null", "string"], "encrypted": {"index": ["unique"]}},
    {"name": "note", "type": "string", "encrypted": {"index": ["match"]}},
    {"name": "age", "type": "long", "encrypted": {"index": ["unique"]}},
]
SCHEMA = {"type": "record", "name": "Person", "fields": FIELDS}
PEOPLE = [
    (1, "ann@example.com", "likes Ferns", 41),
    (2, "bob@example.org", "likes moss", 41),
    (3, "ANN@example.com", "FERNS only", 7),
    (4, None, "", 2**40),
]
EQL = ", ".join(f'{column} = "eql"' for column in ("email", "note", "age"))
COORDINATES = "_topic text, _partition int, _offset bigint, _timestamp timestamptz"
# The conditions that EQL's own types document: a composite in version 2, domains over jsonb by term in version 3.
TYPES = {
    "jsonb": (2, "", ["jsonb"] * 3),
    "eql_v2_encrypted": (2, "CREATE TYPE eql_v2_encrypted AS (data jsonb);", ["eql_v2_encrypted"] * 3),
    "eql_v3": (
        3,
        """
        CREATE DOMAIN eql_v3_text_match AS jsonb
          CHECK (value ->> 'v' = '3' AND value ?& ARRAY['i', 'c', 'bf'] AND NOT value ? 'k');
        CREATE DOMAIN eql_v3_text_eq AS jsonb
          CHECK (value ->> 'v' = '3' AND value ?& ARRAY['i', 'c', 'hm'] AND NOT value ? 'k');
        CREATE DOMAIN eql_v3_bigint_eq AS jsonb
          CHECK (value ->> 'v' = '3' AND value ?& ARRAY['i', 'c', 'hm'] AND NOT value ? 'k');
        """,
        ["eql_v3_text_eq", "eql_v3_text_match", "eql_v3_bigint_eq"],
    ),
}


@pytest.fixture
def site(kafka: Kafka, new_database: DatabaseFactory, own: DevAuthority, tmp_path: Path) -> Deployment:
    made = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=own.env, directory=tmp_path)
    kafka.create_topic(made.source)
    kafka.create_topic(made.dead, config={"max.message.bytes": str(2 << 20)})
    return made


def write(site: Deployment, kind: str) -> None:
    """Send the people through the worker into a table of EQL columns."""
    _, types, (email, note, age) = TYPES[kind]
    with psycopg.connect(site.dsn, autocommit=True) as connection:
        connection.execute(types.encode())
        connection.execute(
            f"CREATE TABLE people (id int, email {email}, note {note}, age {age}, {COORDINATES})".encode()
        )
    clear = {**SCHEMA, "fields": [{k: v for k, v in item.items() if k != "encrypted"} for item in FIELDS]}
    producer = Producer(site.kafka.client)
    for person in PEOPLE:
        value = encode_value(json.dumps(clear), dict(zip(("id", "email", "note", "age"), person, strict=True)))
        producer.produce(site.source, frame(1) + value)
    assert producer.flush(30) == 0
    file, path = site.directory / "in.avsc", site.directory / "worker.toml"
    file.write_text(json.dumps(SCHEMA))
    path.write_text(f"""{site.head()}
[schemas]
local = {{ "1" = {{ input = "{file}", output_id = {OUTPUT_ID} }} }}
[[routes]]
name = "people"
group = "people-{site.name}"
source = {{ topics = ["{site.source}"] }}
sink = {{ kind = "postgres", table = "people", create = true, columns = {{ {EQL} }} }}
""")
    with Worker(config.load(path, environ={}), site.environ) as worker:
        assert [f for f in verify(worker.graph, create=True) if f.is_broken] == []
        worker.run(RunOptions(until_end=True))
    assert site.read(site.dead) == []


def rows(site: Deployment, kind: str, where: str, *values: object) -> list[tuple[Any, ...]]:
    at = "({}).data" if kind == "eql_v2_encrypted" else "{}::jsonb"
    read = {column: at.format(column) for column in ("email", "note", "age")}
    query = f"SELECT id, {', '.join(read.values())} FROM people WHERE {where.format(**read)} ORDER BY id"
    with psycopg.connect(site.dsn) as connection:
        return connection.execute(query.encode(), values).fetchall()


def query(kind: str, value: object, column: str) -> tuple[str, int, dict[str, Any]]:
    return ("encryptQuery", 1, {"plaintext": value, "table": "people", "column": column, "indexType": kind})


@pytest.mark.parametrize("kind", TYPES)
def test_the_published_client_reads_and_queries_what_the_worker_wrote(
    package: Path, own: DevAuthority, site: Deployment, kind: str
) -> None:
    """Every payload opens in it, its own terms of equal values are equal, and its query terms find the right rows."""
    version = TYPES[kind][0]
    write(site, kind)
    stored = rows(site, kind, "true")
    payloads = [payload for row in stored for payload in row[1:] if payload is not None]

    opened = run(package, own, *[("decrypt", 1, {"ciphertext": p}) for p in payloads], eql_version=str(version))
    values = [str(value) for person in PEOPLE for value in person[1:] if value is not None]
    assert [one.get("ok") for one in opened] == values
    assert {payload["v"] for payload in payloads} == {version}

    equal, other, old, part, few = run(
        package,
        own,
        query("unique", "ann@example.com", "email"),
        query("unique", "nobody@example.com", "email"),
        query("unique", 41, "age"),
        query("match", "ferns", "note"),
        query("match", "moss", "note"),
        eql_version=str(version),
    )

    def found(where: str, answer: Mapping[str, Any], term: str) -> list[int]:
        wanted = answer["ok"][term]
        return [row[0] for row in rows(site, kind, where, Jsonb(wanted) if term == "bf" else wanted)]

    assert found("{email} ->> 'hm' = %s", equal, "hm") == [1]
    assert found("{email} ->> 'hm' = %s", other, "hm") == []
    assert found("{age} ->> 'hm' = %s", old, "hm") == [1, 2]
    assert found("{note} -> 'bf' @> %s", part, "bf") == [1, 3]
    assert found("{note} -> 'bf' @> %s", few, "bf") == [2]


def test_a_value_that_it_wrote_has_the_worker_s_term(package: Path, own: DevAuthority, site: Deployment) -> None:
    """Rows of either are found by one query."""
    write(site, "jsonb")
    (theirs,) = run(
        package, own, ("encrypt", 0, {"plaintext": "bob@example.org", "table": "people", "column": "email"})
    )

    assert [row[0] for row in rows(site, "jsonb", "{email} ->> 'hm' = %s", theirs["ok"]["hm"])] == [2]
