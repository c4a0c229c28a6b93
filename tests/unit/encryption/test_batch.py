"""Whole batches, both ways."""

from __future__ import annotations

import hmac
import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.encryption.authority import KEYSET, InMemoryAuthority
from tests.unit.encryption.plans import plan
from worker.encryption import BatchDecryptor, BatchEncryptor, LeasedEnvelope, leased
from worker.encryption.plaintext import EPOCH_DAY, LAST_DAY, from_typed, read_varint, to_typed, varint
from worker.errors import ConfigError, DecryptionError, KeyAccessDenied, KeyServiceUnavailable
from worker.model import Audit, DataKey, Format, KeySpec, PlaintextKind, Value, ValueColumn
from worker.zerokms.keys import KeyCache

FORMATS: tuple[Format, ...] = ("record", "leased")
LEASED = json.loads((Path(__file__).parents[2] / "vectors" / "leased.json").read_text())


@pytest.mark.parametrize("chosen", FORMATS)
def test_opens_what_it_sealed(chosen: Format) -> None:
    """A batch of several columns comes back byte for byte, contexts grouped and order kept."""
    authority = InMemoryAuthority(lease_values=2)
    tenant = plan(format=chosen, context=("tenant_id",), descriptor="t", identity="t")
    columns = [
        ValueColumn(plan(format=chosen), [b"\x02a", b"\x02b", b"\x02c"], [0, 1, 2]),
        ValueColumn(tenant, [b"\x02d", b"\x02e", b"\x02f"], [0, 1, 2], contexts=[("x",), ("y",), ("x",)]),
        ValueColumn(plan(format=chosen, descriptor="none", identity="none")),
    ]

    sealed = BatchEncryptor(authority).encrypt(columns)
    back = BatchDecryptor(authority).decrypt(
        [
            ValueColumn(c.plan, envelopes, c.records, c.contexts)
            for c, envelopes in zip(columns, sealed.envelopes, strict=True)
        ]
    )

    assert back.values == [c.values for c in columns]
    assert back.errors == {}
    assert {spec.context for spec in authority.specs} == {(), (Value("tenant_id", "x"),), (Value("tenant_id", "y"),)}


def test_counts_keys_for_the_ledger() -> None:
    """Usage names keyset, format, requests, keys and values."""
    authority = InMemoryAuthority(lease_values=2)
    columns = [
        ValueColumn(plan(), [b"\x02a"] * 3, [0, 1, 2]),
        ValueColumn(plan(format="leased"), [b"\x02a"] * 3, [0, 1, 2]),
    ]

    usage = BatchEncryptor(authority).encrypt(columns).usage

    assert [(u.keyset, u.format, u.keys, u.values) for u in usage] == [
        (KEYSET, "record", 3, 3),
        (KEYSET, "leased", 2, 3),
    ]
    assert usage[0].request_ids | usage[1].request_ids == {key.request_id for key in authority.generated}


def test_wipes_every_single_use_key() -> None:
    """A key of the `record` format is gone once its value is sealed; a lease is left to its owner."""
    authority = InMemoryAuthority()

    BatchEncryptor(authority).encrypt([ValueColumn(plan(), [b"\x02a"] * 3, [0, 1, 2])])
    singles = list(authority.generated)
    BatchEncryptor(authority).encrypt([ValueColumn(plan(format="leased"), [b"\x02a"], [0])])

    assert all(key.is_wiped for key in singles)
    assert not authority.generated[-1].is_wiped


def test_draws_a_nonce_for_every_value() -> None:
    """Equal values under one lease have different nonces and ciphertexts."""
    column = ValueColumn(plan(format="leased"), [b"\x02a"] * 500, list(range(500)))

    envelopes = BatchEncryptor(InMemoryAuthority()).encrypt([column]).envelopes[0]

    parsed = [LeasedEnvelope.parse(e) for e in envelopes]
    assert len({p.nonce for p in parsed}) == len({p.ciphertext for p in parsed}) == 500


