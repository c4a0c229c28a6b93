"""Rows that are put together in native memory, where each column holds exactly what stands in the datum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from worker.column_names import column_name
from worker.model.rows import ColumnType, RowType
from worker.native import extension
from worker.native.batch import NativeOutput
from worker.sink.postgres import wire
from worker.sink.postgres.copy import Target
from worker.sink.postgres.fit import BYTEA, TEXT, Fit

if TYPE_CHECKING:
    from worker import _native

    Form = tuple[str, tuple[int, int, int, int, int] | None]

_BOOLEAN, _DOUBLE = 16, 701


def ready_rows(
    output: NativeOutput, row_type: RowType, own: Sequence[Target], beside: Sequence[Form | None]
) -> _native.Rows | None:
    """
    Return what puts the rows of a type together; None where a column takes more than a copy.

    Args:
        output: of that type.
        row_type: the type.
        own: the columns of its fields; fields without one are left out.
        beside: the forms of the coordinates, or of the key.
    """
    wanted = {target.name: target.fit for target in own}
    fields = []
    for kind in row_type.columns:
        put = wanted.pop(column_name(kind.name), None)
        how = form(kind, put) if put is not None else None
        if (put is not None and how is None) or kind.kind in ("array", "json"):
            return None
        fields.append((kind.branches or None, kind.kind, kind.size, kind.symbols, how))
    given = [each for each in beside if each is not None]
    if wanted or len(given) != len(beside) or not output.outputs:
        return None
    return extension.Rows(fields, given)


def form(kind: ColumnType, fit: Fit) -> Form | None:
    """Return what a column makes of a type's values, as the extension knows it; None for what only the twin can do."""
    if fit.cast:
        return None
    if fit.whole is not None:
        width, factor, offset, allowed = fit.whole
        return "whole", (width, factor, offset, allowed[0], allowed[-1])
    is_text, is_binary = kind.kind in ("string", "enum"), kind.kind in ("bytes", "fixed")
    if kind.kind == "boolean" and fit.native == _BOOLEAN:
        return "boolean", None
    if kind.kind in ("float", "double") and fit.native == _DOUBLE:
        return "double", None
    if kind.kind == "float" and fit.encode is wire.float4:
        return "float", None
    if is_text and fit.native == TEXT:
        return "text", None
    if kind.kind == "string" and fit.encode is wire.uuid:
        return "uuid", None
    if is_binary and (fit.native == BYTEA or fit.encode is bytes):
        return "bytes", None
    return None


def key_form(column_type: str, fit: Fit) -> Form | None:
    """Return what a key column makes of a key that is plain text."""
    if fit.cast:
        return None
    if fit.native == TEXT:
        return "text", None
    width = {"smallint": 2, "integer": 4, "bigint": 8}.get(column_type)
    if width is None:
        return None
    most = 1 << 8 * width - 1
    return "whole", (width, 1, 0, -most, most - 1)
