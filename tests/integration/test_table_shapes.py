"""Any table with what stands on it, and any role: what `check` passes takes every record that it did not tell of."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings

from tests.conftest import DatabaseFactory
from tests.fakes.records import output_of
from tests.integration.table_shapes import RIGHTS, SETUP, Shape, shapes
from tests.integration.test_sink_postgres import Sinks
from worker.errors import ConfigError, SinkRejected
from worker.model import SinkRecord
from worker.sink.postgres import PostgresSink

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]
OWN = """
GRANT USAGE ON SCHEMA worker TO {r};
GRANT SELECT ON worker.residency TO {r};
"""
SEVERAL = "several at once"
GRANTS = {
    "TEMPORARY": "GRANT TEMPORARY ON DATABASE {d} TO {r}",
    "USAGE": "GRANT USAGE ON SCHEMA {s} TO {r}",
    "OWN": "GRANT SELECT, INSERT, UPDATE ON worker.offsets TO {r}",
    "SEQUENCE": "GRANT USAGE ON ALL SEQUENCES IN SCHEMA {s} TO {r}",
}


class Bench:
    """A database with a role that has what a case gives it."""

    def __init__(self, dsn: str) -> None:
        self.dsn, self.role = dsn, f"r{uuid.uuid4().hex[:10]}"
        self.sinks = Sinks(f"{dsn}?options={quote(f'-c role={self.role}')}")
        admin = Sinks(dsn)
        admin().ensure_schema()
        admin.close()
        self.connection = psycopg.connect(dsn, autocommit=True)
        self._do(f"CREATE ROLE {self.role}; REVOKE ALL ON DATABASE {self.database} FROM PUBLIC")
        self._do(OWN.format(r=self.role))
        self._do(SETUP)

    @property
    def database(self) -> str:
        return self.dsn.rpartition("/")[2]

    def _do(self, statement: str) -> None:
        self.connection.execute(statement.encode())

    def make(self, shape: Shape) -> str | None:
        """Make the table in a schema of its own; None where PostgreSQL does not take its definition."""
        schema = f"s{uuid.uuid4().hex[:10]}"
        try:
            self._do(f"CREATE SCHEMA {schema}")
            for statement in shape.statements(f"{schema}.t"):
                self._do(statement.replace(f"PUBLICATION {schema}.", "PUBLICATION "))
        except psycopg.Error:
            return None
        self._do(f"REVOKE TEMPORARY ON DATABASE {self.database} FROM {self.role}")
        self._do(f"REVOKE ALL ON worker.offsets FROM {self.role}")
        for right in set(RIGHTS) - shape.lacking:
            grant = GRANTS.get(right, f"GRANT {right} ON {schema}.t TO {{r}}")
            self._do(grant.format(d=self.database, r=self.role, s=schema))
        return f"{schema}.t"

    def drop(self, table: str) -> None:
        """Remove what `make` made."""
        self._do("DROP PUBLICATION IF EXISTS t_p")
        self._do(f"DROP SCHEMA {table.partition('.')[0]} CASCADE")

    def rows(self, table: str, shape: Shape) -> list[tuple[Any, ...]]:
        """The table's rows as text, in an order; not the key, of which equal ones may be written in several ways."""
        columns = ", ".join(["count(*) OVER ()", *(f"{kind.name}::text" for kind, _ in shape.columns[shape.keys :])])
        order = ", ".join(str(i + 1) for i in range(columns.count(",") + 1))
        return self.connection.execute(f"SELECT {columns} FROM {table} ORDER BY {order}".encode()).fetchall()

    def close(self) -> None:
        self.sinks.close()
        self._do(f"DROP OWNED BY {self.role}; DROP ROLE {self.role}")
        self.connection.close()


@pytest.fixture
def bench(new_database: DatabaseFactory) -> Iterator[Bench]:
    made = Bench(new_database(region="eu-central-1"))
    yield made
    made.close()


def check(bench: Bench, shape: Shape) -> None:
    """A batch does what its records do one after another, and only what `check` told of is refused."""
    found: list[tuple[list[tuple[Any, ...]], dict[int, str]]] = []
    for together in (True, False):
        table = bench.make(shape)
        if table is None:
            return
        sink = opened(bench, table, shape)
        try:
            told = remarks(sink, shape)
            if told is None:
                return
            refused = deliver(sink, shape.records(), together=together)
            for offset, why in refused.items():
                assert is_told(why, told) or "\\x00" in str(shape.rows[offset]), (offset, why, told)
            found.append((bench.rows(table, shape), refused))
        finally:
            sink.close()
            bench.drop(table)
    # Within a batch a later record of the same key stands for an earlier one, which is then not asked for.
    assert found[0][1].keys() <= found[1][1].keys()
    assert found[0][0] == found[1][0], found


def is_told(why: str, told: Sequence[str]) -> bool:
    """Whether what refused a record was told beforehand: by its column, or as what the server alone knows."""
    column = re.search(r"column (\w+)", why)
    if column is not None:
        return any(remark.startswith(f"{column[1]}:") for remark in told)
    if "23502" in why and any(remark.endswith((": null", ": the null of a tombstone")) for remark in told):
        return True
    return why == SEVERAL or any(remark.endswith("(not told)") or remark == "rows of no partition" for remark in told)


def opened(bench: Bench, table: str, shape: Shape) -> PostgresSink:
    key = [kind.name for kind, _ in shape.columns[: shape.keys]]
    return bench.sinks(table=table, ledger=False, mode="upsert" if key else "append", key=key)


def remarks(sink: PostgresSink, shape: Shape) -> list[str] | None:
    """What `check` tells; None where it refuses the table."""
    values, keys = shape.types
    key_type = None if shape.plain or not shape.keys else keys
    try:
        sink.check()
        return sink.tables.check_schema(values, topic="customers", key_type=key_type)
    except ConfigError:
        return None
    finally:
        sink.abort()


def deliver(sink: PostgresSink, records: Sequence[SinkRecord], *, together: bool) -> dict[int, str]:
    """Write records in one batch or in one each, as the pipeline does; what was refused, and why."""
    refused: dict[int, str] = {}
    for batch in [list(records)] if together else [[record] for record in records]:
        while batch:
            sink.begin()
            sink.write(output_of(batch))
            try:
                sink.flush()
                sink.commit({}, (), None)
                break
            except SinkRejected as exc:
                sink.abort()
                named = {p.offset for p in exc.positions} or {record.position.offset for record in batch}
                refused |= dict.fromkeys(named, str(exc) if len(named) == 1 else SEVERAL)
                batch = [record for record in batch if record.position.offset not in named]
    return refused


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(shape=shapes())
def test_any_table_that_passes_takes_a_batch_as_its_records(bench: Bench, shape: Shape) -> None:
    """Keys that the database calls equal, partitions, triggers, generated columns, rights."""
    check(bench, shape)


@pytest.mark.heavy
@pytest.mark.timeout(3600)
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(shape=shapes())
def test_thousands_of_shapes(bench: Bench, shape: Shape) -> None:
    """The same, thousands of times."""
    check(bench, shape)
