"""Whatever Avro can say, what is declared goes out as an envelope and comes back bit for bit."""

from __future__ import annotations

import io
import json
from typing import Any

import avro.io
import avro.schema
import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.properties.avro_cases import cases
from worker.avro import DeclarationOptions, compile_schema, open_schema
from worker.errors import RecordError

MARK = b"\x01sealed:"
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def raw(schema: Any) -> Any:
    """The schema without logical types, so that the writer takes any base value."""
    if isinstance(schema, list):
        return [raw(item) for item in schema]
    if isinstance(schema, dict):
        return {k: raw(v) if k != "symbols" else v for k, v in schema.items() if k != "logicalType"}
    return schema


def seal(value: bytes) -> bytes:
    return MARK + bytes(byte ^ 0xA5 for byte in value)


def unseal(value: bytes) -> bytes:
    return bytes(byte ^ 0xA5 for byte in value[len(MARK) :])


def check_round_trip(schema: str, data: list[bytes]) -> None:
    keys = [b"key"] * len(data)
    compiled = compile_schema(schema, DeclarationOptions())

    split = compiled.split(data, keys)
    assert not split.errors
    output = [datum or b"" for datum in split.join([[seal(v) for v in c.values] for c in split.columns])]
    opened = open_schema(compiled.plan.output_schema)
    back = opened.split(output, keys)
    assert not back.errors

    assert back.join([[unseal(v) for v in c.values] for c in back.columns]) == data
    assert [(c.plan.identity, c.records, c.binds) for c in back.columns] == [
        (c.plan.identity, c.records, c.binds) for c in split.columns
    ]
    check_others_read(compiled.plan.output_schema, output)
    check_others_read(opened.writer_schema, data)
    for column in split.columns:
        for value, index in zip(column.values, column.records, strict=True):
            if len(value) > 12 and data[index].count(value) == 1:
                assert value not in output[index]


def check_others_read(schema: str, data: list[bytes]) -> None:
    theirs = avro.schema.parse(json.dumps(raw(json.loads(schema))))
    parsed = fastavro.parse_schema(raw(json.loads(schema)))
    for datum in data:
        stream = io.BytesIO(datum)
        avro.io.DatumReader(theirs, theirs).read(avro.io.BinaryDecoder(stream))
        assert stream.read() == b""
        stream = io.BytesIO(datum)
        fastavro.schemaless_reader(stream, parsed, None)
        assert stream.read() == b""


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(cases())
def test_every_schema_round_trips(case: tuple[str, list[bytes]]) -> None:
    """Split, join, open and join again give the input's bytes; avro and fastavro read both sides."""
    check_round_trip(*case)


@pytest.mark.heavy
@pytest.mark.timeout(3600)
@settings(max_examples=5000, deadline=None, suppress_health_check=SLOW)
@given(cases())
def test_thousands_of_schemas_round_trip(case: tuple[str, list[bytes]]) -> None:
    """The same, thousands of times."""
    check_round_trip(*case)


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(cases(), st.data())
def test_damaged_bytes_never_crash(case: tuple[str, list[bytes]], data: st.DataObject) -> None:
    """Cut or altered input gives a record error or splits; nothing else, and no other record suffers."""
    schema, (good, *_) = case
    bad = bytearray(good[: data.draw(st.integers(0, len(good)))])
    for _ in range(data.draw(st.integers(0, 3)) if bad else 0):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    compiled = compile_schema(schema, DeclarationOptions())

    split = compiled.split([good, bytes(bad), good], [b"k"] * 3)
    joined = split.join([[seal(v) for v in c.values] for c in split.columns])

    assert set(split.errors) <= {1}
    assert all(isinstance(error, RecordError) for error in split.errors.values())
    assert joined[0] == joined[2]
    assert (joined[1] is None) == (1 in split.errors)
