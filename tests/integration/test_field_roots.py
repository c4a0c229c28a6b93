"""Topics whose values are no records, and schemas that other tools would refuse, through a whole worker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer
from structlog.testing import capture_logs

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import OUTPUT_ID, Deployment
from worker import config
from worker.app import Worker
from worker.assembly.run import RunOptions
from worker.avro import encode_value, frame
from worker.checks.start import verify
from worker.finding import Finding

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]
ROOM = {"max.message.bytes": str(2 << 20)}
FIELDS: list[dict[str, Any]] = [
    {"name": "first-name", "type": "string"},
    {"name": "n", "type": "int", "default": "none"},
    {"name": "email", "type": "string", "encrypted": {"index": ["unique"]}},
]
ODD = {"type": "record", "name": "Odd", "fields": FIELDS}
ROOTS: list[tuple[Any, str, list[Any], str, list[Any]]] = [
    ({"type": "array", "items": "string"}, "array", [["a", "b"], []], "text[]", [["a", "b"], []]),
    ({"type": "map", "values": "long"}, "map", [{"a": 1}], "jsonb", [{"a": 1}]),
    ("long", "long", [7, -1], "int8", [7, -1]),
    (["null", "string"], "null|string", ["x", None], "text", ["x", None]),
]


@pytest.fixture
def site(kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> Deployment:
    made = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
    kafka.create_topic(made.source)
    for topic in (made.sink, made.dead):
        kafka.create_topic(topic, config=ROOM)
    return made


def worker(site: Deployment, schema: object, clear: str = "") -> Worker:
    path, file = site.directory / "worker.toml", site.directory / "in.avsc"
    file.write_text(json.dumps(schema))
    named = f"clear = {json.dumps(clear.split('|'))}" if clear else ""
    route = f'source = {{ topics = ["{site.source}"] }}\n{named}\n'
    path.write_text(f"""{site.head()}
[schemas]
local = {{ "1" = {{ input = "{file}", output_id = {OUTPUT_ID} }} }}
[[routes]]
name = "topic"
group = "topic-{site.name}"
{route}sink = {{ kind = "kafka", topic = "{site.sink}" }}
[[routes]]
name = "table"
group = "table-{site.name}"
{route}sink = {{ kind = "postgres", table = "t", create = true }}
""")
    return Worker(config.load(path, environ={}), site.environ)


def produce(site: Deployment, schema: object, values: Sequence[object]) -> list[bytes]:
    datums = [encode_value(json.dumps(schema), value) for value in values]
    producer = Producer(site.kafka.client)
    for datum in datums:
        producer.produce(site.source, frame(1) + datum)
    assert producer.flush(30) == 0
    return datums


def broken(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.is_broken]


@pytest.mark.parametrize(("root", "name", "values", "kind", "rows"), ROOTS, ids=[name for _, name, *_ in ROOTS])
def test_a_root_that_is_no_record_passes_where_it_is_named(
    site: Deployment, root: Any, name: str, values: list[Any], kind: str, rows: list[Any]
) -> None:
    """Topic and table hold the values as they are; a route that does not name the type as clear refuses it."""
    datums = produce(site, root, values)
    with worker(site, root) as unnamed:
        assert any("declares nothing" in f.remedy for f in broken(verify(unnamed.graph, create=True)))

    with worker(site, root, name) as named:
        assert broken(verify(named.graph, create=True)) == []
        named.run(RunOptions(until_end=True))

    assert [value for _, value, _ in site.read(site.sink)] == [frame(OUTPUT_ID) + datum for datum in datums]
    with psycopg.connect(site.dsn) as connection:
        cursor = connection.execute("SELECT * FROM t ORDER BY _offset")
        assert cursor.description is not None
        assert cursor.description[0].type_display == kind
        assert [row[0] for row in cursor.fetchall()] == rows
    assert site.read(site.dead) == []


def test_what_other_tools_refuse_in_a_schema_is_told_by_check_and_run(site: Deployment) -> None:
    """Odd names and defaults are warnings of `check`, for each route, and of `run` at the schema's first record."""
    clear = {**ODD, "fields": [{k: v for k, v in item.items() if k != "encrypted"} for item in FIELDS]}
    produce(site, clear, [{"first-name": "a", "n": 1, "email": "e"}])
    with worker(site, ODD) as made:
        findings = verify(made.graph, create=True)
        with capture_logs() as logs:
            made.run(RunOptions(until_end=True))

    assert broken(findings) == []
    told = sorted(f"{f.name}: {f.found}" for f in findings if f.verdict == "warning" and "sink topic" not in f.name)
    assert [t.partition(" on table: ")[2][:30] for t in told if " on table: " in t] == [
        "Odd/n: the default is no value", "Odd: the field 'first-name' br"
    ]  # fmt: skip
    assert [t for t in told if t.startswith("table: index of email")] == [
        'table: index of email: no search terms are written; columns = { email = "eql" } stores them with the value'
    ]
    assert len([t for t in told if " on table: " in t or " on topic: " in t]) == 4
    warned = [log["warning"] for log in logs if log["event"] == "schema_warning"]
    assert sorted(w[:8] for w in warned) == ["Odd/n: t", "Odd/n: t", "Odd: the", "Odd: the"]
