"""Rows as JSON, bytes as base64; for backups and the journal."""

from __future__ import annotations

import base64
from typing import Any

from sqlalchemy import LargeBinary, Table

from worker.authority import schema
from worker.authority.state import Changed, Row

TABLES = {str(table.name): table for table in schema.AUTHORISING}


def to_json(table: Table, row: Row) -> dict[str, Any]:
    """Return a row as JSON has it."""
    return {
        str(c.name): _encoded(row[c.name]) if isinstance(c.type, LargeBinary) else row[c.name] for c in table.columns
    }


def from_json(table: Table, body: dict[str, Any]) -> Row:
    """Read what `to_json` wrote; columns that came later are null in it."""
    body = {str(c.name): None for c in table.columns if (table.name, c.name) in schema.ADDED} | body
    return {
        str(c.name): _decoded(body[c.name]) if isinstance(c.type, LargeBinary) else body[c.name] for c in table.columns
    }


def change_to_json(change: Changed) -> list[Any]:
    """Return a change as table, key and row."""
    return [str(change.table.name), change.key, None if change.row is None else to_json(change.table, change.row)]


def change_from_json(body: list[Any]) -> Changed:
    """Read what `change_to_json` wrote."""
    table = TABLES[body[0]]
    key = tuple(body[1]) if isinstance(body[1], list) else body[1]
    return Changed(table, key, None if body[2] is None else from_json(table, body[2]))


def _encoded(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _decoded(value: str | None) -> bytes | None:
    return None if value is None else base64.b64decode(value)
