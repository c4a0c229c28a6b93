"""The last record a key, by temporary table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from psycopg import sql

from worker.errors import SinkRejected
from worker.model import Position, SinkRecord
from worker.sink.postgres.connection import Connection
from worker.sink.postgres.copy import RowWriter, Target
from worker.sink.postgres.fit import BYTEA, Fit
from worker.sink.postgres.stage import stage
from worker.sink.postgres.table import Column, Table
from worker.sink.postgres.wire import int4

Key = tuple[bytes, ...]
# Values of these are equal exactly where their binary forms are. Of others the server is asked: char ignores blanks at
# the end, citext and many collations ignore case, 1.0 is 1.00, a month is 30 days.
_EXACT = frozenset(
    {
        "boolean", "smallint", "integer", "bigint", "text", "character varying", "bytea", "uuid", "date",
        "time without time zone", "timestamp without time zone", "timestamp with time zone",
    }
)  # fmt: skip
_NUMBER = "worker_number"


@dataclass(slots=True)
class Keyed:
    """A record, its key in the key columns' binary forms, and its other columns' writer and values."""

    key: Key
    record: SinkRecord
    writer: RowWriter | None
    values: tuple[object, ...] = ()

    @property
    def position(self) -> Position:
        """Its place in the source."""
        return self.record.position


def encode_key(table: Table, targets: Sequence[Target], values: Sequence[object], position: Position) -> Key:
    """
    Return a key's values in the key columns' binary forms.

    Raises:
        SinkRejected: one is null, or is none that its column can hold.
    """
    key = []
    for target, value in zip(targets, values, strict=True):
        if value is None:
            raise SinkRejected(f"table {table.name}: key column {target.name} is null", positions=[position])
        try:
            key.append(bytes(target.fit.encode(value)))
        except Exception as exc:
            # Each encoder has its own errors; none of them may be shown, since they quote.
            why = target.fit.remark or type(exc).__name__
            raise SinkRejected(
                f"table {table.name}: key column {target.name} takes no {why}", positions=[position]
            ) from None
    return tuple(key)


class Upsert:
    """
    Each key's last record of a batch: its row is inserted or updated, or, for a tombstone, deleted.

    Which keys are one is the database's to say. What is to go is deleted before the other rows come, which may need
    its place in another unique index.

    Args:
        connection: within the batch's transaction.
        table: where the rows go.
        keys: the key columns.
        records: a batch's, in its order.

    Raises:
        SinkRejected: a value does not fit; a broken constraint is raised by the server without its record.
    """

    def __init__(self, connection: Connection, table: Table, keys: Sequence[Target], records: Sequence[Keyed]) -> None:
        last: dict[Key, Keyed] = {}
        for record in records:
            # In the order of what is kept: a value of another unique index is let go before somebody else takes it.
            last.pop(record.key, None)
            last[record.key] = record
        found = list(last.values())
        if not all(is_exact(table.columns[target.name]) for target in keys):
            # Of what the server calls equal, the last one counts.
            found = _distinct(connection, table, keys, found)
        self._table, self._raw = table, [raw_key(target) for target in keys]
        self._gone = [record for record in found if record.writer is None]
        self._groups: dict[RowWriter, list[Keyed]] = {}
        for record in found:
            if record.writer is not None:
                self._groups.setdefault(record.writer, []).append(record)

    @property
    def deletes(self) -> bool:
        """Whether there are rows to delete."""
        return bool(self._gone)

    def delete(self, connection: Connection) -> None:
        """Delete the tombstones' rows; raises as the class does."""
        _delete(connection, RowWriter(self._table, self._raw), self._gone)

    def merge(self, connection: Connection) -> None:
        """Insert or update the others'; raises as the class does."""
        for rest, group in self._groups.items():
            writer = RowWriter(self._table, [*self._raw, *rest.targets])
            merge(connection, writer, len(self._raw), partial(_copy, connection, writer, group))


def raw_key(target: Target) -> Target:
    """A key column that takes its binary form as it is."""
    return Target(target.name, Fit(bytes, BYTEA, cast=target.fit.cast))


def is_exact(column: Column) -> bool:
    """Whether the database calls two values of a column equal only where their binary forms are."""
    return column.kind == "e" or (column.type in _EXACT and column.deterministic)


def _distinct(connection: Connection, table: Table, keys: Sequence[Target], records: list[Keyed]) -> list[Keyed]:
    """Of records in the batch's order, those that are the last of what the server calls one key."""
    names = [target.name for target in keys]
    raw = [raw_key(target) for target in keys]
    writer = RowWriter(table, [*raw, Target(_NUMBER, Fit(int4, 23))])
    staged = stage(connection, table, names, casts=writer.casts, purpose="keys", numbered=_NUMBER)
    rows = ((*record.key, i) for i, record in enumerate(records))
    writer.copy(connection, staged.name, rows, [record.position for record in records])
    by = sql.SQL(", ").join(map(staged.read, names))
    number = sql.Identifier(_NUMBER)
    kept = connection.execute(
        sql.SQL("SELECT DISTINCT ON ({}) {} FROM {} ORDER BY {}, {} DESC").format(by, number, staged.name, by, number)
    ).fetchall()
    return [records[i] for i in sorted(row[0] for row in kept)]


def _delete(connection: Connection, writer: RowWriter, gone: Sequence[Keyed]) -> None:
    staged = stage(connection, writer.table, writer.names, casts=writer.casts, purpose="gone")
    writer.copy(connection, staged.name, (record.key for record in gone), [record.position for record in gone])
    read = {name: sql.SQL("{}").format(staged.read(name)) for name in writer.names}
    chosen = sql.SQL(", ").join(sql.SQL("{} AS {}").format(read[n], sql.Identifier(n)) for n in writer.names)
    same = sql.SQL(" AND ").join(sql.SQL("t.{0} = s.{0}").format(sql.Identifier(name)) for name in writer.names)
    connection.execute(
        sql.SQL("DELETE FROM {} AS t USING (SELECT {} FROM {}) AS s WHERE {}").format(
            writer.table.identifier, chosen, staged.name, same
        )
    )


def _copy(connection: Connection, writer: RowWriter, group: Sequence[Keyed], into: sql.Composable) -> None:
    rows = ((*record.key, *record.values) for record in group)
    writer.copy(connection, into, rows, [record.position for record in group])


def merge(connection: Connection, writer: RowWriter, key_count: int, copy: Callable[[sql.Composable], None]) -> None:
    """
    Insert rows of distinct keys, or update those that are there.

    Args:
        connection: within the batch's transaction.
        writer: of the rows; the key's columns come first.
        key_count: how many those are.
        copy: fills the temporary table that it is given.
    """
    staged = stage(connection, writer.table, writer.names, casts=writer.casts, purpose="rows")
    copy(staged.name)
    keys, others = writer.names[:key_count], writer.names[key_count:]
    changed = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in others]
    action = sql.SQL("DO UPDATE SET {}").format(sql.SQL(", ").join(changed)) if changed else sql.SQL("DO NOTHING")
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT ({}) {}").format(
            writer.table.identifier,
            sql.SQL(", ").join(map(sql.Identifier, writer.names)),
            sql.SQL(", ").join(map(staged.read, writer.names)),
            staged.name,
            sql.SQL(", ").join(map(sql.Identifier, keys)),
            action,
        )
    )
