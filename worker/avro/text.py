"""Avro binary as JSON, in native memory; the twin is `worker.jsonform` over the values as Python's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from worker import jsonform
from worker.avro.decode import decode_values
from worker.avro.native import json_writer
from worker.avro.schema import parse
from worker.errors import DecodeError
from worker.native import extension

if TYPE_CHECKING:
    from worker import _native

Columns = list[tuple[Sequence[int] | None, "_native.JsonColumn"]]
"""Texts, each column with their places; None where these are all. A hole leaves its place to the next column."""


def json_texts(schema: str, several: Sequence[bytes | None]) -> tuple[Columns, dict[int, DecodeError]]:
    """
    Return what a line says of each value, `"value"` and where it has some `"base_values"`, as `jsonform.marked` does.

    Args:
        schema: of the values.
        several: bare Avro values; None where there is nothing to say.

    Returns:
        The texts, and by its place why there is none of a value that is not as the schema says.
    """
    column, refused = _writer(schema).write(several, b'"value":')
    columns: Columns = [(None, column)]
    told: dict[int, bytes] = {}
    errors: dict[int, DecodeError] = {}
    for i, value in zip(refused, decode_values(schema, [several[i] for i in refused]), strict=True):
        if isinstance(value, DecodeError):
            errors[i] = value
        else:
            told[i] = text_of({"value": value})
    if told:
        columns.append((list(told), extension.JsonColumn(list(told.values()))))
    return columns, errors


def text_of(line: dict[str, object]) -> bytes:
    """Return some of a line, without the braces around it."""
    return jsonform.written(jsonform.marked(line))[1:-1]


@lru_cache(maxsize=256)
def _writer(schema: str) -> _native.JsonWriter:
    return json_writer(parse(schema))
