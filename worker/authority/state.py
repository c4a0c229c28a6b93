"""Everything that the store holds, in memory, as of one version of it; what every request is judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, select

from worker.authority import schema

Row = dict[str, Any]
Key = Any
"""A primary key: the value itself, a tuple where it has several columns."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A row as a write left it; None where it deleted it."""

    table: Table
    key: Key
    row: Row | None


_PARTS = ("shards", "erasures")
"""Tables of which what is unsealed is known by table and key; it is let go alone."""


class State:
    """
    One version of the store; neither it nor its rows are changed in place.

    Args:
        tables: each authorising table's rows by key.
        opened: what has been unsealed from these rows and may be used again, by table and key.
    """

    def __init__(
        self, tables: Mapping[str, dict[Key, Row]], opened: dict[str, dict[Key, object]] | None = None
    ) -> None:
        self.tables = tables
        self.workspaces: dict[str, Row] = tables["workspaces"]
        self.signing_keys = sorted(tables["signing_keys"].values(), key=lambda r: float(r["created_at"]))
        self.access_keys: dict[str, Row] = tables["access_keys"]
        self.providers: dict[str, Row] = tables["oidc_providers"]
        self.memberships = tables["memberships"]
        self.members = {(r["workspace"], r["subject"]): r for r in self.memberships.values()}
        self.blocked = tables["blocked_subjects"]
        self.keysets: dict[str, Row] = tables["keysets"]
        self.clients: dict[str, Row] = tables["clients"]
        self.grants = tables["grants"]
        self.shards: dict[tuple[str, str], Row] = tables["shards"]
        self.erasures: dict[tuple[str, str], Row] = tables["erasures"]
        self.opened = {name: {} for name in ("grants", *_PARTS)} if opened is None else opened

    @classmethod
    def read(cls, connection: Connection) -> State:
        """Read the whole store."""
        return cls({table.name: read_rows(connection, table) for table in schema.AUTHORISING})

    def after(self, changes: Sequence[Changed]) -> State:
        """Return the state after a write; what was unsealed stays only where nothing it came from has changed."""
        tables = dict(self.tables)
        touched = {change.table.name for change in changes}
        for name in touched:
            tables[name] = dict(tables[name])
        for change in changes:
            if change.row is None:
                tables[change.table.name].pop(change.key, None)
            else:
                tables[change.table.name][change.key] = change.row
        if touched & {"keysets", "clients", "grants"}:
            return State(tables)
        if not touched & set(_PARTS):
            return State(tables, self.opened)
        # A copy: whoever answers a request by the state of before puts nothing of it into this one.
        opened = {name: dict(kept) for name, kept in self.opened.items()}
        for change in changes:
            if change.table.name in _PARTS:
                opened[change.table.name].pop(change.key, None)
        return State(tables, opened)

    def keep(self, table: str, key: Key, value: object, most: int) -> None:
        """Keep what a row was unsealed to; where there are `most` of its table, the older half goes first."""
        kept = self.opened[table]
        if len(kept) >= most:
            for old in list(kept)[: most // 2]:
                kept.pop(old, None)
        kept[key] = value


def read_rows(connection: Connection, table: Table) -> dict[Key, Row]:
    """Read a table by key."""
    rows = (dict(row._mapping) for row in connection.execute(select(table)))
    return {key_of(table, row): row for row in rows}


def key_of(table: Table, row: Row) -> Key:
    """Return a row's key."""
    values = tuple(row[column.name] for column in table.primary_key)
    return values[0] if len(values) == 1 else values


def where_key(table: Table, key: Key) -> Any:
    """Return the condition that selects one row."""
    columns = list(table.primary_key)
    values = key if len(columns) > 1 else (key,)
    condition = columns[0] == values[0]
    for column, value in zip(columns[1:], values[1:], strict=True):
        condition = condition & (column == value)
    return condition
