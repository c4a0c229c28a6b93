"""The table of docs/avro.md, row by row: each has its case here, and each case its row."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.unit.avro.test_declaration import field as declared
from tests.unit.avro.test_declaration import refused, schema
from tests.unit.encryption.authority import InMemoryAuthority
from worker.avro import DeclarationOptions, compile_schema
from worker.encryption import BatchEncryptor
from worker.model import Format, PlaintextKind

DOC = Path(__file__).resolve().parents[3] / "docs" / "avro.md"
FORMATS: tuple[Format, ...] = ("record", "leased")


def rows() -> dict[str, list[str]]:
    """The first table's rows by their first cell."""
    table = DOC.read_text().partition("\n| declared type")[2].partition("\n\n")[0]
    lines = ["| declared type" + table.partition("\n")[0], *table.splitlines()[1:]]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {first: rest for first, *rest in cells}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """
    One type, and datums of a record with that field.

    Args:
        kind: the field's type, or the type that holds the declared one.
        alike: datums that nothing but the envelope's content tells apart.
        unlike: datums of which each can be told from `alike`, since the table says so.
        longer: a datum whose envelope is longer than those of `alike`; None where every value takes as much.
        typed: the typed plaintext in `record`.
        said: the `encrypted` property; None where the declaration stands within `kind`.
    """

    kind: Any
    alike: list[bytes]
    typed: PlaintextKind = PlaintextKind.AVRO
    unlike: list[bytes] = field(default_factory=list)
    longer: bytes | None = None
    said: Any = True


def plain(kind: str, *alike: bytes, longer: bytes | None = None) -> Sample:
    return Sample(kind=kind, alike=list(alike), longer=longer, typed=PlaintextKind(kind))


def logical(kind: str, word: str, typed: PlaintextKind, *alike: bytes, **more: Any) -> Sample:
    return Sample(kind={"type": kind, "logicalType": word, **more}, alike=list(alike), typed=typed)


def within(kind: Any, alike: list[bytes], unlike: list[bytes]) -> Sample:
    """A type in which a string is declared."""
    return Sample(kind=kind, alike=alike, unlike=unlike, said=None, typed=PlaintextKind.STRING)


MAYBE = ["null", "string"]
COUNTS = {"type": "map", "values": "int"}
PLAIN = {"type": "record", "name": "I", "fields": [declared("x")]}
ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
FIXED = {"type": "fixed", "name": "F", "size": 2}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 9}
SUB = {"type": "record", "name": "I", "fields": [declared("x", encrypted=True)]}
OTHER = {"type": "record", "name": "J", "fields": [declared("y", encrypted=True)]}
HIDE = {"null": "encrypt"}
AVRO, STRING = PlaintextKind.AVRO, PlaintextKind.STRING
LONG_TEXT = b"\x28" + b"twenty characters ok"

