"""
Values of many types on every way a value can go: topic, table, file and SDK, through a whole worker.

Each type has two fields in one record type, clear and declared; a record fills the fields of one type only, so that a
table that refuses a value refuses nothing else with it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Producer

from tests.deployment import OUTPUT_ID, Deployment
from tests.program import worker as program
from tests.properties.avro_cases import zigzag
from tests.properties.value_cases import Case
from worker import config
from worker.app import Worker
from worker.assembly.run import RunOptions
from worker.avro import compile_schema, frame
from worker.avro.container import ContainerWriter
from worker.avro.declaration import DeclarationOptions
from worker.checks.start import verify
from worker.sdk import Encryption

RECORD = "acme.Any"
NULL, SOME = zigzag(0), zigzag(1)


@dataclass
class Trip:
    """
    What became of cases that went everywhere.

    Args:
        cases: one for each record; the records' offsets are their numbers.
        types: the different types, whose fields are `c<n>` and `s<n>`.
        places: by case, which type it is of.
        schema: of the records.
        topic: by case, the record as the SDK opens it from the sink's topic.
        file: by case, the record as `worker decrypt` prints it from the file.
        types_of: the table's column types.
        dead: by case, why the table's route sealed it.
        told: what `check` said of the table.
    """

    cases: Sequence[Case]
    types: list[dict[str, Any]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    schema: str = ""
    topic: list[Any] = field(default_factory=list)
    file: list[dict[str, Any]] = field(default_factory=list)
    types_of: dict[str, str] = field(default_factory=dict)
    dead: dict[int, str] = field(default_factory=dict)
    told: str = ""

    def __post_init__(self) -> None:
        numbers: dict[str, int] = {}
        fields: list[dict[str, Any]] = [{"name": "id", "type": "long"}]
        for case in self.cases:
            at = numbers.setdefault(json.dumps(case.schema), len(numbers))
            self.places.append(at)
            if at == len(self.types):
                kind = {**case.schema, "name": f"acme.T{at}"} if "name" in case.schema else case.schema
                self.types.append(kind)
                fields.append({"name": f"c{at}", "type": ["null", kind]})
                secret = {"format": "leased" if at % 2 else "record"}
                fields.append({"name": f"s{at}", "type": ["null", kind.get("name", kind)], "encrypted": secret})
        self.schema = json.dumps({"type": "record", "name": RECORD, "fields": fields})

    def datum(self, number: int) -> bytes:
        """The record of one case: its value clear, and to be encrypted."""
        at = self.places[number]
        own = SOME + self.cases[number].datum
        return zigzag(number) + NULL * (2 * at) + own * 2 + NULL * (2 * (len(self.types) - at - 1))


def travel(site: Deployment, cases: Sequence[Case]) -> Trip:
    """Send cases through topic, table and file, and read topic and file back."""
    trip = Trip(cases)
    datums = [trip.datum(number) for number in range(len(cases))]
    producer = Producer(site.kafka.client)
    for datum in datums:
        producer.produce(site.source, frame(1) + datum)
    assert producer.flush(30) == 0
    source, target = site.directory / "in.avro", site.directory / "out.avro"
    writer = ContainerWriter(trip.schema, codec="null", sync=bytes(16))
    source.write_bytes(writer.header + writer.block(datums))

    with Worker(config.load(_settings(site, trip), environ={}), site.environ) as worker:
        findings = verify(worker.graph, create=True)
        assert not [f for f in findings if f.is_broken], [f for f in findings if f.is_broken]
        trip.told = "\n".join(f.found for f in findings if "table of" in f.name)
        worker.run(RunOptions(until_end=True))
        files = worker.graph.routes.files(worker.graph.settings.routes[0])
        done = files.encrypt(source, "in.avro", target, stopping=lambda: False, observe=lambda done, total: None)
        assert (done.complete, done.counts["encrypted"]) == (True, len(cases))

    for key, _, told in site.read(site.dead):
        code, route = (bytes(dict(told)[name] or b"").decode() for name in ("worker.error.code", ROUTE))
        assert route == "table"
        trip.dead[int((key or b"").rpartition(b"/")[2])] = code
    _open(site, trip, target)
    return trip


ROUTE = "__connect.errors.connector.name"


def _open(site: Deployment, trip: Trip, file: Path) -> None:
    with Encryption.from_env(environ=site.environ) as encryption:
        output = compile_schema(trip.schema, DeclarationOptions()).plan.output_schema
        values = [value or b"" for _, value, _ in site.read(site.sink)]
        assert {value[:5] for value in values} == {frame(OUTPUT_ID)}
        trip.topic = list(encryption.decrypt_records([value[5:] for value in values], schema=output))
    printed = program(site.environ, "decrypt", str(file))
    assert printed.returncode == 0, printed.stderr[-2000:]
    trip.file = [json.loads(line) for line in printed.stdout.splitlines()]
    with psycopg.connect(site.dsn) as connection:
        trip.types_of = dict(
            connection.execute(
                "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'anything'::regclass"
            ).fetchall()
        )


def _settings(site: Deployment, trip: Trip) -> Path:
    schema, path = site.directory / "any.avsc", site.directory / "any.toml"
    schema.write_text(trip.schema)
    path.write_text(
        f"""{site.head()}
[schemas]
local = {{ "1" = {{ input = "{schema}", output_id = {OUTPUT_ID} }} }}
[dead_letters]
max_per_minute = 1000000
max_per_partition = 1000000
[[routes]]
name = "topic"
group = "topic-{site.name}"
source = {{ topics = ["{site.source}"] }}
sink = {{ kind = "kafka", topic = "{site.sink}" }}
[[routes]]
name = "table"
group = "table-{site.name}"
source = {{ topics = ["{site.source}"] }}
sink = {{ kind = "postgres", table = "anything", create = true }}
"""
    )
    return path
