"""Tables of hundreds of columns: what no row has room for is refused before the first record."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import DatabaseFactory
from tests.integration.test_sink_postgres import Sinks
from worker.errors import ConfigError
from worker.model.rows import ColumnType, RowType

pytestmark = pytest.mark.integration
# The row's header and its coordinates take 48 bytes, what points to each envelope 18.
LAST = (8160 - 48) // 18


@pytest.fixture
def sinks(new_database: DatabaseFactory) -> Iterator[Sinks]:
    """Sinks over a database of this test."""
    made = Sinks(new_database(region="eu-central-1"))
    yield made
    made.close()


def sealed(count: int, *, nullable: bool = False) -> RowType:
    """Rows of so many envelopes."""
    return RowType(tuple(ColumnType(f"f{i}", "bytes", encrypted="leased", nullable=nullable) for i in range(count)))


def takes_a_row(sinks: Sinks, count: int) -> bool:
    """Whether PostgreSQL takes a row of so many envelopes."""
    values = [os.urandom(100) for _ in range(count)]
    marks = ", ".join(["%s"] * count)
    with psycopg.connect(sinks.dsn) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS wide (_topic text, _partition int, _offset bigint, _timestamp timestamptz)"
        )
        for i in range(count):
            connection.execute(f"ALTER TABLE wide ADD COLUMN IF NOT EXISTS f{i} bytea".encode())
        try:
            with connection.transaction():
                connection.execute(f"INSERT INTO wide VALUES ('t', 0, 0, now(), {marks})".encode(), values)
        except psycopg.errors.ProgramLimitExceeded:
            return False
        return True


@pytest.mark.parametrize(("count", "fits"), [(LAST, True), (LAST + 2, False)])
def test_a_table_passes_only_if_a_record_has_room(sinks: Sinks, count: int, *, fits: bool) -> None:
    """Envelopes go out of line, and what points to them must have room on the page."""
    assert takes_a_row(sinks, count) is fits
    sink = sinks(table="wide")
    sink.ensure_schema()

    if fits:
        sink.tables.check_schema(sealed(count), topic="customers")
    else:
        with pytest.raises(ConfigError, match=r"table wide: no record has room .* as one record"):
            sink.tables.check_schema(sealed(count), topic="customers")


def test_a_record_that_may_have_no_room_is_told_of(sinks: Sinks) -> None:
    """Nulls take none, so that most records may pass."""
    sink = sinks(table="wide", create=True)
    sink.ensure_schema()

    told = sink.tables.create_table(sealed(600, nullable=True), topic="customers")

    assert told == ["a record whose values take over 8,160 bytes of a row"]
    assert sink.tables.create_table(sealed(40, nullable=True), topic="customers") == []


def test_a_table_of_too_many_columns_says_how_many_there_may_be(sinks: Sinks) -> None:
    """And what to do."""
    sink = sinks(table="wide", create=True)
    sink.ensure_schema()

    with pytest.raises(ConfigError, match=r"creating table wide: SQLSTATE 54011; .* 1,600 columns.* one record"):
        sink.tables.create_table(sealed(1601, nullable=True), topic="customers")
