"""The extension module and its twin in plain Python say the same of every schema and every record, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.batches import of_columns, split_plainly
from tests.properties.avro_cases import cases
from tests.unit.encryption.authority import InMemoryAuthority
from worker.avro import CompiledSchema, DeclarationOptions, OutputSchema, compile_schema, frame, open_schema
from worker.avro.decode import ValueReader, value_reader
from worker.cli.printing import json_line
from worker.encryption import BatchDecryptor, BatchEncryptor, record
from worker.encryption.leased import LeasedEnvelope
from worker.encryption.plaintext import to_typed
from worker.errors import DecodeError, RecordError
from worker.model import Batch, DataKey, FieldPlan, Format, Position, SourceRecord, ValueColumn
from worker.native import IS_LOADED, extension
from worker.native.split import SpanSplit

pytestmark = pytest.mark.skipif(not IS_LOADED, reason="the extension module was not built here")
FORMATS: tuple[Format, ...] = get_args(Format)
HEAD, PREFIX = b"\0\0\0\0\7", frame(9)
often = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
always = settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
Case = tuple[str, list[bytes]]


def damaged(data: list[bytes], seed: int) -> list[bytes]:
    """Every datum, and each of them cut short, grown, or with one byte changed."""
    wrong = [d[: seed % len(d)] for d in data if d] + [d + b"\0" for d in data]
    for d in data:
        if d:
            at = seed % len(d)
            wrong.append(d[:at] + bytes([d[at] ^ (1 + seed // 7 % 255)]) + d[at + 1 :])
    return data + wrong


def batch_of(data: Sequence[bytes]) -> Batch:
    return of_columns([SourceRecord(Position("in", 0, n), b"key", HEAD + d) for n, d in enumerate(data)])


def shape(columns: Sequence[ValueColumn]) -> list[tuple[object, ...]]:
    return [(c.plan.identity, c.values, c.records, c.contexts, c.binds) for c in columns]


def check_split(case: Case, seed: int, format_: Format) -> None:
    compiled = compile_schema(case[0], DeclarationOptions(format=format_))
    data = damaged(case[1], seed)
    keys: list[bytes | None] = [b"key"] * len(data)

    native = compiled.split_batch(batch_of(data), keys, len(HEAD))
    plain = split_plainly(compiled, batch_of(data), keys, len(HEAD))

    assert isinstance(native, SpanSplit)
    assert native.refused == sorted(plain.errors)
    assert {i: (str(e), e.code, e.path) for i, e in native.errors.items()} == {
        i: (str(e), e.code, e.path) for i, e in plain.errors.items()
    }
    assert shape(native.columns) == shape(plain.columns)


def check_seal(case: Case, format_: Format) -> None:
    compiled = compile_schema(case[0], DeclarationOptions(format=format_))
    keys: list[bytes | None] = [b"key"] * len(case[1])
    authority = InMemoryAuthority()
    split = compiled.split_batch(batch_of(case[1]), keys, len(HEAD))

    sealed = BatchEncryptor(authority).seal([(split, PREFIX)])[0]

    found = [data[len(PREFIX) :] if data is not None else None for data in sealed.data]
    columns, envelopes = split.columns, sealed.envelopes
    assert found == split_plainly(compiled, batch_of(case[1]), keys, len(HEAD)).join(envelopes)
    for column, sealed_column in zip(columns, envelopes, strict=True):
        for value, envelope in zip(column.values, sealed_column, strict=True):
            check_envelope(authority, column.plan, value, envelope)
    check_opens(compiled, authority, case, [data or b"" for data in found])


def check_envelope(authority: InMemoryAuthority, plan: FieldPlan, value: bytes, envelope: bytes) -> None:
    """An AEAD gives one ciphertext for one key, nonce and data: what opens is what the twin writes."""
    if plan.format == "leased":
        assert LeasedEnvelope.parse(envelope).to_bytes() == envelope
        return
    parsed = record.from_msgpack(envelope)
    if not plan.context:
        [key] = authority.keys([parsed.request()])
        assert isinstance(key, DataKey)
        assert record.open_record(key, parsed) == to_typed(plan)(value)


def check_opens(compiled: CompiledSchema, authority: InMemoryAuthority, case: Case, found: list[bytes]) -> None:
    keys: list[bytes | None] = [b"key"] * len(found)
    split = open_schema(compiled.plan.output_schema).split(found, keys)
    opened = BatchDecryptor(authority).decrypt(split.columns)
    assert not opened.errors
    assert split.join([[v or b"" for v in column] for column in opened.values]) == case[1]


def told(errors: Mapping[int, RecordError]) -> dict[int, tuple[str, str, str | None]]:
    return {i: (str(error), error.code, error.path) for i, error in errors.items()}


def check_open(case: Case, seed: int, format_: Format) -> None:
    compiled = compile_schema(case[0], DeclarationOptions(format=format_))
    authority = InMemoryAuthority()
    sealed_split = compiled.split_batch(batch_of(case[1]), [b"key"] * len(case[1]), len(HEAD))
    sealed = BatchEncryptor(authority).seal([(sealed_split, b"")])[0]
    data = damaged([datum or b"" for datum in sealed.data], seed)
    keys: list[bytes | None] = [b"moved" if seed % 5 == n % 7 else b"key" for n in range(len(data))]
    reader, decryptor = open_schema(compiled.plan.output_schema), BatchDecryptor(authority)

    native = decryptor.open(reader.split_batch(data, keys), PREFIX)
    plain = decryptor.open(reader.split(data, keys), PREFIX)

    assert isinstance(reader.split_batch(data, keys), SpanSplit)
    assert list(native.data) == plain.data
    assert told(native.errors) == told(plain.errors)
    bare = [None if datum is None else datum[len(PREFIX) :] for datum in native.data]
    read = value_reader(reader.writer_schema)
    values = [None if datum is None else attempt(read, datum) for datum in bare]
    assert repr(reader.records(bare)) == repr(values)
    check_text(reader, bare, values)


def check_text(reader: OutputSchema, data: Sequence[bytes | None], values: Sequence[object]) -> None:
    columns, errors = reader.texts(data)
    assert {i: str(error) for i, error in errors.items()} == {
        i: str(value) for i, value in enumerate(values) if isinstance(value, DecodeError)
    }
    absent = [i for i, value in enumerate(values) if value is None or isinstance(value, DecodeError)]
    batch = extension.Batch(
        [("in", 0)] * len(data), range(len(data)), [b"k"] * len(data), data, [(1, 5)] * len(data), []
    )
    found = extension.json_lines(batch, [*columns, (absent, extension.JsonColumn([b'"value":null'] * len(absent)))])
    assert found == b"".join(
        json_line(
            {"topic": "in", "partition": 0, "offset": i, "timestamp_ms": 5, "key": "k"}
            | {"value": None if i in absent else value}
        )
        for i, value in enumerate(values)
    )


def attempt(reader: ValueReader, datum: bytes) -> object:
    """What the twin reads."""
    try:
        reader.verify(datum)
    except DecodeError as exc:
        return exc
    return reader.read(datum)


@often
@given(cases(), st.integers(0, 10_000), st.sampled_from(FORMATS))
def test_both_open_the_same_records(case: Case, seed: int, format_: Format) -> None:
    """Records, values and refusals are equal, for sound records, damaged ones and those bound to another key."""
    check_open(case, seed, format_)


@often
@given(cases(), st.integers(0, 10_000), st.sampled_from(FORMATS))
def test_both_take_the_same_records_apart(case: Case, seed: int, format_: Format) -> None:
    """Columns, contexts, bound bytes and refusals are equal, for sound records and damaged ones."""
    check_split(case, seed, format_)


@often
@given(cases(), st.sampled_from(FORMATS))
def test_the_twin_opens_what_the_extension_seals(case: Case, format_: Format) -> None:
    """Each envelope is the one that the twin writes under its key and nonce, and every record comes back."""
    check_seal(case, format_)


@pytest.mark.heavy
@pytest.mark.timeout(3600)
@always
@given(cases(), st.integers(0, 10_000), st.sampled_from(FORMATS))
def test_thousands_of_schemas_agree(case: Case, seed: int, format_: Format) -> None:
    """The same for thousands of schemas."""
    check_split(case, seed, format_)
    check_seal(case, format_)
    check_open(case, seed, format_)
