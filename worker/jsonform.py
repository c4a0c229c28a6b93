"""Values as JSON without loss: what JSON has no type for becomes text that says exactly the same."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, MutableMapping
from datetime import date, time
from types import NoneType

import orjson

from worker.model.values import BaseValue

_AS_IT_IS = frozenset({str, int, bool, NoneType})
_NOT_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}


def dumps(value: object, *, newline: bool = False) -> bytes:
    """
    Return a value as JSON.

    Bytes become base64; decimals, dates, times and uuids their text; NaN and the infinities `"NaN"`, `"Infinity"` and
    `"-Infinity"`, which PostgreSQL's casts read as the numbers they are.

    Args:
        value: of Avro types, nested at will.
        newline: end with one.
    """
    return written(plain(value), newline=newline)


def written(value: object, *, newline: bool = False) -> bytes:
    """Return what `plain` returned as JSON; see `dumps`."""
    # orjson drops a zero of a time's fraction: 22 ms would read as 220.
    option = orjson.OPT_PASSTHROUGH_DATETIME | (orjson.OPT_APPEND_NEWLINE if newline else 0)
    return orjson.dumps(value, default=_as_text, option=option)


def marked(line: Mapping[str, object]) -> dict[str, object]:
    """Return a line whose `value` is `plain`, with `base_values` behind it where it has marks; the rest is plain."""
    marks: dict[str, str] = {}
    # What stands beside a value is plain: coordinates, and what is wrong.
    told = {**line, "value": plain(line["value"], "", marks)} if "value" in line else dict(line)
    return {**told, "base_values": marks} if marks else told


def plain(value: object, path: str = "", marks: MutableMapping[str, str] | None = None) -> object:
    """
    Return a value whose floats are all finite.

    Args:
        value: as for `dumps`.
        path: where it stands.
        marks: filled with the path of each value that is its base value, and the logical type that does not read it.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else _NOT_FINITE.get(value, "NaN")
    if isinstance(value, dict):
        return {
            str(k): v if type(v) in _AS_IT_IS else plain(v, f"{path}.{k}" if path else str(k), marks)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [v if type(v) in _AS_IT_IS else plain(v, f"{path}[{i}]", marks) for i, v in enumerate(value)]
    if marks is not None and isinstance(value, BaseValue):
        marks[path] = value.logical_type
    return value


def _as_text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode("ascii")
    return value.isoformat() if isinstance(value, date | time) else str(value)
