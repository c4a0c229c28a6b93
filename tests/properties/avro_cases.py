"""
Hypothesis strategies: Avro schemas of every type with declarations, and datums for them.

A datum is made as its binary, by the specification and no library: so over-long numbers, every bit of a float and any
branch of a union occur, which a writer would choose for itself.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

Binary = st.SearchStrategy[bytes]

# Long enough that it never occurs by accident, so it can be looked for in the output.
TOKENS = st.integers(0, 2**64 - 1).map(lambda n: f"token{n:016x}".encode())
OPTIONS: list[Any] = [True, {"format": "leased"}, {"null": "encrypt"}, {"format": "leased", "bind": ["$key"]}]
WITH_ID: list[Any] = [{"context": ["id"]}, {"format": "leased", "context": ["id"], "bind": ["id", "$key"]}]


def zigzag(value: int) -> bytes:
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def sized(data: bytes) -> bytes:
    return zigzag(len(data)) + data


def longer(number: bytes) -> bytes:
    """The same number in one byte more than it needs."""
    return number[:-1] + bytes([number[-1] | 0x80, 0])


def ints(low: int, high: int) -> Binary:
    numbers = st.integers(low, high).map(zigzag)
    return numbers | numbers.filter(lambda n: len(n) < 5).map(longer)


def fixed(name: str, size: int, **more: Any) -> dict[str, Any]:
    return {"type": "fixed", "name": name, "size": size, **more}


def on(kind: str, word: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": word, **more}


INT, LONG = ints(-(2**31), 2**31 - 1), ints(-(2**63), 2**63 - 1)
TEXT = (TOKENS | st.text(max_size=20).map(str.encode)).map(sized)
FLOATS = st.binary(min_size=4, max_size=4) | st.sampled_from([float("nan"), -0.0, 1e-40]).map(
    lambda f: struct.pack("<f", f)
)
DOUBLES = st.binary(min_size=8, max_size=8) | st.sampled_from([float("nan"), -0.0, 5e-324]).map(
    lambda f: struct.pack("<d", f)
)
LEAVES: dict[str, tuple[Any, Binary]] = {
    "boolean": ("boolean", st.sampled_from([b"\0", b"\1"])),
    "int": ("int", INT),
    "long": ("long", LONG),
    "float": ("float", FLOATS),
    "double": ("double", DOUBLES),
    "bytes": ("bytes", (TOKENS | st.binary(max_size=40)).map(sized)),
    "string": ("string", TEXT),
    "date": (on("int", "date"), ints(-800_000, 3_000_000) | INT),
    "time-millis": (on("int", "time-millis"), ints(0, 86_399_999)),
    "time-micros": (on("long", "time-micros"), ints(0, 86_399_999_999)),
    **{
        f"{local}timestamp-{unit}": (on("long", f"{local}timestamp-{unit}"), LONG)
        for local in ("", "local-")
        for unit in ("millis", "micros", "nanos")
    },
    "uuid": (on("string", "uuid"), st.uuids().map(lambda u: sized(str(u).encode())) | TEXT),
    "decimal": (on("bytes", "decimal", precision=9, scale=2), st.binary(min_size=1, max_size=12).map(sized)),
    "nonsense": (on("string", "nonsense"), TEXT),
}
FIXED: dict[str, tuple[int, dict[str, Any]]] = {
    "fixed": (5, {}),
    "decimal-fixed": (9, {"logicalType": "decimal", "precision": 20}),
    "duration": (12, {"logicalType": "duration"}),
    "uuid-fixed": (16, {"logicalType": "uuid"}),
}
SIMPLE = [*LEAVES, *FIXED, "enum", "null"]
NESTED = ["array", "map", "union", "record", "again"]


@dataclass(frozen=True)
class Type:
    """A type's JSON, its datums, and whether one of them can take no bytes at all."""

    schema: Any
    datums: Binary
    widthless: bool = False


@dataclass
class Names:
    """Names of types within one schema, and the named types that may be used again."""

    count: int = 0
    done: list[Type] = field(default_factory=list)

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"t.{'sub.' if self.count % 3 == 0 else ''}{stem}{self.count}"

    def add(self, made: Type, name: str) -> Type:
        self.done.append(Type(name, made.datums, made.widthless))
        return made


