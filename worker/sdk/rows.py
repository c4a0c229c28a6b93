"""Rows of a table as psycopg or SQLAlchemy return them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from worker.avro import open_schema
from worker.avro.projection import Projection, projection
from worker.encryption import BatchDecryptor, EncryptedRecord
from worker.encryption.anyform import parse
from worker.encryption.refusal import not_an_envelope
from worker.errors import ConfigError, KeyAccessDenied, RecordError
from worker.model import DecryptionKeys
from worker.sdk import checked
from worker.sdk import values as forms

Row = Any
"""A mapping, a SQLAlchemy `Row`, or a named tuple."""


@dataclass(frozen=True, slots=True)
class Table:
    """
    A table that the worker writes, as its rows are read.

    Args:
        schema: the output schema of what lies in it, JSON text.
        region: whose table it is, where `Regions` read it.

    Example:
        >>> customers = Table(output_schema(schema))
    """

    schema: str = field(repr=False)
    region: str | None = None

    def __post_init__(self) -> None:
        open_schema(str(checked.schema(self.schema))).refuse_clear()


def known(table: object) -> Table:
    """Return a table that was given as such, or as its output schema."""
    if isinstance(table, Table):
        return table
    if isinstance(table, str):
        return Table(table)
    raise ConfigError(f"table is a Table(output_schema), or the schema's text, not a {type(table).__name__}")


class Cursor(Protocol):
    """What psycopg's cursors and SQLAlchemy's results have in common."""

    def fetchmany(self, size: int = ..., /) -> Sequence[Any]:
        """Return the next rows, none at the end."""
        ...


def mapping_of(row: Row, names: Sequence[str] | None = None) -> Mapping[str, Any]:
    """Return a row by column; raises `ConfigError` for a bare tuple of unknown columns."""
    if isinstance(row, Mapping):
        return row
    found = getattr(row, "_mapping", None)
    if found is not None:
        return {str(name): value for name, value in found.items()}
    if hasattr(row, "_asdict"):
        by_name: Mapping[str, Any] = row._asdict()
        return by_name
    if names is not None and isinstance(row, Sequence) and len(row) == len(names):
        return dict(zip(names, row, strict=True))
    raise ConfigError(
        f"a row is a mapping, a SQLAlchemy Row or a named tuple, not a {type(row).__name__}: open the cursor "
        "with psycopg's row_factory=dict_row, or pass it to decrypt_cursor"
    )


def opened(
    rows: Sequence[Mapping[str, Any]], table: Table, keys: Sequence[bytes | None], source: DecryptionKeys
) -> list[dict[str, Any] | RecordError | KeyAccessDenied]:
    """Return rows in the clear, or why one did not open; columns that are no fields of the schema stay as they are."""
    out: list[Any] = [None] * len(rows)
    shapes: dict[tuple[str, ...], list[int]] = {}
    for i, row in enumerate(rows):
        shapes.setdefault(tuple(row), []).append(i)
    for names, at in shapes.items():
        shape = projection(table.schema, names)
        if not shape.encrypted:
            raise ConfigError(f"none of the columns {', '.join(names)} is encrypted in the table's schema")
        for i, found in zip(at, _opened([rows[i] for i in at], shape, [keys[i] for i in at], source), strict=True):
            out[i] = found
    return out


def _opened(
    rows: Sequence[Mapping[str, Any]], shape: Projection, keys: Sequence[bytes | None], source: DecryptionKeys
) -> Iterable[Any]:
    datums = [forms.attempt(shape.datum, row, envelope_of) for row in rows]
    good = [i for i, datum in enumerate(datums) if isinstance(datum, bytes)]
    found: list[Any] = list(datums)
    bare = [datum for datum in datums if isinstance(datum, bytes)]
    # Two uses of one type differ by their places in the whole schema, which the row's own lacks.
    restored = forms.restore(bare, shape.schema, [keys[i] for i in good], BatchDecryptor(source), plans=shape.plans)
    for i, record in zip(good, restored, strict=True):
        found[i] = record
        if isinstance(record, dict):
            found[i] = {**rows[i], **{shape.columns[name]: record[name] for name in shape.encrypted}}
    return found


def envelope_of(value: object) -> bytes:
    """Return the envelope that stands in a column: bytea, an EQL payload, or base64 within JSON."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str) and value[:1] != "{":
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            pass
    if isinstance(value, str | Mapping):
        found = parse(value)
        return found.to_msgpack() if isinstance(found, EncryptedRecord) else found.to_bytes()
    raise not_an_envelope(f"a {type(value).__name__}")


def batches(cursor: Cursor, size: int) -> Iterator[list[Mapping[str, Any]]]:
    """Yield a cursor's rows by column, some at a time."""
    while rows := cursor.fetchmany(size):
        yield named(cursor, rows)


def named(cursor: object, rows: Sequence[Row]) -> list[Mapping[str, Any]]:
    """Return rows of a cursor by column."""
    description = getattr(cursor, "description", None)
    names = None if description is None else [column[0] for column in description]
    return [mapping_of(row, names) for row in rows]
