"""Every Avro type through the real envelopes, in both formats."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings

from tests.properties.avro_cases import cases
from tests.properties.test_avro_roundtrip import check_others_read
from tests.unit.avro.test_declaration import field, schema
from tests.unit.encryption.authority import InMemoryAuthority
from worker.avro import DeclarationOptions, compile_schema, open_schema
from worker.encryption.batch import BatchEncryptor
from worker.encryption.unbatch import BatchDecryptor
from worker.model import Format

FORMATS: tuple[Format, ...] = get_args(Format)
TOKEN = re.compile(rb"token[0-9a-f]{16}")


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_encrypted_records_decrypt_to_the_inputs_bytes(case: tuple[str, list[bytes]]) -> None:
    """Encrypted, nothing declared can be found; decrypted, it is the input's bytes; avro and fastavro read both."""
    for format_ in FORMATS:
        round_trip(*case, format_)


@pytest.mark.heavy
@pytest.mark.timeout(3600)
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_thousands_of_encrypted_records_decrypt_to_the_inputs_bytes(case: tuple[str, list[bytes]]) -> None:
    """The same for thousands of schemas."""
    for format_ in FORMATS:
        round_trip(*case, format_)


BITS = [
    ("float", bytes.fromhex("0000c07f")),
    ("float", bytes.fromhex("0100807f")),  # a signalling NaN
    ("float", bytes.fromhex("ffffffff")),
    ("float", bytes.fromhex("00000080")),  # -0.0
    ("double", bytes.fromhex("000000000000f87f")),
    ("double", bytes.fromhex("010000000000f07f")),
    ("double", bytes.fromhex("efbeadde0000f8ff")),
    ("double", bytes.fromhex("0000000000000080")),
    ("double", bytes.fromhex("0100000000000000")),
]


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(("kind", "data"), BITS)
def test_every_bit_of_a_float_comes_back(kind: str, data: bytes, format_: Format) -> None:
    """NaN with its payload and sign, -0.0 and subnormal numbers keep their bits in both formats."""
    round_trip(schema(field("a", kind, encrypted=True)), [data], format_)


def round_trip(text: str, data: list[bytes], format_: Format) -> None:
    keys = [b"key"] * len(data)
    authority = InMemoryAuthority()
    compiled = compile_schema(text, DeclarationOptions(format=format_))
    split = compiled.split(data, keys)
    assert not split.errors
    encrypted = BatchEncryptor(authority).encrypt(split.columns)
    output = [datum or b"" for datum in split.join(encrypted.envelopes)]

    opened = open_schema(compiled.plan.output_schema)
    back = opened.split(output, keys)
    decrypted = BatchDecryptor(authority).decrypt(back.columns)
    restored = [datum or b"" for datum in back.join([[v or b"" for v in column] for column in decrypted.values])]

    assert not decrypted.errors
    assert restored == data
    clear = [datum or b"" for datum in split.join([[b""] * len(column.values) for column in split.columns])]
    for column in split.columns:
        for value, index in zip(column.values, column.records, strict=True):
            assert not can_be_found(value) or value in clear[index] or value not in output[index]
    for written, left in zip(output, clear, strict=True):
        assert sorted(TOKEN.findall(written)) == sorted(TOKEN.findall(left))
    check_others_read(compiled.plan.output_schema, output)
    check_others_read(text, restored)


def can_be_found(value: bytes) -> bool:
    """Whether a value is long and varied enough that it can't stand in an envelope's header or bytes by chance."""
    return len(value) >= 12 and len(set(value)) >= 6