def test_uses_the_default_keyset_where_a_plan_names_none() -> None:
    """A plan's own keyset wins over the encryptor's default."""
    authority = InMemoryAuthority()
    columns = [ValueColumn(plan(), [b"\0"], [0]), ValueColumn(plan(keyset=str(KEYSET)), [b"\0"], [0])]

    BatchEncryptor(authority, default_keyset="default").encrypt(columns)

    assert [spec.keyset for spec in authority.specs] == ["default", str(KEYSET)]


@pytest.mark.parametrize(
    "column",
    [
        ValueColumn(plan(bind=("id",)), [b"\0"], [0], binds=[(b"1",)]),
        ValueColumn(plan(context=("id",)), [b"\0"], [0]),
        ValueColumn(plan(format="leased", bind=("id",)), [b"\0"], [0]),
    ],
)
def test_refuses_a_column_that_does_not_follow_its_plan(column: ValueColumn) -> None:
    """What a plan binds must be there, and `record` binds nothing; reading and writing alike."""
    with pytest.raises(ConfigError):
        BatchEncryptor(InMemoryAuthority()).encrypt([column])
    if column.binds is None:
        with pytest.raises(ConfigError):
            BatchDecryptor(InMemoryAuthority()).decrypt([column])


def test_a_lease_dropped_under_our_hands_is_tried_again() -> None:
    """A wiped lease key makes the batch transient, not lost."""
    authority = InMemoryAuthority()
    key = authority.take_one()
    key.wipe()

    with pytest.raises(KeyServiceUnavailable):
        leased.seal(key, bytes(8), [b""])


def test_a_lease_keeps_its_cipher_until_it_is_wiped() -> None:
    """The cipher is derived once, and goes with the key."""
    key = InMemoryAuthority().take_one()

    first = leased.cipher(key)

    assert leased.cipher(key) is first
    key.wipe()
    assert key.cipher is None


def vector_key(vector: dict[str, Any]) -> DataKey:
    return DataKey(
        memoryview(bytearray.fromhex(vector["data_key"])),
        iv=bytes.fromhex(vector["iv"]),
        tag=bytes.fromhex(vector["tag"]),
        keyset=UUID(vector["keyset"]),
        descriptor=vector["descriptor"],
    )


@pytest.mark.parametrize("vector", LEASED["envelopes"], ids=lambda v: str(v["case"]))
def test_opens_golden_leases(vector: dict[str, Any]) -> None:
    """An envelope written once opens for ever, under its context and bound values."""
    envelope = LeasedEnvelope.parse(bytes.fromhex(vector["envelope"]))

    opened = leased.open(
        vector_key(vector),
        envelope,
        context=[(name, text) for name, text in vector["context"]],
        bind_names=[name for name, _ in vector["bind"]],
        bind=[bytes.fromhex(value) for _, value in vector["bind"]],
    )

    assert opened.hex() == vector["plaintext"]
    assert envelope.to_bytes().hex() == vector["envelope"]


@pytest.mark.parametrize("vector", LEASED["envelopes"], ids=lambda v: str(v["case"]))
def test_golden_leases_follow_the_written_layout(vector: dict[str, Any]) -> None:
    """The golden bytes are what the layout's text gives when it is followed by hand."""
    tag, label = bytes.fromhex(vector["tag"]), vector["descriptor"].encode()
    head = b"\x01\x00" + UUID(vector["keyset"]).bytes + bytes.fromhex(vector["iv"])
    head += bytes([len(tag)]) + tag + bytes([len(label)]) + label + bytes.fromhex(vector["fingerprint"])
    pairs = (
        [(n.encode(), t.encode()) for n, t in vector["context"]],
        [(n.encode(), bytes.fromhex(v)) for n, v in vector["bind"]],
    )
    aad = head
    for named in pairs:
        aad += len(named).to_bytes(4, "big")
        aad += b"".join(len(x).to_bytes(4, "big") + x for pair in named for x in pair)
    extracted = hmac.digest(bytes(32), bytes.fromhex(vector["data_key"]), "sha256")
    secret = hmac.digest(extracted, b"leased-v1\x01", "sha256")
    nonce = bytes.fromhex(vector["nonce"])

    sealed = AESGCMSIV(secret).encrypt(nonce, bytes.fromhex(vector["plaintext"]), aad)

    assert (head + nonce + sealed).hex() == vector["envelope"]


