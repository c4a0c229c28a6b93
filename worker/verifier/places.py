"""Where a declared field's values are within a record as its reader gets it."""

from __future__ import annotations

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
