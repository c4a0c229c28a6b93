"""One write of the store: rows put in, altered and taken out, and the head moved with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from sqlalchemy import Connection, Table, delete, insert, select, update

from worker.authority import schema
from worker.authority.head import Head, TamperedStore, moved, term
from worker.authority.refusal import Refusal
from worker.authority.state import Changed, Key, Row, State, key_of, where_key

KEPT_VERSIONS = 1000
"""A replica that is further behind than this reads the whole store."""


class Transaction:
    """
    Rows of authorising tables are written through this alone, so that the head accounts for each.

    Args:
        connection: in a transaction of its own.
        state: the newest, which is what the rows in the database must be.
        head: of that state.
        key: of the rows' terms.
    """

    def __init__(self, connection: Connection, state: State, head: Head, key: bytes) -> None:
        self._connection = connection
        self._state = state
        self._key = key
        self._sums = dict(head.sums)
        self._head = head
        self.changes: list[Changed] = []

    def insert(self, table: Table, row: Row) -> None:
        """Put a row in; columns that it leaves out are null."""
        whole = {column.name: row.get(column.name) for column in table.columns}
        _refuse_nul(whole)
        self._connection.execute(insert(table), whole)
        self._account(table, None, whole)

    def update(self, table: Table, key: Key, values: Row, *, expect: Row | None = None) -> None:
        """
        Alter a row.

        Args:
            table: its table.
            key: its key.
            values: what is altered.
            expect: what it must hold; raises a 409 where another request was faster.
        """
        old = self._current(table, key)
        if old is None or any(old[name] != value for name, value in (expect or {}).items()):
            raise Refusal(409, "another request was faster")
        _refuse_nul(values)
        self._connection.execute(update(table).where(where_key(table, key)).values(values))
        self._account(table, old, {**old, **values})

    def delete(self, table: Table, key: Key) -> None:
        """Take a row out; one that is gone already is none."""
        old = self._current(table, key)
        if old is not None:
            self._connection.execute(delete(table).where(where_key(table, key)))
            self._account(table, old, None)

    def finish(self, lock: tuple[str, ...] = ()) -> Head:
        """Return the head after these writes; nothing is written through this any more."""
        head = Head(self._head.version + 1, self._head.incarnation, self._sums, lock)
        rows = {orjson.dumps([str(c.table.name), c.key]).decode() for c in self.changes}
        if rows:
            values = [{"version": head.version, "row": row} for row in rows]
            self._connection.execute(insert(schema.changes), values)
            old = schema.changes.c.version <= head.version - KEPT_VERSIONS
            self._connection.execute(delete(schema.changes).where(old))
        return head

    def _current(self, table: Table, key: Key) -> Row | None:
        for change in reversed(self.changes):
            if change.table is table and change.key == key:
                return change.row
        known = self._state.tables[table.name].get(key)
        found = self._connection.execute(select(table).where(where_key(table, key))).first()
        stored = None if found is None else dict(found._mapping)
        if (known is None) != (stored is None) or (
            known is not None and stored is not None and term(self._key, table, known) != term(self._key, table, stored)
        ):
            raise TamperedStore(f"a row of {table.name} is not the one that the authority wrote")
        return stored

    def _account(self, table: Table, old: Row | None, new: Row | None) -> None:
        less = 0 if old is None else term(self._key, table, old)
        more = 0 if new is None else term(self._key, table, new)
        self._sums[table.name] = moved(self._sums[table.name], less=less, more=more)
        key = key_of(table, new if new is not None else old or {})
        self.changes.append(Changed(table, key, new))


def _refuse_nul(row: Row) -> None:
    """Raise a 400 for text that one kind of database keeps and the other does not: no backup would go into that one."""
    for name, value in row.items():
        if any("\0" in text for text in _texts(value)):
            raise Refusal(400, f"{name} holds a NUL character")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for each in value:
            yield from _texts(each)
        for each in value.values() if isinstance(value, dict) else ():
            yield from _texts(each)


def changes_since(connection: Connection, version: int, until: int, tables: Mapping[str, Table]) -> list[Any] | None:
    """Return the tables and keys written after a version; None where not all are kept as written."""
    table = schema.changes
    where = (table.c.version > version) & (table.c.version <= until)
    found = connection.execute(select(table).where(where).order_by(table.c.version)).all()
    if {row.version for row in found} != set(range(version + 1, until + 1)):
        return None
    named = []
    for row in found:
        try:
            name, key = orjson.loads(row.row)
            parts = tuple(key) if isinstance(key, list) else (key,)
            if len(parts) != len(tables[name].primary_key) or not all(isinstance(part, str) for part in parts):
                return None
        except (ValueError, TypeError, KeyError):
            return None
        named.append((name, parts if len(parts) > 1 else parts[0]))
    return named
