"""Positions of many partitions in PostgreSQL, claimed together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest

from tests.conftest import DatabaseFactory
from worker.model import TopicPartition
from worker.sink.postgres.connection import Connection
from worker.sink.postgres.positions import StoredPositions
from worker.sink.postgres.schema import ensure_schema

pytestmark = pytest.mark.integration
MANY = [TopicPartition("customers", number) for number in range(600)]
POSITIONS = StoredPositions("g", "c1", lambda topic: f"id of {topic}", "w1")


class Counted:
    """A connection whose statements are counted."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.count = 0

    def execute(self, *arguments: Any) -> Any:
        self.count += 1
        return self._connection.execute(*arguments)

    def commit(self) -> None:
        self._connection.commit()


@pytest.fixture
def database(new_database: DatabaseFactory) -> Iterator[tuple[Connection, Connection]]:
    """Two connections to a database with the worker's own tables."""
    dsn = new_database(region="eu-central-1")
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as other:
        ensure_schema(one)
        one.commit()
        yield one, other


def test_many_partitions_are_claimed_in_a_few_statements(database: tuple[Connection, Connection]) -> None:
    """A first run asks once what is stored and stores all starts at once, however many partitions there are."""
    counted = Counted(database[0])
    connection = cast("Connection", counted)

    unknown = POSITIONS.claim(connection, dict.fromkeys(MANY))
    first = POSITIONS.claim(connection, {tp: 10 * tp.partition for tp in MANY})
    counted.commit()
    again = POSITIONS.claim(connection, dict.fromkeys(MANY, 7))

    assert (unknown.found, unknown.held) == ({}, {})
    assert first.found == again.found == {tp: 10 * tp.partition for tp in MANY}
    assert counted.count <= 8


def test_a_locked_position_holds_up_no_other(database: tuple[Connection, Connection]) -> None:
    """Of many partitions those that another transaction has locked are told, with whom they wait for."""
    one, other = database
    POSITIONS.claim(one, dict.fromkeys(MANY[:3], 5))
    one.commit()
    other.execute("SELECT 1 FROM worker.offsets WHERE partition = 1 FOR UPDATE")

    claimed = POSITIONS.claim(one, dict.fromkeys(MANY[:3], 9))

    assert claimed.found == {MANY[0]: 5, MANY[2]: 5}
    assert "customers[1]: an open transaction holds its position, of w1" in str(claimed.held[MANY[1]])
