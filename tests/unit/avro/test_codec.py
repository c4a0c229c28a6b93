"""Hostile bytes, siblings, and a datum's way through columns and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.avro.test_declaration import NONE, field, refused, schema
from worker.avro import (
    DeclarationOptions,
    FieldOptions,
    LocalSchema,
    LocalSchemas,
    RegistrySchemas,
    SchemaRef,
    SchemaVersion,
    compile_once,
    compile_schema,
    encode_value,
    frame,
    open_schema,
    parse_frame,
    schema_fingerprint,
)
from worker.errors import DecodeError, DecryptionError, RecordError, RegistryUnavailable

LEASED = {"format": "leased"}


def restored(text: str, value: Any, options: DeclarationOptions = NONE) -> tuple[bytes, list[str]]:
    """Round-trip one record; the output datum, and the identities that were encrypted."""
    compiled = compile_schema(text, options)
    data = encode_value(text, value)
    split = compiled.split([data], [b"k"])
    assert not split.errors
    output = split.join([[b"\x01" + bytes(b ^ 0xA5 for b in v) for v in c.values] for c in split.columns])[0]
    assert output is not None
    back = open_schema(compiled.plan.output_schema).split([output], [b"k"])
    assert back.join([[bytes(b ^ 0xA5 for b in v[1:]) for v in c.values] for c in back.columns]) == [data]
    return output, [c.plan.identity for c in split.columns]


ARRAY = {"type": "array", "items": "string"}
HOSTILE = [
    ("string", b"", "decode_failed"),
    ("string", b"\x06ab", "decode_failed"),
    ("string", b"\x01", "decode_failed"),
    ("string", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "decode_failed"),
    ("string", b"\x02\xff", "decode_failed"),
    ("string", b"\x02aX", "trailing_bytes"),
    ("long", b"\xff" * 11, "decode_failed"),
    ("int", b"\xff\xff\xff\xff\xff\x01", "decode_failed"),
    ("boolean", b"\x02", "decode_failed"),
    ("double", b"\0\0", "decode_failed"),
    (["null", "int"], b"\x04", "union_mismatch"),
    (["null", "int"], b"\x01", "union_mismatch"),
    ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02", "decode_failed"),
    (ARRAY, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "decode_failed"),
    (ARRAY, b"\x01\x01\x00", "decode_failed"),
    (ARRAY, b"\x01\x08\x02a\x00", "decode_failed"),
    ({"type": "array", "items": "null"}, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", "too_large"),
    ({"type": "map", "values": "int"}, b"\x02\x02\xff\x02\x00", "decode_failed"),
]


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(("kind", "data", "code"), HOSTILE)
def test_hostile_bytes_are_a_decode_error_with_code_and_path(kind: Any, data: bytes, code: str, declared: bool) -> None:
    """Bytes that lie are refused with the contract's code, declared or not, and the next record is served."""
    compiled = compile_schema(schema(field("a", kind, encrypted=declared)), NONE)

    error = compiled.split([data], [None]).errors[0]

    assert isinstance(error, DecodeError)
    assert error.code == code
    assert error.path[:1] == ("" if code == "trailing_bytes" else "a")


def test_nesting_is_bounded() -> None:
    """A recursive record of more than 64 levels is refused without a deep stack."""
    text = schema(field("kids", {"type": "array", "items": "A"}), field("t", encrypted=True))

    error = compile_schema(text, NONE).split([b"\x02" * 5000], [None]).errors[0]

    assert error.code == "too_large"


def test_a_failed_record_leaves_nothing_in_the_columns() -> None:
    """A record that fails in its last field takes back what its first had given."""
    compiled = compile_schema(schema(field("a", encrypted=True), field("b")), NONE)

    split = compiled.split([b"\x02x\x02y", b"\x02x\x06y", b"\x02z\x02y"], [None] * 3)

    assert split.columns[0].records == [0, 2]
    split.drop({2})
    assert split.join([[b"E"]]) == [b"\x02E\x02y", None, None]


def test_null_context_and_missing_key_are_record_errors() -> None:
    """A context sibling that is null, or a bound key that is absent, fails the record."""
    text = schema(
        field("t", ["null", "string"]), field("a", encrypted={**LEASED, "context": ["t"], "bind": ["t", "$key"]})
    )
    compiled = compile_schema(text, NONE)

    split = compiled.split([b"\x00\x02a", b"\x02\x02q\x02a", b"\x02\x02q\x02a"], [b"k", None, b"k"])

    assert {i: e.code for i, e in split.errors.items()} == {0: "context_null", 1: "context_null"}
    assert split.columns[0].contexts == [("q",)]
    assert split.columns[0].binds == [(b"\x02\x02q", b"k")]


