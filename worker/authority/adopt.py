"""Moves a store's secrets from one key to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Table, select, update

from worker.authority import schema
from worker.authority.seal import Sealer
from worker.authority.state import key_of, where_key

_SEALED: tuple[tuple[Table, str, Callable[[Any], str]], ...] = (
    (schema.signing_keys, "sealed", lambda r: f"signing/{r['kid']}"),
    (schema.keysets, "secrets", lambda r: f"keyset/{r['id']}"),
    (schema.keysets, "root_share", lambda r: f"root/{r['id']}"),
    (schema.clients, "relation", lambda r: f"relation/{r['id']}"),
    (schema.grants, "share", lambda r: f"grant/{r['client']}/{r['keyset']}"),
)
"""Every column that the store's sealer seals, and what its value is called; `escrow` is under another key."""


def reseal(connection: Connection, old: Sealer, new: Sealer) -> None:
    """Seal every secret anew; raises `ConfigError` where one does not open."""
    for table, column, what in _SEALED:
        for found in connection.execute(select(table)).all():
            row = dict(found._mapping)
            name = what(row)
            sealed = new.seal(old.open(row[column], what=name), what=name)
            connection.execute(update(table).where(where_key(table, key_of(table, row))).values({column: sealed}))
