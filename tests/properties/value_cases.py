"""
Hypothesis strategies: every logical type on every base, rightly and wrongly described, with values at and beyond edges.

What counts as a logical type is written down here a second time, from the specification's text and not from the code.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.properties.avro_cases import sized, zigzag

Binary = st.SearchStrategy[bytes]
WORDS = (
    *("date", "time-millis", "time-micros", "uuid", "decimal", "big-decimal", "duration", "nonsense", ""),
    *(f"{place}timestamp-{unit}" for place in ("", "local-") for unit in ("millis", "micros", "nanos")),
)
BASES = ("int", "long", "string", "bytes", "fixed", "float", "double", "boolean", "enum")
ON = {
    "int": {"date", "time-millis"},
    "long": {"time-micros", *(w for w in WORDS if "timestamp" in w)},
    "string": {"uuid"},
    "bytes": {"decimal", "big-decimal"},
    "fixed": {"decimal", "duration", "uuid"},
}
DAYS = 86_400
EDGES = (0, 1, -1, DAYS, -719_162, -719_163, 2_932_896, 2_932_897, 2**31 - 1, -(2**31))
MILLIS = tuple(f(s * 1000) for s in (DAYS, -62_135_596_800, 253_402_300_800) for f in (int, lambda n: n - 1))
LONGS = (*EDGES, *MILLIS, *(n * 1000 for n in MILLIS), *(n * 10**6 for n in MILLIS[:2]), 2**63 - 1, -(2**63))
FAR = 9_223_372_036_825_200_000
TEXTS = (
    *("n/a", "", "de2df598-9948-4988-b00a-a41c0e287398", "DE2DF598-9948-4988-B00A-A41C0E287398"),
    *("{de2df598-9948-4988-b00a-a41c0e287398}", "de2df59899484988b00aa41c0e287398", "2026-02-30", "12.50", "\0"),
)
ATTRIBUTES: tuple[dict[str, Any], ...] = (
    *({"precision": 4, "scale": 2}, {"precision": 9}, {"precision": 1, "scale": 1}, {"precision": 38, "scale": 10}, {}),
    *({"precision": 64, "scale": 127}, {"precision": 4, "scale": -2}, {"precision": "4", "scale": "2"}, {"scale": 2}),
    *({"precision": 0}, {"precision": 4.0}, {"precision": True}, {"precision": 10**9}, {"precision": None, "scale": 1}),
)


@dataclass(frozen=True)
class Case:
    """A type, one datum of it, and whether its logical type counts by the specification."""

    schema: dict[str, Any]
    datum: bytes
    counts: bool


def floats(form: str, numbers: Iterable[float]) -> Binary:
    size = struct.calcsize(form)
    edges = [struct.pack(form, n) for n in (*numbers, math.nan, math.inf, -math.inf, -0.0, 0.1)]
    return st.sampled_from(edges) | st.binary(min_size=size, max_size=size)


def datums(base: str, size: int) -> Binary:
    """Datums of a base type in their shortest form."""
    if base == "int":
        return (st.sampled_from(EDGES) | st.integers(-(2**31), 2**31 - 1)).map(zigzag)
    if base == "long":
        return (st.sampled_from((*LONGS, FAR)) | st.integers(-(2**63), 2**63 - 1)).map(zigzag)
    if base == "string":
        return (st.sampled_from(TEXTS) | st.uuids().map(str) | st.text(max_size=8)).map(lambda t: sized(t.encode()))
    if base == "bytes":
        number = st.integers(-(10**20), 10**20).map(lambda n: n.to_bytes(10, "big", signed=True).lstrip(b"\0") or b"\0")
        java = st.tuples(st.binary(min_size=1, max_size=6), st.integers(-300, 300)).map(
            lambda t: sized(t[0]) + zigzag(t[1])
        )
        return (number | java | st.binary(max_size=12)).map(sized)
    if base == "fixed":
        return st.binary(min_size=size, max_size=size)
    if base == "boolean":
        return st.sampled_from([b"\0", b"\1"])
    if base == "enum":
        return st.sampled_from([b"\0", b"\2"])
    return floats("<f", [2.0**24]) if base == "float" else floats("<d", [2.0**53, 5e-324])


def counts(word: str, base: str, size: int, attributes: dict[str, Any]) -> bool:
    """The specification's rule, in other words than the worker's."""
    if word not in ON.get(base, ()):
        return False
    if base == "fixed" and word in ("uuid", "duration"):
        return size == (16 if word == "uuid" else 12)
    if word != "decimal":
        return True
    precision: Any = attributes.get("precision")
    scale: Any = attributes.get("scale", 0)
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (precision, scale))
    if not whole or not precision > 0 or not 0 <= scale <= precision:
        return False
    return base == "bytes" or bool(precision < 1000 and 10**precision <= 2 ** (8 * size - 1))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    base, word = draw(st.sampled_from(BASES)), draw(st.sampled_from(WORDS))
    size = draw(st.sampled_from([1, 4, 12, 16]))
    attributes = draw(st.sampled_from(ATTRIBUTES)) if word == "decimal" else {}
    schema: dict[str, Any] = {"type": base, **attributes}
    if word:
        schema["logicalType"] = word
    if base == "fixed":
        schema |= {"name": "acme.Fixed", "size": size}
    if base == "enum":
        schema |= {"name": "acme.Kind", "symbols": ["A", "B"]}
    return Case(schema, draw(datums(base, size)), counts(word, base, size, attributes))
