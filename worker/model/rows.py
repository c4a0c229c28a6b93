"""Rows for tables: the values of a record's fields in Avro's base forms, and what types they are of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from worker.model.plan import Format


@dataclass(frozen=True, slots=True)
class ColumnType:
    """
    The Avro type of one field, as a table needs to know it.

    Args:
        name: the field's.
        kind: the base type's word; `array` where the items are scalars; `json` for all that only JSON holds.
        logical: the logical type where it counts, else empty.
        precision: of a decimal; likewise `scale`.
        size: of a fixed, in bytes.
        symbols: of an enum.
        items: of an array.
        encrypted: the format of the envelope that stands here.
        index: the search terms declared for it.
        nullable: whether a record may have null here.
    """

    name: str
    kind: str
    logical: str = ""
    precision: int = 0
    scale: int = 0
    size: int = 0
    symbols: tuple[str, ...] = ()
    items: ColumnType | None = None
    encrypted: Format | None = None
    index: tuple[str, ...] = ()
    nullable: bool = False


class Indexed(NamedTuple):
    """An envelope in a row, and the search terms of its value (`hm`, `bf`)."""

    envelope: bytes
    terms: Mapping[str, object]

    def __repr__(self) -> str:
        return f"Indexed by {', '.join(self.terms)}"


@dataclass(frozen=True, slots=True, eq=False)
class RowType:
    """The columns of one schema's rows; one object a schema, so that rows are told apart by it."""

    columns: tuple[ColumnType, ...]


class Row(NamedTuple):
    """
    One record's values, aligned with its type's columns.

    A scalar is its Avro base value: whole numbers for dates, times and timestamps, bytes for decimals, text for uuids.
    A value of kind `json` is as the SDK would give it.
    """

    type: RowType
    values: tuple[object, ...]

    def __repr__(self) -> str:
        return f"Row of {len(self.values)} columns"
