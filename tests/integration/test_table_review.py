"""What is told of a table before its first row, and what it then does: one case of each kind that was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg
import pytest

from tests.conftest import DatabaseFactory
from tests.fakes.records import output_of
from tests.integration.table_shapes import SETUP
from tests.integration.test_sink_postgres import Sinks
from worker.errors import ConfigError, SinkRejected
from worker.model import Position, SinkRecord
from worker.model.rows import ColumnType, Row, RowType
from worker.sink.postgres import PostgresSink

pytestmark = pytest.mark.integration

COORDINATES = "_topic text, _partition int, _offset bigint, _timestamp timestamptz"
KEY = ColumnType("k", "string")
VALUES, KEYS = RowType((KEY, ColumnType("n", "int"))), RowType((KEY,))
UPSERT = {"mode": "upsert", "key": ["k"]}


@pytest.fixture
def sinks(new_database: DatabaseFactory) -> Iterator[Sinks]:
    made = Sinks(new_database(region="eu-central-1"))
    made().ensure_schema()
    with psycopg.connect(made.dsn, autocommit=True) as connection:
        connection.execute(SETUP)
    yield made
    made.close()


def opened(sinks: Sinks, ddl: str, *, upsert: bool) -> PostgresSink:
    sinks.query(ddl)
    return sinks(table="t", ledger=False, **(UPSERT if upsert else {}))  # type: ignore[arg-type]


def told(sink: PostgresSink, *, upsert: bool) -> list[str]:
    sink.check()
    return sink.tables.check_schema(VALUES, topic="customers", key_type=KEYS if upsert else None)


REFUSED = [
    ("k text PRIMARY KEY DEFERRABLE, n int", True, "is deferrable"),
    ("k text, n int, UNIQUE (k, n)", True, "no unique index on exactly"),
    ("k text, n int); CREATE UNIQUE INDEX ON t (k) WHERE k > 'a'; --", True, "no unique index on exactly"),
    ("k text COLLATE ci, n int); CREATE UNIQUE INDEX ON t (k COLLATE accentless); --", True, "of another collation"),
    ("k text UNIQUE, n int); CREATE PUBLICATION p FOR TABLE t; --", True, "published by p"),
    ("k text PRIMARY KEY, n int, x filled", True, "x must not be null"),
    ("k text PRIMARY KEY, n int); CREATE RULE r AS ON INSERT TO t DO INSTEAD NOTHING; --", True, "the rule r"),
    (f"k text, n int, x int NOT NULL, {COORDINATES}", False, "x must not be null"),
    (f"k text, n int GENERATED ALWAYS AS (1) STORED, {COORDINATES}", False, "n is integer: it is generated"),
    (f"k macaddr, n int, {COORDINATES}); CREATE RULE r AS ON INSERT TO t DO INSTEAD NOTHING; --", False, "the rule r"),
]


@pytest.mark.parametrize(("columns", "upsert", "why"), REFUSED, ids=[why for _, _, why in REFUSED])
def test_a_table_that_could_take_nothing_is_refused(sinks: Sinks, columns: str, upsert: bool, why: str) -> None:
    """`check` says what is wrong, where `run` would stop, or seal every record."""
    sink = opened(sinks, f"CREATE TABLE t ({columns})", upsert=upsert)

    with pytest.raises(ConfigError, match=why):
        told(sink, upsert=upsert)


TOLD = [
    ("k text, n int, x word DEFAULT 'odd'", "", "x: what the domain word refuses"),
    ("k text, n int, x int GENERATED ALWAYS AS (1 / n) STORED", "", "generated column x"),
    ("k text, n int, CHECK (n > 0)", "", "check t_n_check"),
    ("k text, n int UNIQUE", "", "unique index t_n_key"),
    ("k text, n filled", "", "n: the null of a tombstone"),
    ("k text, n int", "CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION late()", "trigger a"),
    ("k text, n int", "ALTER TABLE t_0 ADD CHECK (n > 0)", "check t_n_check of t, partition t_0"),
    ("k text, n int", "ALTER TABLE t_0 ALTER n SET NOT NULL", "not null n of t, partition t_0"),
    ("k text, n int", "CREATE UNIQUE INDEX u ON t_0 (n)", "unique index u of t, partition t_0"),
    ("k text, n int", "CREATE TRIGGER a BEFORE INSERT ON t_0 FOR EACH ROW EXECUTE FUNCTION late()", "partition t_0"),
]


@pytest.mark.parametrize(("columns", "later", "remark"), TOLD, ids=[remark for _, _, remark in TOLD])
def test_what_only_the_server_can_judge_is_told(sinks: Sinks, columns: str, later: str, remark: str) -> None:
    """A condition on the table, on a column that no field fills, or on one partition alone."""
    parted = " PARTITION BY RANGE (_offset)" if "t_0" in later else ""
    made = "; CREATE TABLE t_0 PARTITION OF t DEFAULT" if parted else ""
    later = later.replace("ADD CHECK", "ADD CONSTRAINT t_n_check CHECK")
    sink = opened(sinks, f"CREATE TABLE t ({columns}, {COORDINATES}){parted}{made}; {later}", upsert=False)

    assert any(remark in one for one in told(sink, upsert=False)), told(sink, upsert=False)


def test_rights_are_asked_for_before_the_first_row(sinks: Sinks) -> None:
    """A sequence behind a default, and the worker's own tables: what the role lacks is named."""
    sinks.query(f"CREATE TABLE t (k text, n int, x serial, {COORDINATES})")
    sinks.query("CREATE ROLE reader_of_none; GRANT USAGE ON SCHEMA worker TO reader_of_none")
    sinks.query("GRANT SELECT ON worker.residency TO reader_of_none; GRANT INSERT ON t TO reader_of_none")
    limited = Sinks(f"{sinks.dsn}?options=-c%20role%3Dreader_of_none")
    try:
        with pytest.raises(ConfigError, match=r"worker\.offsets: the role lacks SELECT, INSERT, UPDATE"):
            told(limited(table="t", ledger=False), upsert=False)
        sinks.query("GRANT SELECT, INSERT, UPDATE ON worker.offsets TO reader_of_none")
        with pytest.raises(ConfigError, match="x is filled from sequence t_x_seq"):
            told(limited(table="t", ledger=False), upsert=False)
        sinks.query("GRANT USAGE ON SEQUENCE t_x_seq TO reader_of_none")
        assert told(limited(table="t", ledger=False), upsert=False) == []
    finally:
        limited.close()
        sinks.query("DROP OWNED BY reader_of_none; DROP ROLE reader_of_none")


