"""A value comes back equal, or is refused, or is shown as its base value with a mark: never as another value."""

from __future__ import annotations

import json
import struct
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.batches import of_native
from tests.properties.avro_cases import sized, zigzag
from tests.properties.value_cases import FAR, Case, cases
from tests.unit.encryption.authority import InMemoryAuthority
from worker.avro import DeclarationOptions, compile_schema, decode_value, encode_value, open_schema
from worker.avro.canonical import canonical_form
from worker.avro.schema import dump, parse
from worker.avro.text import json_texts
from worker.cli.printing import json_line
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.errors import RecordError
from worker.model import Position, SourceRecord
from worker.model.values import BaseValue
from worker.native import IS_LOADED, extension
from worker.native.batch import NativeBatch
from worker.sdk import Encryption

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2**31, 2**31 - 1, 2**53 + 1, 2**63, -(2**63), 10**30]) | st.integers(),
    st.sampled_from([0.0, -0.0, 1.9, 0.1, 1e300, float("inf")]) | st.floats(allow_nan=False),
    st.sampled_from(["n/a", "A", "de2df598-9948-4988-b00a-a41c0e287398", "\ud800", "12.5"]) | st.text(max_size=5),
    st.binary(max_size=16),
    st.decimals(allow_nan=False)
    | st.sampled_from([Decimal("1.005"), Decimal("-0"), Decimal("12345678901"), Decimal("1E+5")]),
    st.dates(),
    st.times() | st.just(time(23, 59, 59, 999_999)),
    st.datetimes() | st.datetimes(timezones=st.just(UTC)) | st.just(datetime(2026, 1, 2, 3, 4, 5, 6, UTC)),
    st.uuids(),
    st.just(date(1, 1, 1)),
)


def bare(schema: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in schema.items() if k != "logicalType"})


def same(left: object, right: object) -> bool:
    """Equal, and not by Python's kindness between types; NaN is itself."""
    if isinstance(left, float) and isinstance(right, float):
        return struct.pack("<d", left) == struct.pack("<d", right) or (left != left and right != right)
    return left == right and isinstance(left, bool) is isinstance(right, bool)


def check_value(case: Case) -> None:
    schema = json.dumps(case.schema)
    value, base = decode_value(schema, case.datum), decode_value(bare(case.schema), case.datum)

    if isinstance(value, BaseValue):
        assert case.counts
        assert value.logical_type == case.schema["logicalType"]
        assert same(value, base)
    elif not case.counts:
        assert same(value, base)
        assert type(value) is type(base)
    again = encode_value(schema, value) if fits_again(case, value) else case.datum
    assert same(decode_value(schema, again), value)


def check_text(case: Case) -> None:
    schema = json.dumps(case.schema)
    batch = of_native([SourceRecord(Position("in", 0, 0), None, b"")])
    assert isinstance(batch, NativeBatch)

    columns, errors = json_texts(schema, [case.datum])

    assert not errors
    place = {"topic": "in", "partition": 0, "offset": 0, "timestamp_ms": -1, "key": None}
    wanted = json_line({**place, "value": decode_value(schema, case.datum)})
    assert extension.json_lines(batch.native, columns) == wanted


def fits_again(case: Case, value: object) -> bool:
    """A decimal of more digits than its type says is read, as it stands; it may not be written anew."""
    if case.counts and case.schema["logicalType"] == "decimal" and isinstance(value, Decimal):
        return bool(value.scaleb(case.schema.get("scale", 0)).adjusted() < case.schema["precision"])
    return True


def check_worker(case: Case) -> None:
    """Beside a declared field, and as one: sealed, opened and read, the value is what the datum says."""
    fields: list[dict[str, Any]] = [
        {"name": "clear", "type": case.schema},
        {"name": "secret", "type": case.schema, "encrypted": True},
    ]
    if "name" in case.schema:
        fields[1] = {**fields[1], "type": case.schema["name"]}
    compiled = compile_schema(json.dumps({"type": "record", "name": "R", "fields": fields}), DeclarationOptions())
    keys = InMemoryAuthority()
    split = compiled.split([case.datum * 2], [None])
    output = split.join(BatchEncryptor(keys).encrypt(split.columns).envelopes)[0]
    opened = open_schema(compiled.plan.output_schema)
    back = opened.split([output or b""], [None])
    found = BatchDecryptor(keys).decrypt(back.columns)
    datum = back.join([[v or b"" for v in c] for c in found.values])[0] or b""
    row, value = opened.record(datum), decode_value(json.dumps(case.schema), case.datum)

    assert same(row["clear"], value)
    assert same(row["secret"], value)
    assert datum == case.datum * 2
    (table_row,) = compiled.rows([output or b""])
    assert same(table_row.values[0], decode_value(bare(case.schema), case.datum))


