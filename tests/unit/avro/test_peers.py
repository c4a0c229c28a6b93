"""The corners where other field encryptors leak or break, each named after what breaks there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.avro.test_codec import restored
from tests.unit.avro.test_declaration import NONE, field, refused, schema
from tests.unit.encryption.authority import InMemoryAuthority
from worker.avro import DeclarationOptions, FieldOptions, compile_schema, encode_value, open_schema
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.model import Format


def test_csfle_tag_on_a_record_covers_its_contents() -> None:
    """A tag on a field of record type encrypts the whole record; on the type itself it is refused, never ignored."""
    options = DeclarationOptions(tags={"PII": FieldOptions()})
    inner = {"type": "record", "name": "I", "fields": [field("x")]}

    output, _ = restored(
        schema(field("a", inner, **{"confluent:tags": ["PII"]})), {"a": {"x": "plaintext-here"}}, options
    )

    assert b"plaintext-here" not in output
    assert "PII" in refused(schema(field("a", {**inner, "confluent:tags": ["PII"]})), options)


def test_confluent_kafka_python_1562_2134_2254_2262_unions_repeats_recursion() -> None:
    """Unions of records, a type used twice and a recursive type are encrypted at every place."""
    inner = {"type": "record", "name": "I", "fields": [field("x", encrypted=True)]}
    union = ["null", inner, {"type": "record", "name": "J", "fields": [field("y", "n.I")]}]
    text = schema(field("u", union), field("again", "I"), field("kids", {"type": "array", "items": "A"}))
    leaf: dict[str, Any] = {"u": None, "again": {"x": "secret-three"}, "kids": []}
    value = {"u": {"y": {"x": "secret-one"}}, "again": {"x": "secret-two"}, "kids": [leaf]}

    output, identities = restored(text, value)

    assert b"secret" not in output
    assert identities == ["n.A/u<n.J>.y.x", "n.A/again.x"]


def test_kryptonite_11_arrays_of_records() -> None:
    """A declaration inside an array's items encrypts that field of each item."""
    item = {"type": "record", "name": "I", "fields": [field("sku", encrypted=True), field("n", "int")]}

    output, identities = restored(
        schema(field("lines", {"type": "array", "items": item})),
        {"lines": [{"sku": "secret-a", "n": 1}, {"sku": "secret-b", "n": 2}]},
    )

    assert b"secret" not in output
    assert identities == ["n.A/lines[].sku"]


SECRET = b"a secret of many bytes"
BEYOND_TEXT: list[tuple[Any, Any]] = [
    ("int", 1_234_567_890),
    ("long", 2**60 + 12_345),
    ("double", 1.2345678901234),
    ({"type": "fixed", "name": "F", "size": len(SECRET)}, SECRET),
    ({"type": "bytes", "logicalType": "decimal", "precision": 60}, SECRET),
    ({"type": "map", "values": "int"}, {"a secret of many bytes": 1}),
    ({"type": "array", "items": "string"}, ["a secret of many bytes"]),
    (["null", "long", {"type": "array", "items": "bytes"}], [SECRET]),
]


@pytest.mark.parametrize("format_", ["record", "leased"])
@pytest.mark.parametrize(("kind", "value"), BEYOND_TEXT, ids=lambda v: str(v)[:30])
def test_csfle_encrypts_strings_and_bytes_only_and_we_every_type(kind: Any, value: Any, format_: Format) -> None:
    """A declared number, fixed, decimal, map, array or union leaves as an envelope that does not show its bytes."""
    bare = {**kind, "logicalType": ""} if isinstance(kind, dict) and "logicalType" in kind else kind
    datum = encode_value(schema(field("a", bare)), {"a": value})
    compiled = compile_schema(schema(field("a", kind, encrypted=True)), DeclarationOptions(format=format_))
    keys = InMemoryAuthority()

    split = compiled.split([datum], [None])
    (output,) = split.join(BatchEncryptor(keys).encrypt(split.columns).envelopes)

    assert output is not None
    assert datum not in output
    assert SECRET not in output
    back = open_schema(compiled.plan.output_schema).split([output], [None])
    opened = BatchDecryptor(keys).decrypt(back.columns)
    assert back.join([[v or b"" for v in c] for c in opened.values]) == [datum]


def test_confluent_kafka_go_1397_dropping_an_optional_field_keeps_the_next_decryptable() -> None:
    """After an optional field went, old and new records decrypt, and the next field's envelopes are of one identity."""
    gone = field("a", ["null", "string"], default=None, encrypted=True)
    old, new = schema(gone, field("b", encrypted=True)), schema(field("b", encrypted=True))
    keys = InMemoryAuthority()
    found = []
    for text, value in ((old, {"a": "first", "b": "second"}), (old, {"a": None, "b": "third"}), (new, {"b": "fourth"})):
        compiled = compile_schema(text, NONE)
        split = compiled.split([encode_value(text, value)], [None])
        output = split.join(BatchEncryptor(keys).encrypt(split.columns).envelopes)
        opened = open_schema(compiled.plan.output_schema)
        back = opened.split([datum or b"" for datum in output], [None])
        (datum,) = back.join([[v or b"" for v in c] for c in BatchDecryptor(keys).decrypt(back.columns).values])
        found.append((opened.record(datum or b"")["b"], opened.fields[-1].descriptor))

    assert found == [(text, "n.A/b") for text in ("second", "third", "fourth")]