# First cell -> third cell, fourth cell, samples that prove them.
CASES: dict[str, tuple[str, str, list[Sample]]] = {
    "`boolean` `int` `long` `float` `double` `string` `enum`": (
        "its own type (NaN and over-long varints: fallback)",
        "the envelope's length",
        [
            plain("boolean", b"\0", b"\1"),
            plain("int", b"\2", b"\4"),
            plain("long", b"\2", b"\4"),
            plain("float", b"\0\0\0\0", b"\0\0\x80\x3f"),
            plain("double", bytes(8), b"\0\0\0\0\0\0\xf0\x3f"),
            plain("string", b"\2a", b"\2b", longer=LONG_TEXT),
            Sample(kind=ENUM, alike=[b"\0", b"\2"], typed=PlaintextKind.ENUM),
        ],
    ),
    "`uuid` on string, `date`, `timestamp-millis`": (
        "string, date, timestamp",
        "the envelope's length",
        [
            logical("string", "uuid", STRING, b"\2a", b"\2b"),
            logical("int", "date", PlaintextKind.DATE, b"\2", b"\4"),
            logical("long", "timestamp-millis", PlaintextKind.TIMESTAMP_MS, b"\2", b"\4"),
        ],
    ),
    "`bytes` `fixed` `decimal`, other logical types": (
        "fallback",
        "length",
        [
            Sample(kind="bytes", alike=[b"\2a", b"\2b"], longer=LONG_TEXT),
            Sample(kind=FIXED, alike=[b"ab", b"cd"]),
            Sample(kind=DECIMAL, alike=[b"\2a", b"\2b"], longer=LONG_TEXT),
            logical("long", "timestamp-micros", AVRO, b"\2", b"\4"),
            logical("int", "time-millis", AVRO, b"\2", b"\4"),
            logical("fixed", "duration", AVRO, bytes(12), b"\1" * 12, name="D", size=12),
        ],
    ),
    "logical type that its base can't carry, or unknown": (
        "as the base",
        "as the base",
        [
            logical("string", "date", STRING, b"\2a", b"\2b"),
            logical("int", "nonsense", PlaintextKind.INT, b"\2", b"\4"),
        ],
    ),
    '`["null", X]`, `null: keep`': (
        "that of X",
        "nullness, length",
        [
            Sample(
                kind=["null", "string"],
                alike=[b"\2\2a", b"\2\2b"],
                unlike=[b"\0"],
                typed=STRING,
                longer=b"\2" + LONG_TEXT,
            )
        ],
    ),
    "other unions, `null: keep`": (
        "fallback",
        "nullness, length; not the branch",
        [Sample(kind=["null", "int", FIXED], alike=[b"\2\2", b"\4ab"], unlike=[b"\0"])],
    ),
    "any union, `null: encrypt`": (
        "fallback",
        "length",
        [Sample(kind=["null", "string", "int"], alike=[b"\0", b"\2\2a", b"\4\2"], said=HIDE, longer=b"\2" + LONG_TEXT)],
    ),
    "`array` `map` `record`": (
        "fallback",
        "length",
        [
            Sample(kind={"type": "array", "items": "int"}, alike=[b"\0", b"\2\2\0", b"\4\2\2\0"]),
            Sample(
                kind={"type": "map", "values": "int"},
                alike=[b"\2\2k\2\0", b"\2\2q\2\0", b"\0"],
                longer=b"\2" + LONG_TEXT + b"\2\0",
            ),
            Sample(
                kind={"type": "record", "name": "I", "fields": [declared("x")]},
                alike=[b"\2a", b"\2b"],
                longer=LONG_TEXT,
            ),
        ],
    ),
    "a field inside items, values or branches": (
        "as its type",
        "counts, map keys, branches of what holds it",
        [
            Sample(
                kind={"type": "array", "items": SUB},
                alike=[b"\2\2a\0", b"\2\2b\0"],
                unlike=[b"\0", b"\4\2a\2b\0"],
                said=None,
                typed=STRING,
            ),
            Sample(
                kind={"type": "map", "values": SUB},
                alike=[b"\2\2k\2a\0", b"\2\2k\2b\0"],
                unlike=[b"\2\2q\2a\0"],
                said=None,
                typed=STRING,
            ),
            Sample(kind=[SUB, OTHER], alike=[b"\0\2a", b"\0\2b"], unlike=[b"\2\2a"], said=None, typed=STRING),
        ],
    ),
    "`null`": ("", "", []),
}


def test_every_row_has_a_case_and_every_case_a_row() -> None:
    """Table and cases say the same of the typed plaintext and of what stays visible."""
    assert {first: (cells[1], cells[2]) for first, cells in rows().items()} == {
        first: case[:2] for first, case in CASES.items()
    }


SAMPLES = [(first, sample) for first, case in CASES.items() for sample in case[2]]


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(("row", "sample"), SAMPLES, ids=[f"{r}: {json.dumps(s.kind)}" for r, s in SAMPLES])
def test_what_is_encrypted_and_what_stays_visible(row: str, sample: Sample, format_: Format) -> None:
    """Outside the envelopes, values that the row hides look alike, and those it leaves visible do not."""
    said = {} if sample.said is None else {"encrypted": sample.said}
    compiled = compile_schema(schema(declared("a", sample.kind, **said)), DeclarationOptions(format=format_))

    def look(datum: bytes) -> tuple[bytes | None, int]:
        split = compiled.split([datum], [None])
        assert not split.errors
        envelopes = BatchEncryptor(InMemoryAuthority()).encrypt(split.columns).envelopes
        rest = split.join([[b""] * len(c.values) for c in split.columns])[0]
        return rest, sum(len(envelope) for column in envelopes for envelope in column)

    looks = [look(datum) for datum in sample.alike]
    assert {plan.kind for plan in compiled.plan.fields} == {sample.typed}
    assert len({rest for rest, _ in looks}) == 1
    assert all(look(datum)[0] != looks[0][0] for datum in sample.unlike)
    assert sample.longer is None or look(sample.longer)[1] > max(length for _, length in looks)


def test_null_is_refused() -> None:
    """The last row: a field of type null has nothing to encrypt."""
    assert rows()["`null`"][0] == "refused"
    assert "nothing to encrypt" in refused(schema(declared("a", "null", encrypted=True)))
