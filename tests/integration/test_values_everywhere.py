"""Through topic, table, file and SDK a value comes back equal, or is refused, or is shown as its base value marked."""

from __future__ import annotations

import base64
import io
import json
import math
import struct
from datetime import date, datetime, time, timedelta
from decimal import Context, Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import psycopg
import pytest
from hypothesis import given, settings

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.integration.everywhere import Trip, travel
from tests.properties.avro_cases import on, sized, zigzag
from tests.properties.test_values import KNOWN, bare, same
from tests.properties.value_cases import Case, cases
from worker.errors import RecordError
from worker.model.values import BaseValue
from worker.sdk import Encryption

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

EPOCH = datetime(1970, 1, 1)
UNITS = {"millis": timedelta(milliseconds=1), "micros": timedelta(microseconds=1)}


TYPES = 150
"""Types of one record: two columns each, of the 1600 that a table may have."""

PAIR = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Pair",
        "fields": [{"name": "unscaled", "type": "bytes"}, {"name": "scale", "type": "long"}],
    }
)
"""A big-decimal's form."""


@pytest.fixture
def site(kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> Deployment:
    return site_of(kafka, new_database, authority, tmp_path)


def site_of(kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], folder: Path) -> Deployment:
    made = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=folder)
    for topic in (made.source, made.sink):
        kafka.create_topic(topic, config={"max.message.bytes": str(1 << 20)})
    kafka.create_topic(made.dead, config={"max.message.bytes": str(2 << 20)})
    return made


def base_of(case: Case) -> Any:
    """The datum as the library reads it without any logical type."""
    schema = json.loads(bare(case.schema))
    return fastavro.schemaless_reader(io.BytesIO(case.datum), fastavro.parse_schema(schema), None)


def back(value: object, case: Case) -> object:
    """A value as its base value again, by plain arithmetic."""
    word = case.schema.get("logicalType", "")
    unit = UNITS.get(word.rpartition("-")[2], timedelta())
    if isinstance(value, datetime):
        assert (value.tzinfo is None) is word.startswith("local-")
        return (value.replace(tzinfo=None) - EPOCH) // unit
    if isinstance(value, date):
        return (value - EPOCH.date()).days
    if isinstance(value, time):
        return (datetime.combine(EPOCH, value) - EPOCH) // unit
    if isinstance(value, UUID):
        return value.bytes if case.schema["type"] == "fixed" else str(value)
    return value


def number_of(data: bytes, scale: int) -> Decimal:
    return Decimal(int.from_bytes(data, "big", signed=True)).scaleb(
        -scale, Context(prec=400, Emax=10**9, Emin=-(10**9))
    )


def check_read(value: object, case: Case) -> None:
    """What was read is what the datum says: its logical value, or the base's, marked where another counts."""
    base = base_of(case)
    if isinstance(value, BaseValue):
        assert case.counts
        assert value.logical_type == case.schema["logicalType"]
        assert same(value, base)
    elif isinstance(value, Decimal):
        assert case.counts
        if case.schema["logicalType"] == "decimal":
            assert value == number_of(base, case.schema.get("scale", 0))
    else:
        assert case.counts or type(value) is type(base)
        assert same(back(value, case), base)


