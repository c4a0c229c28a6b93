"""Where a declared field's values are within a record as its reader gets it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence

_STEP = re.compile(r"\[\]|\{\}|<[^>]*>|[^.\[\]{}<>]+")


def values_at(record: object, identity: str) -> Iterator[object]:
    """
    Yield every value of a field; one that is absent, because another branch was written, is none.

    Args:
        record: a decoded record.
        identity: `<record full name>/<path>` (docs/contracts.md, 1).
    """
    yield from _values(record, _STEP.findall(identity.partition("/")[2]))


def root_of(identity: str) -> str:
    """Return the name of the record's own field that a field is, or lies in."""
    return str(_STEP.findall(identity.partition("/")[2])[0])


def stored_at(value: object, identity: str) -> Iterator[object]:
    """
    Yield every value of a field in the column of its root, where what lies deeper is JSON, with bytes in base64.

    Args:
        value: as the database gives it.
        identity: as for `values_at`.
    """
    _, *steps = _STEP.findall(identity.partition("/")[2])
    if not steps:
        yield value
        return
    for found in _values(_of_json(value), steps):
        yield _of_base64(found)


def _of_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _of_base64(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        return value


def _values(value: object, steps: Sequence[str]) -> Iterator[object]:
    if not steps:
        yield value
        return
    step, rest = steps[0], steps[1:]
    if step == "[]":
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            for item in value:
                yield from _values(item, rest)
    elif step == "{}":
        if isinstance(value, Mapping):
            for item in value.values():
                yield from _values(item, rest)
    elif step.startswith("<"):
        # A reader gets a branch's value without its name.
        yield from _values(value, rest)
    elif isinstance(value, Mapping) and step in value:
        yield from _values(value[step], rest)