EQUAL: list[tuple[str, Sequence[str]]] = [
    ("char(4)", ["a", "a  ", "a "]),
    ("citext", ["ann", "ANN", "Ann"]),
    ("text COLLATE ci", ["ann", "ANN"]),
    ("text COLLATE accentless", ["ann", "Ånn"]),
    ("numeric", ["1", "1.0", "1e0"]),
    ("timestamptz", ["2026-01-02T03:04:05Z", "2026-01-02T04:04:05+01:00"]),
    ("uuid", ["de2df598-9948-4988-b00a-a41c0e287398", "DE2DF598-9948-4988-B00A-A41C0E287398"]),
    ("inet", ["10.0.0.1", "10.0.0.1/32"]),
]


@pytest.mark.parametrize("index", ["PRIMARY KEY (k)", "UNIQUE (k) INCLUDE (n)"])
@pytest.mark.parametrize(("kind", "keys"), EQUAL, ids=[kind for kind, _ in EQUAL])
def test_keys_that_the_database_calls_equal_are_one(sinks: Sinks, kind: str, keys: Sequence[str], index: str) -> None:
    """Of a batch the last one stands, whatever it is written like; its tombstone in another writing deletes it."""
    sink = opened(sinks, f"CREATE TABLE t (k {kind}, n int, {index})", upsert=True)
    told(sink, upsert=True)

    deliver(sink, [(key, n) for n, key in enumerate(keys)])
    once = sinks.query("SELECT n FROM t")
    deliver(sink, [(keys[0], 7), (keys[-1], None)])

    assert once == [(len(keys) - 1,)]
    assert sinks.query("SELECT n FROM t") == []


