"""What can be told of a table before the first row: what can't work is refused, what can't be told is said."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from worker.errors import ConfigError
from worker.model.rows import ColumnType, RowType
from worker.sink.postgres.connection import Connection
from worker.sink.postgres.copy import Target
from worker.sink.postgres.options import PostgresSinkOptions
from worker.sink.postgres.schema import COORDINATE_TYPES, fields_of, key_fields, key_targets, row_targets
from worker.sink.postgres.table import COORDINATES, Table
from worker.sink.postgres.untold import locked_sequences, rules, unpublished, untold
from worker.sink.postgres.width import refuse_width

_WRITABLE = ("table", "partitioned table")
_OWN_RIGHTS = {"worker.residency": "SELECT", "worker.offsets": "SELECT INSERT UPDATE", "worker.ledger": "SELECT INSERT"}


def refuse_table(connection: Connection, table: Table, options: PostgresSinkOptions) -> None:
    """
    Refuse a table that can take no row of the route, whatever the schema.

    Raises:
        ConfigError: it is no table, its rows are secured, it lacks coordinates or a key, or the role a right.
    """
    name = table.name
    if table.kind not in _WRITABLE:
        raise ConfigError(f"{name} is a {table.kind}; rows are copied into tables")
    secured = connection.execute("SELECT row_security_active(%s::oid)", [table.oid]).fetchone()
    if secured is not None and secured[0]:
        raise ConfigError(
            f"table {name}: COPY takes no row-level security; exempt the role (BYPASSRLS), or use another table"
        )
    if options.mode == "append" and (missing := [c for c in COORDINATES if c not in table.columns]):
        raise ConfigError(f"table {name} lacks {', '.join(missing)}; worker check --create adds them")
    if options.mode == "upsert":
        _refuse_key(table, options)
        _refuse_unpublished(connection, table)
    _refuse_rights(connection, table, options)


def remarks(
    connection: Connection,
    table: Table,
    row_type: RowType,
    options: PostgresSinkOptions,
    key_type: RowType | None,
) -> list[str]:
    """
    Return which records of a schema a table may refuse one by one, and what of it can't be told.

    Raises:
        ConfigError: it can take none of them: a column is missing, or of a type that no value fits.
    """
    targets = row_targets(table, row_type, options)
    keys = key_targets(table, key_type, options) if options.mode == "upsert" else []
    kinds = fields_of(row_type, options) | key_fields(key_type, options)
    filled = {t.name for t in (*keys, *targets)}
    refuse_unfilled(table, filled)
    _refuse_columns(connection, table, [*targets, *keys], options)
    _refuse_sequences(connection, table, filled)
    _refuse_rules(connection, table, [*targets, *keys], options)
    own = COORDINATES if options.mode == "append" else ()
    found = [f"{t.name}: {t.fit.remark}" for t in (*keys, *targets) if t.fit.remark and t.name not in own]
    found += list(_nulls(table, kinds, options))
    own_kinds = {kind.name: kind for kind in COORDINATE_TYPES} if own else {}
    found += refuse_width(connection, table, kinds | own_kinds)
    found += [
        f"{c.name}: what the domain {c.declared} refuses (not told)"
        for c in table.columns.values()
        if c.checked and not c.unwritable
    ]
    key = options.key if options.mode == "upsert" else ("_topic", "_partition", "_offset")
    return found + untold(connection, table, key)


def refuse_own_rights(connection: Connection, *, ledger: bool) -> None:
    """Raise `ConfigError` where the role lacks a right on the worker's own tables."""
    if not _has(connection, "has_schema_privilege('worker', %s)", "USAGE"):
        raise ConfigError("the role lacks USAGE on schema worker; GRANT it")
    for name, rights in _OWN_RIGHTS.items():
        if ledger or name != "worker.ledger":
            asked = "has_table_privilege(%s, %s)"
            if missing := [right for right in rights.split() if not _has(connection, asked, name, right)]:
                raise ConfigError(f"table {name}: the role lacks {', '.join(missing)}; GRANT it")


def _refuse_key(table: Table, options: PostgresSinkOptions) -> None:
    wanted = tuple(sorted(options.key))
    indexes = [unique for unique in table.unique if unique.columns == wanted]
    if any(not unique.unfit for unique in indexes):
        return
    columns = ", ".join(options.key)
    if not indexes:
        raise ConfigError(f"table {table.name} has no unique index on exactly ({columns})")
    raise ConfigError(
        f"table {table.name}: the unique index on ({columns}) is {indexes[0].unfit}, so no upsert can use it"
    )


