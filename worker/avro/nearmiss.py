"""Properties that look like a declaration and are none: a slip of the pen must not leave a value in the clear."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any

_WORDS = ("encrypt", "encrypted", "encryption")
# Two slips: `encripted`, `ecnrypted`, `encryptd`. Three would catch `description` and `entry`.
_SLIPS = 2
# Stands for a letter that looks like another one, such as a Cyrillic `е` in a word of ASCII.
_ANY = "?"
# What an object under one of these says is data or settled elsewhere, not a property of the schema.
_OPAQUE = frozenset({"default", "symbols", "doc", "aliases", "fields", "items", "values", "type", "encrypted"})


def near_misses(attributes: Mapping[str, Any], known: Collection[str]) -> Iterator[str]:
    """
    Yield the properties that resemble `encrypted`, those within objects (`connect.parameters`) by their way from here.

    Args:
        attributes: JSON attributes of a field, a type or a schema.
        known: names that stand for what they say here, and those that the operator ignores.
    """
    for name, value in attributes.items():
        if name not in known and resembles(name):
            yield name
        elif name == "logicalType" and name not in known and isinstance(value, str) and resembles(value):
            # Readers ignore a logical type that they don't know, and so would we.
            yield value
        elif name not in _OPAQUE and name not in known:
            yield from (f"{name}.{inner}" for inner in _within(value, known))


def _within(value: Any, known: Collection[str]) -> Iterator[str]:
    # A declaration has one place; within another property even the right word protects nothing.
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in known and name not in ("encrypted", "encryption"):
                continue
            if resembles(name):
                yield name
            else:
                yield from (f"{name}.{found}" for found in _within(inner, known))
    elif isinstance(value, list):
        for item in value:
            yield from _within(item, known)


@lru_cache(maxsize=4096)
def resembles(name: str) -> bool:
    """Whether a name is `encrypted` with affixes, in another case, form or look, or with up to two slips."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    letters = re.sub(r"[^a-z]", "", plain.lower())
    words = [letters, *_lookalikes(plain.lower()), *(w.lower() for w in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", plain))]
    if "encrypt" in letters or any(word.startswith("encr") for word in words):
        return True
    return any(_distance(w, word) <= _SLIPS for w in words for word in _WORDS)


def _lookalikes(name: str) -> list[str]:
    """Return the words that mix ASCII with another script, whose letters become `?`: nobody writes such words."""
    mixed = [word for word in re.split(r"[\W\d_]+", name) if not word.isascii() and re.search("[a-z]", word)]
    return ["".join(c if c.isascii() else _ANY for c in word) for word in mixed]


def _distance(a: str, b: str) -> int:
    """How many insertions, deletions, exchanges and swaps of neighbours lie between two words; up to `_SLIPS` + 1."""
    if abs(len(a) - len(b)) > _SLIPS:
        return _SLIPS + 1
    before, row = list[int](), list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, previous, row = row, before, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x not in (y, _ANY)))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, previous[j - 2] + 1)
            row.append(cost)
    return row[-1]