def deliver(sink: PostgresSink, written: Sequence[tuple[str, int | None]]) -> None:
    sink.begin()
    sink.write(
        output_of(
            [
                SinkRecord(
                    Position("customers", 0, i), b"k", b"v" if n is not None else None, (), 0, -1,
                    None if n is None else Row(VALUES, (key, n)), Row(KEYS, (key,)),
                )
                for i, (key, n) in enumerate(written)
            ]
        )
    )  # fmt: skip
    sink.flush()
    sink.commit({}, (), None)


EXACT = [
    ("varbit(3)", "101", True),
    ("varbit(3)", "1011", False),
    ("interval", "1.123456 s", True),
    ("interval", "1.1234567 s", False),
    ("timetz", "12:00:00.1234567+00", False),
    ("tsrange", "[2026-01-02 03:04:05.1234567,)", False),
]


@pytest.mark.parametrize(("kind", "text", "fits"), EXACT)
def test_a_text_that_the_server_reads_is_neither_cut_nor_rounded(
    sinks: Sinks, kind: str, text: str, fits: bool
) -> None:
    """What PostgreSQL's own cast would make shorter is a refused record."""
    sink = opened(sinks, f"CREATE TABLE t (k text PRIMARY KEY, n {kind})", upsert=True)
    row_type = RowType((KEY, ColumnType("n", "string")))
    sink.check()
    (remark,) = sink.tables.check_schema(row_type, topic="customers", key_type=KEYS)
    assert remark.startswith("n: text that is no ")
    sink.begin()
    row = Row(row_type, ("a", text))
    sink.write(output_of([SinkRecord(Position("customers", 0, 0), b"k", b"v", (), 0, -1, row, Row(KEYS, ("a",)))]))

    if fits:
        sink.flush()
        sink.commit({}, (), None)
        assert sinks.query("SELECT count(*) FROM t") == [(1,)]
    else:
        with pytest.raises(SinkRejected):
            sink.flush()
        sink.abort()


@pytest.mark.parametrize("kind", ["interval(0)", "timetz(0)", "point", "circle", "oid", "regclass", "bit(3)"])
def test_a_column_that_would_round_or_replace_text_is_refused(sinks: Sinks, kind: str) -> None:
    """Floats in shapes, numbers that wrap, names that are looked up."""
    sink = opened(sinks, f"CREATE TABLE t (k {kind}, n int, {COORDINATES})", upsert=False)

    with pytest.raises(ConfigError, match="k is "):
        told(sink, upsert=False)


NAMES = (
    "100%",
    'a"b',
    "'quoted'",
    "{x}",
    "%s",
    "select",
    "Id",
    "id",
    "größe",
    "\U0001f98e",
    "a.b",
    "$1",
    "tab\t",
    "n" * 70,
)


def test_columns_of_any_name_are_made_and_filled(sinks: Sinks) -> None:
    """Whatever SQL, a driver's placeholders or a template would make of a name."""
    kinds = tuple(ColumnType(name, "string" if i % 2 else "int") for i, name in enumerate(NAMES))
    row_type, table = RowType((KEY, *kinds)), 'odd%."t{0}"'
    values = tuple(str(i) if i % 2 else i for i in range(len(NAMES)))
    for options in ({}, UPSERT):
        sink = sinks(table=f"{table}{len(options)}", ledger=False, **options)  # type: ignore[arg-type]
        assert sink.tables.create_table(row_type, topic="customers", key_type=KEYS if options else None) == []
        sink.begin()
        record = SinkRecord(
            Position("customers", 0, 0), b"k", b"v", (), 0, -1, Row(row_type, ("key", *values)), Row(KEYS, ("key",))
        )
        sink.write(output_of([record]))
        sink.flush()
        sink.commit({}, (), None)
        name = f"{table}{len(options)}".partition(".")[2].replace('"', '""')
        (found,) = sinks.query(f'SELECT * FROM "odd%"."{name}"')
        assert {"key", *values} <= set(found)