def check_sdk(case: Case, value: object, chosen: Any) -> None:
    encryption = Encryption.over(InMemoryAuthority())
    schema = json.dumps(case.schema)
    try:
        envelope = encryption.encrypt(value, field="acme.R/f", schema=schema, format=chosen)
    except RecordError:
        return
    back = encryption.decrypt(envelope, field="acme.R/f", schema=schema)
    assert same(back, float(value)) if isinstance(value, int) and isinstance(back, float) else same(back, value)


@settings(max_examples=400, deadline=None)
@given(cases())
def test_every_base_value_is_read_exactly(case: Case) -> None:
    """Whatever logical type stands on whatever base, rightly described or not."""
    check_value(case)


@pytest.mark.skipif(not IS_LOADED, reason="the extension module was not built here")
@settings(max_examples=400, deadline=None)
@given(cases())
def test_json_of_every_base_value_is_the_twins(case: Case) -> None:
    """The extension writes a value's JSON as its twin does, or leaves it to it."""
    check_text(case)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_what_is_encrypted_can_be_read(case: Case) -> None:
    """One odd value costs nothing of its record: it is shown, and so is all else."""
    check_worker(case)


@settings(max_examples=400, deadline=None)
@given(cases(), VALUES, st.sampled_from(["record", "leased"]))
def test_the_sdk_gives_back_what_it_took(case: Case, value: object, chosen: str) -> None:
    """A Python value comes back equal, or a `RecordError` refuses it."""
    check_sdk(case, value, chosen)


@pytest.mark.heavy
@pytest.mark.timeout(3600)
@settings(max_examples=8000, deadline=None)
@given(cases(), VALUES, st.sampled_from(["record", "leased"]))
def test_thousands_of_values(case: Case, value: object, chosen: str) -> None:
    """All three, thousands of times."""
    check_value(case)
    if IS_LOADED:
        check_text(case)
    check_worker(case)
    check_sdk(case, value, chosen)


@settings(max_examples=200, deadline=None)
@given(cases())
def test_the_fingerprint_does_not_hear_logical_types(case: Case) -> None:
    """The canonical form is the specification's: the library's own, where the library takes the schema."""
    theirs = fastavro.schema.to_parsing_canonical_form(json.loads(bare(case.schema)))

    assert dump(canonical_form(parse(json.dumps(case.schema)))) == theirs


def on(base: str, word: str, **more: Any) -> dict[str, Any]:
    return {"type": base, "logicalType": word, **more}


KNOWN: list[tuple[Any, bytes, Any]] = [
    (on("bytes", "decimal", precision=4, scale=2), sized(b"\x02\xdf\xdc\x1c\x35"), Decimal("123456789.01")),
    (on("int", "time-millis"), zigzag(-1), -1),
    (on("long", "time-micros"), zigzag(86_400_000_000), 86_400_000_000),
    (on("long", "timestamp-micros"), zigzag(FAR), FAR),
    (on("string", "uuid"), sized(b"n/a"), "n/a"),
    (on("fixed", "uuid", name="U", size=16), bytes(range(16)), UUID("00010203-0405-0607-0809-0a0b0c0d0e0f")),
    (on("long", "timestamp-nanos"), zigzag(1_790_330_000_123_456_789), 1_790_330_000_123_456_789),
    (on("string", "date"), sized(b"2024-01-02"), "2024-01-02"),
]


@pytest.mark.parametrize(("schema", "datum", "value"), KNOWN, ids=lambda v: str(v)[:40])
def test_known_values(schema: Any, datum: bytes, value: Any) -> None:
    """Values that tools are known to have changed."""
    assert decode_value(json.dumps(schema), datum) == value
