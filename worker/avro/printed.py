"""Values as JSON prints them (`worker.jsonform`), read back by their Avro type."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any
from uuid import UUID

from worker.avro.encode import told, unfit, within
from worker.avro.logical import logical, logical_values
from worker.avro.schema import Node, parse
from worker.errors import RecordError
from worker.model.values import BaseValue

_NOT_FINITE = {"NaN", "Infinity", "-Infinity"}


def value_of_text(schema: str, text: str) -> object:
    """
    Return the value that a text of JSON says, as `encode_value` takes it.

    Bytes are base64; decimals numbers or text; dates, times and uuids the text that `jsonform` writes, or their base
    value where that has no reading. A value of a union that several branches read is named as `{"branch": value}`.

    Raises:
        RecordError: it is no JSON, or none of the type; the message says where and what is wanted, never the value.
    """
    try:
        value = json.loads(text, parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        raise RecordError("it is no JSON, or has a key twice") from None
    with told():
        return _read(parse(schema), value)


def _no_constant(word: str) -> object:
    raise ValueError(word)


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _read(node: Node, value: Any) -> object:
    word = logical(node)
    if word and logical_values(node) is not None:
        return _logical(node, word, value)
    if node.kind == "record":
        return _record(node, value)
    if node.kind == "array":
        if not isinstance(value, list):
            raise unfit("an array is a list")
        return [within("[]", partial(_read, node.inner[0]), each) for each in value]
    if node.kind == "map":
        if not isinstance(value, dict):
            raise unfit("a map is an object")
        return {key: within("{}", partial(_read, node.inner[0]), each) for key, each in value.items()}
    return _union(node.inner, value) if node.kind == "union" else _plain(node, value)


def _record(node: Node, value: object) -> object:
    if not isinstance(value, dict) or value.keys() != {each.name for each in node.fields}:
        raise unfit(f"a record is an object of {', '.join(each.name for each in node.fields)}")
    return {each.name: within(each.name, partial(_read, each.node), value[each.name]) for each in node.fields}


def _plain(node: Node, value: Any) -> object:
    kind = node.kind
    if kind in ("bytes", "fixed"):
        return _bytes(value)
    if kind in ("float", "double"):
        if type(value) in (int, Decimal) or value in _NOT_FINITE:
            return float(value)
        raise unfit(f'a {kind} is a number, "NaN", "Infinity" or "-Infinity"')
    wanted, what = {
        "null": (type(None), "null"),
        "boolean": (bool, "true or false"),
        "int": (int, "a whole number"),
        "long": (int, "a whole number"),
    }.get(kind, (str, "text"))
    if type(value) is not wanted:
        raise unfit(f"a value of type {kind} is {what}")
    if kind == "enum" and value not in node.attributes["symbols"]:
        raise unfit("the text is no symbol of the enum")
    return value


def _bytes(value: object) -> bytes:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else _no_bytes()
    except (binascii.Error, ValueError):
        return _no_bytes()


def _no_bytes() -> bytes:
    raise unfit("bytes are text in base64")


def _logical(node: Node, word: str, value: object) -> object:
    try:
        return _reading(word, value)
    except (ValueError, InvalidOperation):
        pass
    # What has no reading is printed as its base value.
    found = logical_values(node)
    assert found is not None
    try:
        read = found.read(_plain(node, value))
    except RecordError:
        read = None
    if not isinstance(read, BaseValue):
        raise unfit(f"a {word} is {_WANTED.get(word, 'a decimal number')}")
    return read


def _reading(word: str, value: object) -> object:
    """A value of a logical type; `ValueError` where it is none, `InvalidOperation` of a decimal."""
    if word in ("decimal", "big-decimal"):
        return _decimal(value)
    if not isinstance(value, str):
        raise ValueError
    if word == "uuid":
        found = UUID(value)
        if str(found) != value:
            raise ValueError
        return found
    if word == "date":
        return date.fromisoformat(value)
    return time.fromisoformat(value) if word.startswith("time-") else datetime.fromisoformat(value)


def _decimal(value: object) -> Decimal:
    if type(value) not in (int, str, Decimal):
        raise ValueError
    number = Decimal(value)  # type: ignore[arg-type]
    if not number.is_finite():
        raise ValueError
    return number


_WANTED = {
    "uuid": "text as 8f0f7c3c-2f0b-4c7a-9d4e-3a5b6c7d8e9f",
    "date": "text as 2026-11-26",
    **dict.fromkeys(("time-millis", "time-micros"), "text as 10:30:00.5"),
    **dict.fromkeys(("timestamp-millis", "timestamp-micros"), "text as 2026-11-26T10:30:00+00:00"),
    **dict.fromkeys(("local-timestamp-millis", "local-timestamp-micros"), "text as 2026-11-26T10:30:00"),
}


def _union(branches: list[Node], value: object) -> object:
    named = {branch.branch: branch for branch in branches}
    found: list[tuple[str, object]] = []
    refusal = None
    for name, branch in named.items():
        try:
            found.append((name, _read(branch, value)))
        except RecordError as exc:
            refusal = exc if name != "null" else refusal
    if isinstance(value, Mapping) and len(value) == 1 and (name := next(iter(value))) in named:
        found.append((name, _read(named[name], value[name])))
    if not found:
        alone = refusal if len(named) <= 2 else None
        raise alone or unfit("the value is of no branch of the union")
    if len(found) == 1:
        return found[0]
    # Whole numbers go into the first branch that holds them, as in a program.
    if all(type(each) in (int, float) for _, each in found):
        return value if isinstance(value, int) else found[0]
    fits = ", ".join(name for name, _ in found)
    raise unfit(
        f'the value is of several branches of the union: name the one that is meant, as {{"{found[0][0]}": value}}; '
        f"it fits {fits}"
    )