def test_refuses_labels_that_a_lease_can_not_hold() -> None:
    """Descriptor and tag each fit the byte that holds their length."""
    good = (KEYSET, bytes(16), b"", "d", bytes(8))
    for at, bad in ((1, bytes(15)), (2, bytes(256)), (3, ""), (3, "x" * 256), (4, bytes(7))):
        args: list[Any] = list(good)
        args[at] = bad
        with pytest.raises(ValueError, match="byte"):
            leased.header(*args)


KINDS: dict[PlaintextKind, st.SearchStrategy[bytes]] = {
    PlaintextKind.BOOLEAN: st.sampled_from([b"\0", b"\1"]),
    PlaintextKind.INT: st.integers(-(2**31), 2**31 - 1).map(varint),
    PlaintextKind.LONG: st.integers(-(2**63), 2**63 - 1).map(varint),
    PlaintextKind.FLOAT: st.binary(min_size=4, max_size=4),
    PlaintextKind.DOUBLE: st.binary(min_size=8, max_size=8),
    PlaintextKind.STRING: st.text("aZ\u00e9\u20ac\U0001f600", max_size=200).map(
        lambda t: varint(len(t.encode())) + t.encode()
    ),
    PlaintextKind.ENUM: st.sampled_from([b"\0", b"\2", b"\4"]),
    PlaintextKind.DATE: st.integers(-(2**31), 2**31 - 1).map(varint),
    PlaintextKind.TIMESTAMP_MS: st.integers(-(2**63), 2**63 - 1).map(varint),
    PlaintextKind.AVRO: st.binary(max_size=200),
}


@given(st.data())
def test_typed_plaintext_keeps_every_byte(data: st.DataObject) -> None:
    """Any field's bytes, well-formed or not, come back as they were, in every kind and nullability."""
    kind = data.draw(st.sampled_from(list(KINDS)))
    null_branch = data.draw(st.sampled_from([None, 0, 1]))
    value = data.draw(KINDS[kind] | st.binary(max_size=20))
    if null_branch is not None:
        value = data.draw(st.sampled_from([b"\0", b"\2", b"\x82\0"])) + value
    hidden = data.draw(st.sampled_from(["keep", "encrypt"]))
    target = plan(kind=kind, null_branch=null_branch, null=hidden, symbols=("A", "B", "C"))

    typed = to_typed(target)(value)

    assert from_typed(target)(typed) == value
    if hidden == "encrypt" and null_branch is not None:
        assert typed[1] == 11


@given(st.integers(-(2**63), 2**63 - 1))
def test_varints_read_back_in_their_one_form(number: int) -> None:
    """A varint reads back, and one that is longer than it need be does not count."""
    encoded = varint(number)

    assert read_varint(encoded) == (number, len(encoded))
    assert read_varint(encoded[:-1] + bytes([encoded[-1] | 0x80, 0])) is None


