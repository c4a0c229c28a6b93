"""Rows of a table by key, in pages, and their cells exchanged by compare-and-swap while others go on writing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from worker.model import Position
from worker.model.rows import ColumnType
from worker.sink.postgres import wire
from worker.sink.postgres.connection import Connection
from worker.sink.postgres.copy import RowWriter, Target
from worker.sink.postgres.fit import BYTEA, TEXT, Fit
from worker.sink.postgres.keyed import Condition
from worker.sink.postgres.options import PostgresSinkOptions
from worker.sink.postgres.schema import targets_of
from worker.sink.postgres.table import Table

_TEXT = Fit(wire.text, TEXT)
_BYTES = Fit(bytes, BYTEA)

Key = tuple[str, ...]
"""A row's key, each column as the server writes it as text."""


@dataclass(frozen=True, slots=True)
class Found:
    """A row as it was read: its key, and the cells asked for, in the order of `Rewrite.names`."""

    key: Key
    cells: tuple[Any, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Change:
    """What replaces a row's cells, in the order of the rewritten columns, where they still are what they were."""

    key: Key
    old: tuple[object, ...] = field(repr=False)
    new: tuple[object, ...] = field(repr=False)


class Rewrite:
    """
    One table whose encrypted cells are exchanged.

    Args:
        table: as the server describes it.
        key: the columns of a unique index without nulls.
        kinds: by column, what is written into those that are exchanged.
        beside: columns that are read besides.
    """

    def __init__(
        self, table: Table, key: Sequence[str], kinds: Mapping[str, ColumnType], beside: Sequence[str] = ()
    ) -> None:
        self.table, self.key = table, tuple(key)
        self.cells = tuple(kinds)
        self.names = (*self.cells, *(name for name in beside if name not in kinds))
        self.options = _options(table, kinds)
        fits = targets_of(table, dict(kinds), self.options)
        self._casts = {i for i, target in enumerate(fits) if target.fit.cast}
        self._writer = RowWriter(
            table,
            [
                *(Target(f"k{i}", _TEXT) for i in range(len(self.key))),
                *(Target(f"o{i}", _BYTES if self._is_bytea(n) else _TEXT) for i, n in enumerate(self.cells)),
                *(Target(f"n{i}", Fit(t.fit.encode, t.fit.native, t.fit.cast)) for i, t in enumerate(fits)),
            ],
        )
        shape = "\0".join([table.name, *self.key, *(f"{n}:{table.columns[n].declared}" for n in self.cells)])
        self._stage = sql.Identifier("pg_temp", f"worker_rekey_{hashlib.sha256(shape.encode()).hexdigest()[:16]}")
        self._swap: sql.Composed | None = None

    @property
    def searchable(self) -> tuple[str, ...]:
        """The exchanged columns that hold EQL payloads, with their search terms."""
        return tuple(name for name, storage in self.options.columns.items() if storage == "eql")

    def page(self, connection: Connection, after: Key | None, limit: int, where: Condition) -> list[Found]:
        """
        Return the next rows by key.

        Args:
            connection: within a block that is guarded; nothing is locked.
            after: the last key of the page before; None begins.
            limit: rows.
            where: which rows are wanted, of the alias `t`.
        """
        keys, names = self._keys(), self.names
        chosen = [sql.SQL("{}::text").format(key) for key in keys] + [self._read(name) for name in names]
        wanted = [where] if after is None else [sql.SQL("{} > {}").format(_row(keys), self._literal(after)), where]
        statement = sql.SQL("SELECT {} FROM {} AS t WHERE {} ORDER BY {} LIMIT {}").format(
            sql.SQL(", ").join(chosen),
            self.table.identifier,
            sql.SQL(" AND ").join(wanted),
            sql.SQL(", ").join(keys),
            sql.Literal(limit),
        )
        n = len(self.key)
        with connection.cursor(binary=True) as cursor:
            return [Found(tuple(row[:n]), tuple(row[n:])) for row in cursor.execute(statement).fetchall()]

    def swap(self, connection: Connection, changes: Sequence[Change]) -> int:
        """
        Exchange the cells of rows that still are as they were read; the caller commits.

        A row that another transaction has hold of is left, and so none is waited for: whoever holds it goes on.

        Args:
            connection: within a block that is guarded.
            changes: of one page, in the order of its keys.

        Returns:
            how many rows were exchanged; the others have changed meanwhile, or are changing now.

        Raises:
            SinkRejected: the table refuses a new value.
        """
        if not changes:
            return 0
        self._prepare(connection)
        rows = ((*change.key, *change.old, *change.new) for change in changes)
        self._writer.copy(connection, self._stage, rows, [Position(self.table.name, 0, 0)] * len(changes))
        first, last = self._literal(changes[0].key), self._literal(changes[-1].key)
        keys = _row(self._keys())
        within = sql.SQL("{} >= {} AND {} <= {}").format(keys, first, keys, last)
        done = connection.execute(self._statement(within))
        return done.rowcount

    def _prepare(self, connection: Connection) -> None:
        wanted: list[sql.Composable] = [sql.SQL("NULL::text AS {}").format(_at("k", i)) for i in range(len(self.key))]
        for i, name in enumerate(self.cells):
            kind = sql.SQL("bytea" if self._is_bytea(name) else "text")
            wanted.append(sql.SQL("NULL::{} AS {}").format(kind, _at("o", i)))
        for i, name in enumerate(self.cells):
            one = sql.SQL("NULL::text") if i in self._casts else sql.Identifier(name)
            wanted.append(sql.SQL("{} AS {}").format(one, _at("n", i)))
        connection.execute(
            sql.SQL(
                "CREATE TEMPORARY TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS SELECT {} FROM {} WITH NO DATA"
            ).format(self._stage, sql.SQL(", ").join(wanted), self.table.identifier)
        )
        # What the planner knows of the target may be old; a page is a small part of it in any case.
        # That word counts as an enormous cost, for which the server would compile the statement each time.
        connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL jit = off")

    def _statement(self, within: sql.Composable) -> sql.Composed:
        same = [sql.SQL("{} = {}").format(k, self._cast(_at("k", i, "s"), n)) for i, (k, n) in enumerate(self._pairs())]
        same += [
            sql.SQL("{} IS NOT DISTINCT FROM {}").format(self._read(name), _at("o", i, "s"))
            for i, name in enumerate(self.cells)
        ]
        new = [
            sql.SQL("{} = {}").format(
                sql.Identifier(name), self._cast(_at("n", i, "mine"), name) if i in self._casts else _at("n", i, "mine")
            )
            for i, name in enumerate(self.cells)
        ]
        taken = sql.SQL(", ").join(_at("n", i, "s") for i in range(len(self.cells)))
        return sql.SQL(
            "WITH mine AS MATERIALIZED (SELECT t.ctid AS place, t.tableoid AS part, {taken} FROM {table} AS t "
            "JOIN {stage} AS s ON {same} WHERE {within} FOR NO KEY UPDATE OF t SKIP LOCKED) "
            "UPDATE {table} AS t SET {new} FROM mine WHERE t.ctid = mine.place AND t.tableoid = mine.part"
        ).format(
            taken=taken,
            table=self.table.identifier,
            stage=self._stage,
            same=sql.SQL(" AND ").join(same),
            within=within,
            new=sql.SQL(", ").join(new),
        )

    def _pairs(self) -> list[tuple[sql.Composable, str]]:
        return list(zip(self._keys(), self.key, strict=True))

    def _keys(self) -> list[sql.Composable]:
        return [sql.SQL("t.{}").format(sql.Identifier(name)) for name in self.key]

    def _cast(self, value: sql.Composable, name: str) -> sql.Composed:
        # The type's name is the server's own. With its length: char(n) without it is one character.
        kind = sql.SQL(self.table.columns[name].declared)  # type: ignore[arg-type,unused-ignore]
        return sql.SQL("{}::{}").format(value, kind)

    def _literal(self, key: Key) -> sql.Composable:
        return _row([self._cast(sql.Literal(text), name) for text, name in zip(key, self.key, strict=True)])

    def _is_bytea(self, name: str) -> bool:
        return self.table.columns[name].type == "bytea"

    def _read(self, name: str) -> sql.Composable:
        """A column as it is read and compared: bytes, EQL and JSON as text."""
        column = self.table.columns[name]
        value = sql.SQL("t.{}").format(sql.Identifier(name))
        if name not in self.cells or column.type == "bytea":
            return value
        if column.kind == "c":
            return sql.SQL("({}).data::text").format(value)
        # EQL gives its domains operators of their own.
        return sql.SQL("{}::{}::text").format(value, sql.SQL(column.type))  # type: ignore[arg-type,unused-ignore]


def _options(table: Table, kinds: Mapping[str, ColumnType]) -> PostgresSinkOptions:
    eql = {n: "eql" for n, kind in kinds.items() if kind.encrypted is not None and table.columns[n].type != "bytea"}
    return PostgresSinkOptions.model_validate({"table": table.name, "columns": eql})


def _row(columns: Sequence[sql.Composable]) -> sql.Composed:
    # One column alone in brackets is that column.
    return sql.SQL("({})").format(sql.SQL(", ").join(columns))


def _at(letter: str, number: int, alias: str = "") -> sql.Composable:
    name = sql.Identifier(f"{letter}{number}")
    return sql.SQL("{}.{}").format(sql.Identifier(alias), name) if alias else name
