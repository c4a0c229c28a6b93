"""Any table and any schema: what `check` passes takes every record, exactly, but for those it names beforehand."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import DatabaseFactory
from tests.fakes.records import output_of
from tests.integration.test_sink_postgres import Sinks
from worker.errors import ConfigError, SinkRejected
from worker.model import Position, SinkRecord
from worker.model.rows import ColumnType, Row, RowType
from worker.sink.postgres import PostgresSink

pytestmark = pytest.mark.integration

FAR = 9_223_372_036_825_200_000
LONGS = st.sampled_from([0, 1, -1, 86_400_000, 2**31, 2**53 + 1, FAR, 2**63 - 1, -(2**63)]) | st.integers(
    -(2**62), 2**62
)
INTS = st.sampled_from([0, -1, 86_399_999, 86_400_000, 2**24 + 1, 2**31 - 1, -(2**31)]) | st.integers(
    -(2**31), 2**31 - 1
)
DOUBLES = st.floats() | st.sampled_from([1.5, 0.1, 1e300, -0.0])
FLOATS = st.floats(width=32)
TEXTS = st.sampled_from(
    [
        *(
            "",
            "ab",
            "ab   ",
            "far too long for that",
            "12",
            "12.5",
            "NaN",
            "now",
            "yes",
            "2026-02-30",
            "2026-01-02",
            "{}",
        ),
        *("de2df598-9948-4988-b00a-a41c0e287398", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.123456789Z", "10.0.0.1"),
        *("2026-01-02T03:04:05", "infinity", '{"a": 1}', "happy", "1e5", "1_000", "\u0661", "nul\0", "2026-01-02"),
    ]
) | st.text(max_size=4)
NUMBERS = st.integers(-(10**12), 10**12).map(lambda n: n.to_bytes(8, "big", signed=True))
KINDS: dict[str, tuple[ColumnType, st.SearchStrategy[Any]]] = {
    "boolean": (ColumnType("", "boolean"), st.booleans()),
    "int": (ColumnType("", "int"), INTS),
    "long": (ColumnType("", "long"), LONGS),
    "float": (ColumnType("", "float"), FLOATS),
    "double": (ColumnType("", "double"), DOUBLES),
    "string": (ColumnType("", "string"), TEXTS),
    "bytes": (ColumnType("", "bytes"), st.binary(max_size=8)),
    "enum": (ColumnType("", "enum", symbols=("happy", "sad")), st.sampled_from(["happy", "sad"])),
    "uuid": (ColumnType("", "string", "uuid"), TEXTS | st.uuids().map(str)),
    "uuid16": (ColumnType("", "fixed", "uuid", size=16), st.binary(min_size=16, max_size=16)),
    "duration": (ColumnType("", "fixed", "duration", size=12), st.binary(min_size=12, max_size=12)),
    "decimal": (ColumnType("", "bytes", "decimal", 6, 2), NUMBERS),
    "big-decimal": (ColumnType("", "bytes", "big-decimal"), st.just(b"\x02\x0f\x02") | st.binary(max_size=6)),
    "date": (ColumnType("", "int", "date"), INTS),
    "time-millis": (ColumnType("", "int", "time-millis"), INTS),
    "time-micros": (ColumnType("", "long", "time-micros"), LONGS),
    **{
        word: (ColumnType("", "long", word), LONGS)
        for word in (f"{p}timestamp-{u}" for p in ("", "local-") for u in ("millis", "micros", "nanos"))
    },
    "array": (ColumnType("", "array", items=ColumnType("", "string")), st.lists(st.none() | TEXTS, max_size=3)),
    "json": (ColumnType("", "json"), st.dictionaries(st.text("ab"), DOUBLES, max_size=2)),
    "sealed": (ColumnType("", "bytes", encrypted="record"), st.just(b"\x95" + bytes(60))),
}
NUMBER_TYPES = (
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric",
    "numeric(6,2)",
    "numeric(4,-1)",
)
TYPES = (
    "boolean",
    *NUMBER_TYPES,
    *(
        "text",
        "varchar(4)",
        "char(4)",
        '"char"',
        "name",
        "bytea",
        "uuid",
        "date",
        "time",
        "time(0)",
        "timetz",
        "timestamp",
    ),
    *("timestamptz", "timestamptz(3)", "interval", "interval day", "json", "jsonb", "inet", "cidr", "macaddr", "money"),
    *(
        "mood",
        "short",
        "even",
        "shorter",
        "text[]",
        "varchar(3)[]",
        "mood[]",
        "int4range",
        "pair",
        "text COLLATE ci",
        "bit(3)",
    ),
)
EXTRAS = ("", "", "", " NOT NULL", " GENERATED ALWAYS AS IDENTITY", " CHECK (length({}::text) < 5)")
SETUP = """
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE pair AS (a int, b int);
CREATE DOMAIN short AS varchar(3) CHECK (value <> 'x');
CREATE DOMAIN even AS int CHECK (value % 2 = 0);
CREATE DOMAIN shorter AS short NOT NULL;
"""


@dataclass(frozen=True)
class Case:
    """Columns as (Avro type, SQL type, what follows), and rows of values."""

    columns: list[tuple[ColumnType, str, str]]
    rows: list[tuple[Any, ...]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    words = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3))
    columns, values = [], []
    for i, word in enumerate(words):
        kind, of = KINDS[word]
        nullable = draw(st.booleans())
        named = ColumnType(
            f"f{i}", kind.kind, kind.logical, kind.precision, kind.scale, kind.size, kind.symbols, kind.items,
            kind.encrypted, nullable=nullable,
        )  # fmt: skip
        columns.append((named, draw(st.sampled_from(TYPES)), draw(st.sampled_from(EXTRAS)).format(f"f{i}")))
        values.append(st.none() | of if nullable else of)
    return Case(columns, draw(st.lists(st.tuples(*values), min_size=1, max_size=4)))


@pytest.fixture
def sinks(new_database: DatabaseFactory) -> Iterator[Sinks]:
    made = Sinks(new_database(region="eu-central-1"))
    with psycopg.connect(made.dsn, autocommit=True) as connection:
        connection.execute(SETUP)
    made().ensure_schema()
    yield made
    made.close()


def check(sinks: Sinks, case: Case) -> None:
    name = f"t{uuid.uuid4().hex[:10]}"
    columns = ", ".join(f"{kind.name} {sql}{extra}" for kind, sql, extra in case.columns)
    coordinates = "_topic text, _partition int, _offset bigint, _timestamp timestamptz"
    with psycopg.connect(sinks.dsn, autocommit=True) as connection:
        try:
            connection.execute(f"CREATE TABLE {name} ({columns}, {coordinates})")
        except psycopg.Error:
            return
        sink = sinks(table=name, ledger=False)
        try:
            take(connection, sink, name, case)
        finally:
            sink.close()


def take(connection: psycopg.Connection[Any], sink: PostgresSink, name: str, case: Case) -> None:
    row_type = RowType(tuple(kind for kind, _, _ in case.columns))
    try:
        sink.check()
        remarks = sink.tables.check_schema(row_type, topic="customers")
    except ConfigError:
        return
    for offset, values in enumerate(case.rows):
        if deliver(sink, Row(row_type, values), offset, remarks):
            compare(connection, name, case, values, offset)


def deliver(sink: PostgresSink, row: Row, offset: int, remarks: list[str]) -> bool:
    """Write a row; whether it is there. One that is refused was told of."""
    sink.begin()
    sink.write(output_of([SinkRecord(Position("customers", 0, offset), None, b"v", (), 0, -1, row)]))
    refusal = None
    try:
        sink.flush()
    except SinkRejected as exc:
        refusal = exc
    if refusal is not None:
        sink.abort()
        told = any("(not told)" in remark for remark in remarks)
        named = [k.name for k in row.type.columns if any(r.startswith(f"{k.name}:") for r in remarks)]
        nul = any("\0" in str(value) for value in row.values)
        assert named or told or nul, f"{refusal}; told: {remarks}"
        return False
    sink.commit({}, (), None)
    return True


UNITS = {"millis": 1000, "micros": 1}


def compare(connection: psycopg.Connection[Any], name: str, case: Case, values: tuple[Any, ...], offset: int) -> None:
    for (kind, sql, _), value in zip(case.columns, values, strict=True):
        asked = expected(kind, sql, value)
        if asked is not None:
            expression, wanted = asked
            found = connection.execute(
                f"SELECT {expression.format(kind.name)} FROM {name} WHERE _offset = %s", [offset]
            ).fetchone()
            assert found is not None
            assert found[0] == wanted, f"{kind} in {sql}: {value!r} is {found[0]!r}"


def expected(kind: ColumnType, sql: str, value: Any) -> tuple[str, Any] | None:
    """What to ask of a column, and the answer; None where the kinds have no simple comparison."""
    word = kind.logical
    if value is None:
        return "{} IS NULL", True
    numbers = (*NUMBER_TYPES, "even")
    if sql in numbers and kind.kind in ("int", "long") and (not word or word.endswith("nanos")):
        # A float's cast to numeric keeps fewer digits than it has; Python compares float and int exactly.
        return (
            ("trunc({}::float8)", value)
            if sql in ("real", "double precision")
            else ("trunc({}::numeric)", Decimal(value))
        )
    if sql.startswith("numeric") and word == "decimal":
        return "{}", Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-2)
    if sql == "double precision" and kind.kind in ("float", "double") and value == value:
        return "{}", value
    if sql in ("text", "varchar(4)", "short", "text COLLATE ci") and kind.kind in ("string", "enum"):
        return "{}::text", value
    if sql == "bytea":
        return "{}", value
    if sql == "date" and word == "date":
        return "({} - date '1970-01-01')::bigint", value
    if sql in ("timestamp", "timestamptz") and word.rpartition("-")[2] in UNITS and "timestamp" in word:
        # `extract` keeps sixteen digits of the whole, which are too few for the last instants.
        whole = "extract(epoch FROM date_trunc('second', {0})) * 1000000"
        micros = "mod(extract(microseconds FROM {0})::bigint, 1000000)"
        return f"({whole} + {micros})::numeric(40,0)", Decimal(value * UNITS[word.rpartition("-")[2]])
    if sql == "time" and word.startswith("time-"):
        return "(extract(epoch FROM {}) * 1000000)::bigint", value * UNITS[word.rpartition("-")[2]]
    if sql == "text[]" and kind.kind == "array":
        return "{}", value
    return None


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=cases())
def test_a_table_that_passes_takes_what_it_says(sinks: Sinks, case: Case) -> None:
    """What is refused was told of beforehand, by column; what is taken is the value itself."""
    check(sinks, case)


@pytest.mark.heavy
@pytest.mark.timeout(3600)
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=cases())
def test_thousands_of_tables(sinks: Sinks, case: Case) -> None:
    """The same, thousands of times."""
    check(sinks, case)
