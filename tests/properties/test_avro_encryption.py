"""Every Avro type through the real envelopes, in both formats."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.properties.avro_cases import cases
from tests.properties.test_avro_roundtrip import written
from tests.unit.encryption.authority import InMemoryAuthority
from worker.avro import DeclarationOptions, compile_schema, open_schema
from worker.encryption.batch import BatchEncryptor
from worker.encryption.unbatch import BatchDecryptor


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_encrypted_records_decrypt_to_the_inputs_bytes(case: tuple[str, list[Any]]) -> None:
    """Split, encrypt, join; open, decrypt, join: the input's Avro bytes, whatever the types."""
    round_trip(*case)


@pytest.mark.heavy
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_thousands_of_encrypted_records_decrypt_to_the_inputs_bytes(case: tuple[str, list[Any]]) -> None:
    """The same for thousands of schemas."""
    round_trip(*case)


def round_trip(schema: str, values: list[Any]) -> None:
    data = written(schema, values)
    keys = [b"key"] * len(data)
    authority = InMemoryAuthority()
    compiled = compile_schema(schema, DeclarationOptions())
    split = compiled.split(data, keys)
    encrypted = BatchEncryptor(authority).encrypt(split.columns)
    output = [datum or b"" for datum in split.join(encrypted.envelopes)]

    back = open_schema(compiled.plan.output_schema).split(output, keys)
    decrypted = BatchDecryptor(authority).decrypt(back.columns)

    assert not encrypted.errors
    assert not decrypted.errors
    assert back.join([[value or b"" for value in column] for column in decrypted.values]) == data