def _refuse_rights(connection: Connection, table: Table, options: PostgresSinkOptions) -> None:
    # INSERT, SELECT and UPDATE may be given by column; which ones are filled is known with the schema.
    wanted = ["DELETE"] if options.mode == "upsert" else []
    missing = [r for r in wanted if not _has(connection, "has_table_privilege(%s::oid, %s)", table.oid, r)]
    some = ["INSERT"] if options.mode == "append" else ["INSERT", "UPDATE", "SELECT"]
    missing += [r for r in some if not _has(connection, "has_any_column_privilege(%s::oid, %s)", table.oid, r)]
    if missing:
        raise ConfigError(f"table {table.name}: the role lacks {', '.join(missing)}; GRANT it")
    usage = "has_schema_privilege((SELECT relnamespace FROM pg_class WHERE oid = %s), %s)"
    if not _has(connection, usage, table.oid, "USAGE"):
        raise ConfigError(f"table {table.name}: the role lacks USAGE on its schema; GRANT it")
    if options.mode == "upsert" and not _has(connection, "has_database_privilege(current_database(), %s)", "TEMPORARY"):
        raise ConfigError(f"table {table.name}: the role lacks TEMPORARY on the database, which upsert needs; GRANT it")


def _refuse_columns(
    connection: Connection, table: Table, targets: Sequence[Target], options: PostgresSinkOptions
) -> None:
    rights = {"INSERT": [t.name for t in targets]}
    if options.mode == "upsert":
        # The columns that an upsert reads: those it compares, and those it takes its types from.
        rights |= {
            "SELECT": [t.name for t in targets],
            "UPDATE": [t.name for t in targets if t.name not in options.key],
        }
    casts = [t.name for t in targets if t.fit.cast]
    if casts and not _has(connection, "has_database_privilege(current_database(), %s)", "TEMPORARY"):
        raise ConfigError(
            f"table {table.name}: the role lacks TEMPORARY on the database, which {casts[0]} needs; GRANT it"
        )
    if casts:
        rights["SELECT"] = [t.name for t in targets]
    for right, names in rights.items():
        asked = "has_column_privilege(%s::oid, %s, %s)"
        if missing := [n for n in names if not _has(connection, asked, table.oid, n, right)]:
            raise ConfigError(f"table {table.name}: the role lacks {right} on {', '.join(missing)}; GRANT it")


def _has(connection: Connection, asked: str, *values: object) -> bool:
    row = connection.execute(f"SELECT {asked}".encode(), values).fetchone()
    return row is not None and bool(row[0])


def refuse_unfilled(table: Table, filled: Collection[str]) -> None:
    """Raise `ConfigError` where a column must not be null and nothing fills it: the table can take no row."""
    unfilled = [
        c.name for c in table.columns.values() if c.required and not (c.filled or c.unwritable or c.name in filled)
    ]
    if unfilled:
        raise ConfigError(f"table {table.name}: {', '.join(unfilled)} must not be null, but no field fills it")


def _refuse_sequences(connection: Connection, table: Table, filled: Collection[str]) -> None:
    for column, sequence in locked_sequences(connection, table, filled):
        raise ConfigError(
            f"table {table.name}: {column} is filled from sequence {sequence}, and the role lacks USAGE on it; GRANT it"
        )


def _refuse_rules(
    connection: Connection, table: Table, targets: Sequence[Target], options: PostgresSinkOptions
) -> None:
    """COPY runs no rule; what goes in by INSERT is turned into something else by one, and ON CONFLICT takes none."""
    if options.mode == "append" and not any(t.fit.cast for t in targets):
        return
    if found := rules(connection, table):
        raise ConfigError(
            f"table {table.name} has the rule {', '.join(found)} on INSERT or UPDATE, which changes what is written; "
            "drop it, or use a trigger"
        )


def _refuse_unpublished(connection: Connection, table: Table) -> None:
    found = unpublished(connection, table)
    if found is not None:
        raise ConfigError(
            f"table {found[0]} is published by {found[1]} and has no replica identity, so that PostgreSQL refuses "
            "updates and deletes; give it a primary key, or ALTER TABLE ... REPLICA IDENTITY"
        )


def _nulls(table: Table, kinds: dict[str, ColumnType], options: PostgresSinkOptions) -> Iterator[str]:
    for name, kind in kinds.items():
        column = table.columns[name]
        if not column.required or name in options.key:
            continue
        if kind.nullable:
            yield f"{name}: null"
        elif options.mode == "append":
            yield f"{name}: the null of a tombstone"
