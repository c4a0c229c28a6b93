"""What an envelope says of itself, and how it is told from what it should be."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from tests.fakes.keyservice import FakeKeyService
from worker.avro import DeclarationOptions, compile_schema, encode_value
from worker.encryption import BatchEncryptor
from worker.encryption.ondemand import OnDemandKeys
from worker.errors import DecryptionError
from worker.model import Audit, Format
from worker.rekey.marks import Mark, Marks, mark_of

IDENTITY = "acme.R/email"


def envelope(format: Format) -> tuple[Marks, bytes]:
    """Return how the envelopes of a field are to look, and one that does."""
    fields = [{"name": "email", "type": "string"}]
    root = {"type": "record", "name": "acme.R", "fields": fields}
    options = DeclarationOptions.model_validate({"paths": {IDENTITY: {"format": format}}})
    compiled = compile_schema(json.dumps(root), options)
    split = compiled.split([encode_value(json.dumps(root), {"email": "ada"})], [None])
    with OnDemandKeys(FakeKeyService(), Audit("test")) as keys:
        [[sealed]] = BatchEncryptor(keys).encrypt(split.columns).envelopes
    keyset = mark_of(sealed).keyset
    assert keyset is not None
    return Marks(compiled.plan.fields, lambda _name: keyset), sealed


@pytest.mark.parametrize("format", ["record", "leased"])
def test_an_envelope_as_it_should_be_is_told(format: Format) -> None:
    """Keyset, format and descriptor are read without a key."""
    marks, sealed = envelope(format)

    assert marks.has(IDENTITY, sealed)
    assert mark_of(sealed) == Mark(marks.of[IDENTITY].keyset, format, IDENTITY)


@pytest.mark.parametrize("format", ["record", "leased"])
def test_a_byte_of_keyset_format_or_descriptor_makes_another(format: Format) -> None:
    """What differs in one byte of any of the three is not taken for done, nor what is cut short, nor plaintext."""
    marks, sealed = envelope(format)
    keyset = marks.of[IDENTITY].keyset
    assert keyset is not None
    places = [0, *(sealed.index(part) + i for part in (keyset.bytes, IDENTITY.encode()) for i in range(len(part)))]

    for at in places:
        other = bytearray(sealed)
        other[at] ^= 1
        assert not marks.has(IDENTITY, bytes(other)), at
    for end in range(len(sealed) - 40):
        assert not marks.has(IDENTITY, sealed[:end])
    assert not marks.has(IDENTITY, b"ada@example.org")


def test_what_is_no_envelope_has_no_mark() -> None:
    """Plaintext and nothing at all say nothing of a keyset."""
    for data in (b"", b"ada@example.org", b"\x01", b"\x95"):
        with pytest.raises(DecryptionError):
            mark_of(data)


@pytest.mark.parametrize("format", ["record", "leased"])
def test_the_server_finds_the_keyset_where_the_mark_says(format: Format) -> None:
    """The bytes that a database looks for stand at that place of every envelope."""
    marks, sealed = envelope(format)

    head, at = marks.of[IDENTITY].tell

    start = at - 1 if at > 0 else len(sealed) + at
    assert sealed[start : start + len(head)] == head
    assert Mark(UUID(int=7), format, IDENTITY).tell[0] not in sealed
