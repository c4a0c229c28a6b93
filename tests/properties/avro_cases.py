"""Hypothesis strategies: Avro schemas of every type with declarations, and records for them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

LEAVES: list[tuple[Any, Any]] = [
    ("boolean", st.booleans()),
    ("int", st.integers(-(2**31), 2**31 - 1)),
    ("long", st.integers(-(2**63), 2**63 - 1)),
    ("float", st.floats(width=32)),
    ("double", st.floats()),
    ("bytes", st.binary(max_size=40)),
    ("string", st.text(max_size=20)),
    ({"type": "string", "logicalType": "nonsense"}, st.text(max_size=20)),
    ({"type": "int", "logicalType": "date"}, st.integers(-700_000, 2_900_000)),
    ({"type": "int", "logicalType": "time-millis"}, st.integers(0, 86_399_999)),
    ({"type": "long", "logicalType": "timestamp-micros"}, st.integers(-(2**40), 2**40)),
    ({"type": "long", "logicalType": "local-timestamp-millis"}, st.integers(-(2**40), 2**40)),
    ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, st.binary(min_size=1, max_size=3)),
]


OPTIONS: list[Any] = [True, {"format": "leased"}, {"null": "encrypt"}, {"format": "leased", "bind": ["$key"]}]


class Names:
    """Fresh names of types within one schema."""

    def __init__(self) -> None:
        self.count = 0

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"


@st.composite
def typed(draw: st.DrawFn, names: Names, depth: int) -> tuple[Any, Any]:
    kinds = ["leaf", "leaf", "enum", "fixed", "null"] + (["array", "map", "union", "record"] if depth else [])
    kind = draw(st.sampled_from(kinds))
    if kind == "leaf":
        leaf: tuple[Any, Any] = draw(st.sampled_from(LEAVES))
        return leaf
    if kind == "null":
        return "null", st.none()
    if kind == "enum":
        return {"type": "enum", "name": names.fresh("E"), "symbols": ["A", "B"]}, st.sampled_from(["A", "B"])
    if kind == "fixed":
        return {"type": "fixed", "name": names.fresh("F"), "size": 5}, st.binary(min_size=5, max_size=5)
    if kind == "record":
        made: tuple[Any, Any] = draw(record(names, depth - 1))
        return made
    if kind == "union":
        inner, values = draw(typed(names, 0).filter(lambda t: t[0] not in ("null", "long")))
        orders = [["null", inner], [inner, "null"], ["null", "long", inner]]
        order = draw(st.sampled_from([o for o in orders if len(o) == 2 or word(inner) != "long"]))
        return order, st.none() | values
    inner, values = draw(typed(names, depth - 1))
    if kind == "array":
        return {"type": "array", "items": inner}, st.lists(values, max_size=3)
    return {"type": "map", "values": inner}, st.dictionaries(st.text(max_size=5), values, max_size=3)


def word(inner: Any) -> Any:
    return inner["type"] if isinstance(inner, dict) else inner


def is_empty(inner: Any) -> bool:
    return bool(inner == "null")


@st.composite
def record(draw: st.DrawFn, names: Names, depth: int) -> tuple[Any, Any]:
    name = names.fresh("R")
    fields, values = [], {}
    for number in range(draw(st.integers(1, 4))):
        inner, value = draw(typed(names, depth))
        field: dict[str, Any] = {"name": f"f{number}", "type": inner}
        if not is_empty(inner) and draw(st.booleans()):
            field["encrypted"] = draw(
                st.sampled_from(
                    [True, {"format": "leased"}, {"null": "encrypt"}, {"format": "leased", "bind": ["$key"]}]
                )
            )
        fields.append(field)
        values[f"f{number}"] = value
    return {"type": "record", "name": name, "namespace": "t", "fields": fields}, st.fixed_dictionaries(values)


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, list[Any]]:
    """A schema's JSON text, and records of it."""
    schema, values = draw(record(Names(), 3))
    return json.dumps(schema), draw(st.lists(values, min_size=1, max_size=3))