@st.composite
def typed(draw: st.DrawFn, names: Names, depth: int, kind: str | None = None) -> Type:
    chosen = kind or draw(st.sampled_from(SIMPLE + NESTED * 4 if depth else SIMPLE))
    if chosen == "again" and names.done:
        return draw(st.sampled_from(names.done))
    if chosen in LEAVES:
        return Type(*LEAVES[chosen])
    if chosen in FIXED:
        size, more = FIXED[chosen]
        name = names.fresh("F")
        return names.add(Type(fixed(name, size, **more), st.binary(min_size=size, max_size=size)), name)
    if chosen == "null":
        return Type("null", st.just(b""), widthless=True)
    if chosen == "record":
        return draw(record(names, depth - 1))
    if chosen in ("array", "map"):
        return draw(container(names, depth, chosen))
    if chosen == "union":
        return draw(union(names, depth))
    name = names.fresh("E")
    symbols = {"type": "enum", "name": name, "symbols": ["A", "B"], "doc": "two"}
    return names.add(Type(symbols, st.sampled_from([b"\0", b"\2"])), name)


@st.composite
def container(draw: st.DrawFn, names: Names, depth: int, kind: str) -> Type:
    # Half of all containers hold records, so that declarations inside items and values are common.
    inner = draw(typed(names, depth - 1, draw(st.sampled_from([None, "record"])) if depth > 1 else None))
    items = inner.datums if kind == "array" else st.tuples(TEXT, inner.datums).map(b"".join)
    blocks = st.lists(items, min_size=1, max_size=3).map(lambda i: zigzag(len(i)) + b"".join(i))
    word = "items" if kind == "array" else "values"
    return Type({"type": kind, word: inner.schema}, st.lists(blocks, max_size=2).map(lambda b: b"".join(b) + b"\0"))


@st.composite
def union(draw: st.DrawFn, names: Names, depth: int) -> Type:
    # At most one branch of each unnamed type, whatever its logical type; records, enums and fixed have names.
    unnamed = ["null", "boolean", "int", "long", "float", "double", "bytes", "string", "array", "map"]
    kinds = draw(st.lists(st.sampled_from([*unnamed, "record", "enum", "fixed"]), min_size=1, max_size=4, unique=True))
    branches = [draw(typed(names, depth - 1, k)) for k in kinds if depth > 1 or k not in ("array", "map", "record")]
    branches = branches or [Type(*LEAVES["string"])]
    datums = [st.tuples(st.just(zigzag(i)), b.datums).map(b"".join) for i, b in enumerate(branches)]
    return Type([b.schema for b in branches], st.one_of(datums))


@st.composite
def record(draw: st.DrawFn, names: Names, depth: int) -> Type:
    name = names.fresh("R")
    fields: list[dict[str, Any]] = []
    made: list[Type] = []
    if has_id := draw(st.booleans()):
        fields.append({"name": "id", "type": "string"})
        made.append(Type(*LEAVES["string"]))
    for number in range(draw(st.integers(1, 4))):
        made.append(draw(typed(names, depth)))
        fields.append(draw(described(f"f{number}", made[-1], has_id)))
    datums = st.tuples(*(m.datums for m in made)).map(b"".join)
    if depth and draw(st.booleans()):
        declared = {"encrypted": True} if draw(st.booleans()) else {}
        fields.append({"name": "kids", "type": {"type": "array", "items": name}, **declared})
        datums = trees(datums)
    schema = {"type": "record", "name": name, "fields": fields, "aliases": [f"Old{names.count}"], "x-team": {"a": [1]}}
    return names.add(Type(schema, datums, all(m.widthless for m in made) and fields[-1]["name"] != "kids"), name)


def trees(own: Binary) -> Binary:
    """Datums of a record whose last field is an array of itself."""
    leaf = own.map(lambda d: d + b"\0")
    return st.recursive(
        leaf,
        lambda kids: st.tuples(own, st.lists(kids, min_size=1, max_size=2)).map(
            lambda t: t[0] + zigzag(len(t[1])) + b"".join(t[1]) + b"\0"
        ),
        max_leaves=3,
    )


@st.composite
def described(draw: st.DrawFn, name: str, made: Type, has_id: bool) -> dict[str, Any]:
    """A field with what may stand beside its type."""
    said: dict[str, Any] = draw(
        st.sampled_from([{}, {"doc": "told", "order": "descending"}, {"aliases": [f"old_{name}"], "x-note": None}])
    )
    first = made.schema[0] if isinstance(made.schema, list) else made.schema
    if first in ("null", "string") and draw(st.booleans()):
        said = {**said, "default": None if first == "null" else "a default in the clear"}
    # What takes no bytes can't be declared.
    if not made.widthless and made.schema != ["null"] and draw(st.booleans()):
        said = {**said, "encrypted": draw(st.sampled_from(OPTIONS + WITH_ID if has_id else OPTIONS))}
    return {"name": name, "type": made.schema, **said}


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    """A schema's JSON text, and datums of it."""
    made = draw(record(Names(), 3))
    return json.dumps(made.schema), draw(st.lists(made.datums, min_size=1, max_size=3))
