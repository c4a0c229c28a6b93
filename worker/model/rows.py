"""Rows for tables: the values of a record's fields in Avro's base forms, and what types they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

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
        branches: of a union of null and one other: which of its branches are null.
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
    branches: tuple[bool, ...] = ()


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


class RowSchema(Protocol):
    """What reads a schema's datums as rows."""

    @property
    def row_type(self) -> RowType:
        """The columns; raises `ConfigError` where no table has columns for them."""
        ...

    def rows(
        self, outputs: Sequence[bytes], start: int = 0, terms: Mapping[bytes, Mapping[str, object]] | None = None
    ) -> list[Row]:
        """Datums behind a frame of `start` bytes as rows, with search terms by envelope."""
        ...


@dataclass(frozen=True, slots=True)
class RowSource:
    """
    Reads one part of an output as a table's rows.

    Args:
        schema: the part's.
        start: where in each value the datum begins, behind its frame.
        terms: search terms by envelope.
    """

    schema: RowSchema
    start: int
    terms: Mapping[bytes, Mapping[str, object]] = field(default_factory=dict, repr=False)

    def __call__(self, values: Sequence[bytes]) -> Sequence[Row]:
        """Return the rows of some values."""
        return self.schema.rows(values, self.start, self.terms)
