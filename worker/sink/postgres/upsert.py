"""The last record a key, by temporary table."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from psycopg import sql

from worker.errors import ConfigError, SinkRejected
from worker.model import SinkRecord
from worker.sink.postgres.connection import Connection
from worker.sink.postgres.copy import Convert, by_fields, copy_rows, values
from worker.sink.postgres.table import Table


def upsert(
    connection: Connection,
    table: Table,
    key: tuple[str, ...],
    records: Sequence[SinkRecord],
    convert: Convert | None,
    *,
    again: bool = False,
) -> None:
    """
    Keep each key's last record of the batch: insert or update its row, or delete it for a tombstone.

    Args:
        connection: within the batch's transaction.
        table: the target.
        key: its key columns.
        records: in their order.
        convert: what becomes of a value.
        again: whether more may follow within the transaction, at whose end alone what is staged goes by itself.

    Raises:
        ConfigError: the topic's keys do not decode to the key columns.
        SinkRejected: a value does not fit; a broken constraint is raised by the server without its record.
    """
    last: dict[tuple[object, ...], SinkRecord] = {}
    for record in records:
        last[key_of(record, table, key)] = record
    gone = [(k, record) for k, record in last.items() if record.value is None]
    kept = [_keyed(record, dict(zip(key, k, strict=True))) for k, record in last.items() if record.value is not None]
    if gone:
        staged = _stage(connection, table, key)
        copy_rows(connection, staged, table, key, [k for k, _ in gone], [record.position for _, record in gone])
        _delete(connection, table, key, staged)
        _empty(connection, staged, again)
    for fields, group in by_fields(table, kept).items():
        staged = _stage(connection, table, fields)
        rows = (values(record, table, fields, convert) for record in group)
        copy_rows(connection, staged, table, fields, rows, [record.position for record in group])
        _merge(connection, table, key, fields, staged)
        _empty(connection, staged, again)


def key_of(record: SinkRecord, table: Table, key: tuple[str, ...]) -> tuple[object, ...]:
    """
    Return the values of the key columns: the decoded record key's, else a plain text key's.

    Never the row's own: a tombstone has none, and would not find what another key had written.

    Raises:
        ConfigError: no key of this topic can be decoded to the key columns.
        SinkRejected: this one can't.
    """
    if record.key_row is not None and all(name in record.key_row for name in key):
        return tuple(record.key_row[name] for name in key)
    if len(key) != 1 or record.key is None or record.key[:1] == b"\0":
        raise ConfigError(
            f"table {table.name}: a record's key does not decode to ({', '.join(key)}), so its row can't be found; "
            "use keys with these fields, or mode = append"
        )
    try:
        return (_plain_key(record.key, table.columns[key[0]].type),)
    except ValueError:
        raise SinkRejected(
            f"table {table.name}: a record's key is no text of a {table.columns[key[0]].type}",
            positions=[record.position],
        ) from None


def _keyed(record: SinkRecord, key: dict[str, object]) -> SinkRecord:
    """Return the record with a row whose key columns hold the record key."""
    row = record.row or {}
    if all(name in row and row[name] == value for name, value in key.items()):
        return record
    return replace(record, row={**row, **key})


def _plain_key(key: bytes, kind: str) -> object:
    """Read a key that is plain text, as a string serializer writes it; raises `ValueError` for any other."""
    if kind == "bytea":
        return key
    text = key.decode("utf-8")
    if kind in ("smallint", "integer", "bigint"):
        return int(text)
    return UUID(text) if kind == "uuid" else text


def _stage(connection: Connection, table: Table, columns: Sequence[str]) -> sql.Identifier:
    """Return an empty temporary table with these columns; made once a connection, emptied at every commit."""
    shape = "\0".join((table.name, *(f"{name}:{table.columns[name].type}" for name in columns)))
    staged = sql.Identifier("pg_temp", f"worker_{hashlib.sha256(shape.encode()).hexdigest()[:16]}")
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS SELECT {} FROM {} WITH NO DATA"
        ).format(staged, names, table.identifier)
    )
    return staged


def _empty(connection: Connection, staged: sql.Identifier, again: bool) -> None:
    if again:
        connection.execute(sql.SQL("DELETE FROM {}").format(staged))


def _delete(connection: Connection, table: Table, key: tuple[str, ...], staged: sql.Identifier) -> None:
    same = sql.SQL(" AND ").join(sql.SQL("t.{0} = s.{0}").format(sql.Identifier(name)) for name in key)
    connection.execute(sql.SQL("DELETE FROM {} AS t USING {} AS s WHERE {}").format(table.identifier, staged, same))


def _merge(
    connection: Connection, table: Table, key: tuple[str, ...], fields: Sequence[str], staged: sql.Identifier
) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, fields))
    changed = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(f)) for f in fields if f not in key]
    action = sql.SQL("DO UPDATE SET {}").format(sql.SQL(", ").join(changed)) if changed else sql.SQL("DO NOTHING")
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT ({}) {}").format(
            table.identifier, names, names, staged, sql.SQL(", ").join(map(sql.Identifier, key)), action
        )
    )
