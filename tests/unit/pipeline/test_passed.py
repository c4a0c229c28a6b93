"""What arrives encrypted: it passes as an envelope of a listed keyset, or not at all."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

import pytest

from tests.fakes.records import records_of
from tests.unit.encryption.authority import KEYSET, InMemoryAuthority
from tests.unit.pipeline.test_batch import SCHEMA, framed, record
from worker.avro import (
    DeclarationOptions,
    LocalSchema,
    LocalSchemas,
    RegisteredSchema,
    SchemaRef,
    SchemaVersion,
    compile_schema,
)
from worker.encryption import BatchDecryptor, BatchEncryptor, EncryptedRecord, leased
from worker.errors import DeclarationError
from worker.metrics import Metrics
from worker.model import Fate, batch_of
from worker.pipeline.batch import BatchProcessor
from worker.pipeline.schemas import SchemaRules, subject_of

FORMATS = ("record", "leased")
AUTHORITY = InMemoryAuthority()


def processor(
    schema: str,
    options: DeclarationOptions,
    accepted: frozenset[UUID] = frozenset(),
    source: LocalSchemas | None = None,
    *,
    opened: bool = True,
) -> BatchProcessor:
    return BatchProcessor(
        source or LocalSchemas({1: LocalSchema(input=schema, output_id=1)}),
        SchemaRules(
            options,
            subject_of("topic", "out"),
            accepted=lambda: accepted,
            opener=BatchDecryptor(AUTHORITY) if opened else None,
        ),
        BatchEncryptor(AUTHORITY),
        route="r",
        metrics=Metrics("eu-central-1"),
    )


def encrypted(kind: str) -> tuple[str, bytes, UUID]:
    """The output schema, one framed output record, and the keyset of its envelope."""
    options = DeclarationOptions.model_validate({"format": kind})
    value = processor(SCHEMA, options).process(batch_of([framed(1)])).output.values[0] or b""
    schema = compile_schema(SCHEMA, options).plan.output_schema
    return schema, value, KEYSET


@pytest.mark.parametrize("kind", FORMATS)
def test_passes_an_envelope_of_a_listed_keyset(kind: str) -> None:
    """A record whose declared field is an envelope of a listed keyset goes on byte for byte."""
    schema, value, keyset = encrypted(kind)
    passing = DeclarationOptions(already_encrypted="pass", required=("acme.crm.Customer/email",))

    out = processor(schema, passing, frozenset({keyset})).process(batch_of([record(1, value)]))

    assert out.failures == []
    assert [r.value for r in records_of(out.output)] == [value]


@pytest.mark.parametrize("kind", FORMATS)
def test_refuses_an_envelope_of_another_keyset(kind: str) -> None:
    """An envelope whose keyset the config does not list is a bad record, not a passed one."""
    schema, value, _ = encrypted(kind)

    out = processor(schema, DeclarationOptions(already_encrypted="pass"), frozenset({uuid4()})).process(
        batch_of([record(1, value)])
    )

    assert records_of(out.output) == []
    assert [f.error.code for f in out.failures] == ["not_an_envelope"]


@pytest.mark.parametrize("kind", FORMATS)
def test_refuses_plaintext_where_an_envelope_belongs(kind: str) -> None:
    """Clear text, nothing at all, and the mere first byte of an envelope are bad records, and no error quotes them."""
    schema, _, keyset = encrypted(kind)
    clear = [b"ada@example.org", b"", b"\x01", b"\x95", b"\x01" + bytes(80)]
    records = [
        record(i, b"\0\0\0\0\1" + bytes([2]) + zigzag(len(text)) + text + b"\4DE") for i, text in enumerate(clear)
    ]

    out = processor(schema, DeclarationOptions(already_encrypted="pass"), frozenset({keyset})).process(
        batch_of(records)
    )

    assert records_of(out.output) == []
    assert {f.error.code for f in out.failures} == {"not_an_envelope"}
    assert len(out.failures) == len(clear)
    assert all("ada@" not in str(f.error) for f in out.failures)


def invented(kind: str, descriptor: str) -> bytes:
    """An envelope of the keyset, made by nobody's key: its ciphertext is the value itself."""
    clear = b"ada@example.org and some more"
    if kind == "leased":
        return leased.header(KEYSET, bytes(16), bytes(32), descriptor, bytes(8)) + bytes(12) + clear
    return EncryptedRecord(bytes(16), clear, bytes(32), descriptor, KEYSET).to_msgpack()


