"""Looks for plaintexts in whatever a run wrote: raw, hex, base64 at any alignment, UTF-16."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SHORTEST = 8
"""A shorter plaintext is found by chance in random bytes, so it is no evidence."""


@dataclass(frozen=True, slots=True)
class Leak:
    """One plaintext found where none may be."""

    place: str
    form: str
    needle: bytes


def forms(plaintext: str) -> dict[str, bytes]:
    """Every form in which a plaintext is looked for; base64 leaves out the characters that neighbours decide."""
    raw = plaintext.encode()
    found = {
        "raw": raw,
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "utf-16-le": plaintext.encode("utf-16-le"),
        "utf-16-be": plaintext.encode("utf-16-be"),
    }
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)
        first = (0, 2, 3)[shift]
        last = len(encoded) - (0, 4, 4)[(shift + len(raw)) % 3]
        found[f"base64+{shift}"] = encoded[first:last]
    return found


def scan(plaintexts: Iterable[str], places: Mapping[str, bytes]) -> list[Leak]:
    """Return every plaintext found in `places`, a name and the bytes that were written there."""
    needles = [(form, needle) for text in plaintexts if len(text) >= SHORTEST for form, needle in forms(text).items()]
    assert needles, "no plaintext is long enough to be evidence"
    return [
        Leak(place, form, needle) for place, content in places.items() for form, needle in needles if needle in content
    ]