@pytest.mark.parametrize(
    ("kind", "avro", "typed"),
    [
        (PlaintextKind.DATE, varint(0), b"\x01\x09" + EPOCH_DAY.to_bytes(4, "big")),
        (PlaintextKind.DATE, varint(1 - EPOCH_DAY), b"\x01\x09\0\0\0\1"),
        (PlaintextKind.DATE, varint(-EPOCH_DAY), None),
        (PlaintextKind.DATE, varint(LAST_DAY - EPOCH_DAY), b"\x01\x09" + LAST_DAY.to_bytes(4, "big")),
        (PlaintextKind.DATE, varint(LAST_DAY - EPOCH_DAY + 1), None),
        (PlaintextKind.TIMESTAMP_MS, varint(-1), b"\x01\x07" + b"\xff" * 8),
        (PlaintextKind.ENUM, b"\x02", b"\x01\x08B"),
        (PlaintextKind.DOUBLE, struct.pack("<d", float("nan")), None),
        (PlaintextKind.DOUBLE, struct.pack("<d", -0.0), b"\x01\x04\x80" + bytes(7)),
        (PlaintextKind.STRING, b"\x82\x00a", None),
        (PlaintextKind.STRING, b"\x02\xff", None),
        (PlaintextKind.INT, varint(2**31), None),
    ],
)
def test_types_each_kind_by_its_rule(kind: PlaintextKind, avro: bytes, typed: bytes | None) -> None:
    """What a type carries exactly takes it; everything else is type 11."""
    made = to_typed(plan(kind=kind, symbols=("A", "B")))(avro)

    assert made == typed if typed is not None else made.startswith(b'\x01\x0b{"avro":"')


@pytest.mark.parametrize("kind", [k for k in PlaintextKind if k is not PlaintextKind.AVRO])
@pytest.mark.parametrize(
    "typed",
    [
        b"",
        b"\x01",
        b"\x02\x08a",
        b"\x01\x03" + bytes(16),
        b"\x01\x02\x02",
        b"\x01\x05\0",
        b"\x01\x88",
        b"\x01\x0b{}",
        b'\x01\x0b{"avro":"A"}',
        b'\x01\x0b{"avro":"AA==","b":1}',
    ],
)
def test_refuses_a_typed_plaintext_of_another_type(kind: PlaintextKind, typed: bytes) -> None:
    """A field takes its own type, or Avro binary, and nothing else."""
    with pytest.raises(DecryptionError):
        from_typed(plan(kind=kind, symbols=("A",)))(typed)


def test_a_foreign_null_becomes_the_null_branch() -> None:
    """A typed null that another client wrote reads as the union's null."""
    assert from_typed(plan(null_branch=1))(b"\x01\x88") == b"\x02"


def test_a_float_takes_only_what_fits_it() -> None:
    """A double that another client wrote into a float field is refused unless it fits exactly."""
    for number in (1e300, 0.1):
        with pytest.raises(DecryptionError):
            from_typed(plan(kind=PlaintextKind.FLOAT))(b"\x01\x04" + struct.pack(">d", number))


def test_envelopes_of_random_bytes_are_refused() -> None:
    """No random bytes open, in either format."""
    authority = InMemoryAuthority()
    for chosen in FORMATS:
        data = [os.urandom(n) for n in range(200)] + [b"\x01\0" + os.urandom(n) for n in range(200)]
        opened = BatchDecryptor(authority).decrypt([ValueColumn(plan(format=chosen), data, list(range(len(data))))])
        assert opened.values == [[None] * len(data)]


def test_a_refused_context_costs_its_own_records() -> None:
    """The records of a context that the service refuses have an error each; the others have their envelopes."""

    class Choosy(InMemoryAuthority):
        def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
            if any(isinstance(e, Value) and e.value == "b" for spec in requests for e in spec.context):
                raise KeyAccessDenied("this context is refused")
            return super().generate(requests, audit)

    bound = plan(format="leased", context=("tenant",))
    column = ValueColumn(bound, [b"\x02a"] * 4, [0, 2, 3, 5], [("a",), ("b",), ("a",), ("b",)])
    with KeyCache(Choosy(), audit=Audit("test")) as cache:
        sealed = BatchEncryptor(cache).encrypt([column])

    assert {i: error.code for i, error in sealed.errors.items()} == {2: "key_refused", 5: "key_refused"}
    assert [bool(envelope) for envelope in sealed.envelopes[0]] == [True, False, True, False]