@pytest.mark.parametrize("descriptor", ["acme.crm.Customer/email", "acme.crm.Customer/name"])
@pytest.mark.parametrize("opened", [True, False], ids=["opened", "unopened"])
@pytest.mark.parametrize("kind", FORMATS)
def test_an_invented_envelope_does_not_pass(kind: str, opened: bool, descriptor: str) -> None:
    """Whose ciphertext is plaintext does not open; whose descriptor is another field's fails unopened too."""
    schema, _, keyset = encrypted(kind)
    value = invented(kind, descriptor)
    framed_value = b"\0\0\0\0\1" + bytes([2]) + zigzag(len(value)) + value + b"\4DE"
    passing = DeclarationOptions(already_encrypted="pass")

    out = processor(schema, passing, frozenset({keyset}), opened=opened).process(batch_of([record(1, framed_value)]))

    passes = not opened and descriptor.endswith("email")
    assert [f.error.code for f in out.failures] == ["not_an_envelope"] * (not passes)
    assert out.fates.counts().get(Fate.ENCRYPTED, 0) == 0


@pytest.mark.parametrize("kind", FORMATS)
def test_only_what_was_opened_counts_as_encrypted(kind: str) -> None:
    """`verify = "none"` lets envelopes pass unopened, and then nobody says that they are encrypted."""
    schema, value, keyset = encrypted(kind)
    passing = DeclarationOptions(already_encrypted="pass")

    fates = [
        processor(schema, passing, frozenset({keyset}), opened=opened).process(batch_of([record(1, value)])).fates
        for opened in (True, False)
    ]

    assert [f.counts() for f in fates] == [{Fate.ENCRYPTED: 1}, {Fate.PASSED: 1}]


def zigzag(n: int) -> bytes:
    n <<= 1
    return bytes([n]) if n < 128 else bytes([n & 0x7F | 0x80, n >> 7])


def test_refuses_an_encrypted_schema_unless_told() -> None:
    """Without `pass`, a field that has `encryption` is refused by its path, and the message says the remedy."""
    schema, _, _ = encrypted("record")

    with pytest.raises(DeclarationError, match=r"Customer/email is encrypted already.*already_encrypted"):
        compile_schema(schema, DeclarationOptions())


def test_refuses_a_field_that_is_both() -> None:
    """`encrypted` beside `encryption` is refused: nothing is encrypted twice by accident."""
    output = json.loads(encrypted("record")[0])
    output["fields"][1]["encrypted"] = True

    with pytest.raises(DeclarationError, match="both"):
        compile_schema(json.dumps(output), DeclarationOptions(already_encrypted="pass"))


class _Evolved(LocalSchemas):
    """A source that knows an earlier version."""

    def get(self, ref: SchemaRef) -> RegisteredSchema:
        return RegisteredSchema(ref, super().get(ref).schema, earlier=(SchemaVersion(SCHEMA),))


def test_refuses_a_version_that_lost_its_declaration() -> None:
    """A schema whose earlier version encrypted a field that is now in the clear stops the route, record and all."""
    lost = json.loads(SCHEMA)
    del lost["fields"][1]["encrypted"]
    source = _Evolved({1: LocalSchema(input=json.dumps(lost), output_id=1)})

    with pytest.raises(DeclarationError, match=r"in\[0\]@1: schema 1: .*email was encrypted in an earlier version"):
        processor("", DeclarationOptions(), source=source).process(batch_of([framed(1)]))


def test_a_union_s_record_that_declares_nothing_counts_as_passed() -> None:
    """Told by its branch, record by record; beside it malformed ones fail, and one whose declared value is null is
    encrypted."""
    beat = {"type": "record", "name": "acme.ops.Heartbeat", "fields": [{"name": "at", "type": "long"}]}
    email = {"name": "email", "type": ["null", "string"], "encrypted": True}
    customer = {"type": "record", "name": "acme.Customer", "fields": [email]}
    root, head = json.dumps([beat, customer]), b"\0\0\0\0\1"
    values = [b"\0\2", b"\2\2\2a", b"\2\0", b"", b"\xff" * 12, b"\0\4", b"\6\0"]
    batch = batch_of([record(i, head + value) for i, value in enumerate(values)])

    out = processor(root, DeclarationOptions(clear=("acme.ops.Heartbeat",))).process(batch)

    said = [out.fates[i] for i in range(len(values))]
    assert said == [
        Fate.PASSED,
        Fate.ENCRYPTED,
        Fate.ENCRYPTED,
        Fate.FAILED,
        Fate.FAILED,
        Fate.PASSED,
        Fate.FAILED,
    ]