def test_empty_envelope_is_refused() -> None:
    """An empty value where an envelope belongs never opens."""
    opened = open_schema(compile_schema(schema(field("a", encrypted=True)), NONE).plan.output_schema)

    assert isinstance(opened.split([b"\x00"], [None]).errors[0], DecryptionError)


def test_negative_blocks_around_declared_fields_become_plain() -> None:
    """A sized block is rewritten as a plain one, items and order kept."""
    item = {"type": "record", "name": "I", "fields": [field("x", encrypted=True)]}
    compiled = compile_schema(schema(field("a", {"type": "array", "items": item})), NONE)

    split = compiled.split([b"\x03\x08\x02a\x02b\x00"], [None])

    assert split.join([[b"EE", b"F"]]) == [b"\x04\x04EE\x02F\x00"]


def test_frames() -> None:
    """Magic 0 and 1, before the payload or in the header, name the schema; anything else is refused."""
    assert parse_frame(frame(7) + b"x", []) == (SchemaRef(id=7), 5)
    assert parse_frame(b"\x01" + bytes(16) + b"x", []) == (SchemaRef(guid=bytes(16)), 17)
    assert parse_frame(b"x", [("__value_schema_id", b"\x00\x00\x00\x00\x09")]) == (SchemaRef(id=9), 0)
    for bad in (b"", b"\x00\x00", b"\x02abcdefgh"):
        with pytest.raises(DecodeError):
            parse_frame(bad, [])


def test_sources_of_schemas() -> None:
    """A local source knows only its own ids; a registry that does not answer is transient."""
    local = LocalSchemas({1: LocalSchema(input='"int"', output_id=2)})

    assert local.output_id(SchemaRef(id=1), "s", "x") == 2
    with pytest.raises(RecordError) as caught:
        local.get(SchemaRef(id=3))
    assert caught.value.code == "unknown_schema"
    with pytest.raises(RegistryUnavailable):
        RegistrySchemas({"url": "http://127.0.0.1:9", "max.retries": 0}, auto_register=True).check()


def test_a_schema_is_compiled_once_for_its_checks_and_for_its_records() -> None:
    """Nothing that a compiled schema depends on is left out of what makes two of them the same."""
    text = schema(field("a", encrypted=True), field("b"))
    local = LocalSchemas({1: LocalSchema(input=text, output_id=2)})
    (expected,), got = local.candidates(["t"]), local.get(SchemaRef(id=1))
    own = compile_once(expected.version, NONE, earlier=expected.earlier, later=expected.later)

    assert compile_once(got.version, NONE, earlier=got.earlier, later=got.later) is own
    assert compile_once(got.version, DeclarationOptions(format="leased")) is not own
    assert compile_once(got.version, NONE, extract=["b"]) is not own
    later = SchemaVersion(schema(field("a", encrypted=True), field("b", encrypted=True)))
    assert [f.identity for f in compile_once(got.version, NONE, later=[later]).plan.fields] == ["n.A/a", "n.A/b"]
    tagged = DeclarationOptions(tags={"PII": FieldOptions()})
    with_tags = SchemaVersion(text, metadata_tags={"n.A.b": ["PII"]})
    assert compile_once(got.version, tagged) is not compile_once(with_tags, tagged)


def test_fingerprint_of_int() -> None:
    """The specification's CRC-64-AVRO of "int", 7275a51a3f395c8f, little-endian."""
    assert schema_fingerprint('"int"').hex() == "8f5c393f1ad57572"


def test_hostile_counts_take_no_time() -> None:
    """A count that lies costs what its bytes do, not what it says."""
    compiled = compile_schema(schema(field("a", {"type": "array", "items": "null"})), NONE)

    errors = compiled.split([b"\xfe\xff\xff\xff\x0f\x00"] * 100, [None] * 100).errors

    assert len(errors) == 100


def test_damaged_json_schema_never_crashes() -> None:
    """Schemas of the wrong shape are refused as declarations, never by another error."""
    for text in ("null", "[]", "3", '{"type":"array"}', '{"type":"record"}', json.dumps({"type": "map", "values": 3})):
        refused(text)


def test_rows_take_dates_beyond_pythons() -> None:
    """A date that Python can't hold comes as its number, and the batch goes on."""
    compiled = compile_schema(schema(field("d", {"type": "int", "logicalType": "date"}), field("s")), NONE)
    data = encode_value(schema(field("d", "int"), field("s")), {"d": 2**31 - 1, "s": "x"})

    (row,) = compiled.rows([data])
    assert row.values == (2**31 - 1, "x")