def as_json(value: object) -> object:
    """What `worker decrypt` prints of a value."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"
    if isinstance(value, date | time):
        return value.isoformat()
    return value if isinstance(value, bool | int | float | str) else str(value)


def check_topic_and_file(trip: Trip) -> None:
    assert len(trip.topic) == len(trip.file) == len(trip.cases)
    for number, (case, at) in enumerate(zip(trip.cases, trip.places, strict=True)):
        record, line = trip.topic[number], trip.file[number]
        assert not isinstance(record, RecordError), (case, record)
        assert record["id"] == line["value"]["id"] == number
        assert {name for name, value in record.items() if value is not None} == {"id", f"c{at}", f"s{at}"}
        for name in (f"c{at}", f"s{at}"):
            value = record[name]
            check_read(value, case)
            printed = line["value"][name]
            assert same(printed, as_json(value)), case
            assert line.get("base_values", {}).get(name) == getattr(value, "logical_type", None)


def check_table(site: Deployment, trip: Trip) -> None:
    """Each record is a row that says the same, or was refused as `check` had told."""
    with psycopg.connect(site.dsn) as connection, Encryption.from_env(environ=site.environ) as encryption:
        there = {row[0] for row in connection.execute("SELECT _offset FROM anything").fetchall()}
        assert there | trip.dead.keys() == set(range(len(trip.cases)))
        assert not there & trip.dead.keys()
        assert set(trip.dead.values()) <= {"sink_rejected"}
        for number, (case, at) in enumerate(zip(trip.cases, trip.places, strict=True)):
            if number in trip.dead:
                nul = isinstance(base_of(case), str) and "\0" in base_of(case)
                # A decimal of no bytes is no number, wherever it lies.
                empty = base_of(case) == b"" and case.schema.get("logicalType") == "decimal"
                assert f"c{at}:" in trip.told or nul or empty, case
                continue
            column = f"c{at}"
            asked, wanted = expected(case, trip.types_of[column])
            row = connection.execute(
                f"SELECT {asked.format(column)}, s{at} FROM anything WHERE _offset = {number}".encode()
            ).fetchone()
            assert row is not None
            assert same(row[0], wanted), (case, row[0], wanted)
            schema = json.dumps(["null", trip.types[at]])
            check_read(encryption.decrypt(row[1], field=f"acme.Any/s{at}", schema=schema), case)


def expected(case: Case, sql: str) -> tuple[str, Any]:
    """What to ask of the column that the worker made, and the answer."""
    base, word = base_of(case), case.schema.get("logicalType", "") if case.counts else ""
    unit = word.rpartition("-")[2]
    us = base * (1000 if unit == "millis" else 1) if isinstance(base, int) else 0
    if word == "date":
        return "({} - date '1970-01-01')::bigint", base
    if word.startswith("time-"):
        return "(extract(epoch FROM {}) * 1000000)::bigint", us
    if "timestamp" in word and unit != "nanos":
        zone = "" if word.startswith("local-") else " AT TIME ZONE 'UTC'"
        # By seconds and the rest: `extract` divides the last instants of a long with sixteen digits.
        at = f"{{0}}{zone}"
        seconds = f"extract(epoch FROM date_trunc('second', {at})) * 1000000"
        return f"({seconds} + mod(extract(microseconds FROM {at})::bigint, 1000000))::numeric(40,0)::text", str(us)
    if word == "decimal":
        return "{}", number_of(base, case.schema.get("scale", 0))
    if word == "big-decimal":
        return "{}", number_of(*fastavro.schemaless_reader(io.BytesIO(base), PAIR, None).values())  # type: ignore[union-attr]
    if word == "uuid":
        return "{}::text", str(UUID(base)) if isinstance(base, str) else str(UUID(bytes=base))
    return "{}::float8" if case.schema["type"] == "float" else "{}", base


def check(site: Deployment, found: list[Case]) -> None:
    trip = travel(site, found)
    check_topic_and_file(trip)
    check_table(site, trip)


def test_known_values_go_everywhere(site: Deployment) -> None:
    """Values that tools are known to have changed, and the odd ones beside which a whole record was lost."""
    odd: list[tuple[Any, bytes, bool]] = [
        (on("bytes", "decimal", precision=64, scale=127), sized(b"\1"), False),
        (on("double", "decimal"), struct.pack("<d", math.nan), False),
        (on("bytes", "big-decimal"), sized(b")\x88"), True),
        (on("bytes", "big-decimal"), sized(sized(b"\1") + zigzag(2**62)), True),
        (on("bytes", "big-decimal"), sized(sized(b"\1") + zigzag(-(2**31))), True),
    ]
    known = [(kind, datum, kind["type"] != "string" or kind["logicalType"] == "uuid") for kind, datum, _ in KNOWN]
    check(site, [Case(*one) for one in [*known, *odd]])


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_thousands_of_values_go_everywhere(
    kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path
) -> None:
    """Every logical type on every base, rightly and wrongly described, at and beyond its edges."""
    drawn: list[Case] = []

    @settings(max_examples=3000, deadline=None, database=None)
    @given(cases())
    def draw(case: Case) -> None:
        drawn.append(case)

    draw()
    kinds = {json.dumps(case.schema): None for case in drawn}
    for start in range(0, len(kinds), TYPES):
        chosen = set(list(kinds)[start : start + TYPES])
        folder = tmp_path / str(start)
        folder.mkdir()
        check(site_of(kafka, new_database, authority, folder), [c for c in drawn if json.dumps(c.schema) in chosen])
