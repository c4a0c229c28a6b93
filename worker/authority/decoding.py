"""Bytes of a request into JSON and ivs; whatever is malformed is a 400 without its value."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import math
import re
from typing import Any

import orjson
from pydantic import JsonValue, ValidationError

from worker.authority.refusal import Refusal

_DEPTH = 16
_INTEGER = 1 << 63
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse(data: bytes) -> Any:
    """Read JSON in UTF-8; raises a 400 for repeated names, half characters, deep nesting and anything malformed."""
    with contextlib.suppress(orjson.JSONDecodeError, TypeError):
        # What is written again as it was read lost nothing: it has no repeated name, nor a number that was rounded.
        value = orjson.loads(data)
        if orjson.dumps(value) == data:
            return value
    try:
        # As text: of bytes the module takes UTF-16 too, and half characters as they are.
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_constant, parse_float=_finite)
        if _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise no_json() from None
    return value


def no_json() -> Refusal:
    """Return what is said of bytes that are no JSON."""
    return Refusal(400, "the body is not JSON, or an object in it repeats a name")


def not_valid(exc: ValidationError, *where: str | int) -> Refusal:
    """Return what is said of a body that is not what its model says: where, and never what stands there."""
    found = exc.errors(include_input=False, include_url=False)
    texts = {
        f"{'.'.join(map(str, (*where, *e['loc'])))}: {e['msg'] if e['type'].endswith('_is_gone') else e['type']}"
        for e in found
    }
    return Refusal(400, "the body is not valid: " + "; ".join(sorted(texts)[:5]))


def check_free(value: JsonValue, depth: int = 0) -> None:
    """Raise a 400 where a free object nests deeper than 16 or holds an integer of more than 64 bits."""
    if depth > _DEPTH:
        raise Refusal(400, "unverified_context is nested too deeply")
    if isinstance(value, int) and not -_INTEGER <= value < _INTEGER:
        raise Refusal(400, "unverified_context holds an integer of more than 64 bits")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        check_free(each, depth + 1)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("repeated name")
    return made


def _constant(_text: str) -> float:
    raise ValueError("not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number beyond what a double holds")
    return number


def decode_iv(text: str) -> bytes:
    """Return the 16 bytes of an iv; raises a 400 for anything else."""
    try:
        iv = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(400, "iv is not base64") from None
    if len(iv) != 16:
        raise Refusal(400, f"iv is {len(iv)} bytes, not 16")
    return iv
