"""What must not open, byte by byte and length by length."""

from __future__ import annotations

import base64
import string
from collections.abc import Sequence

import pytest

from tests.unit.encryption.authority import KEYSET, InMemoryAuthority
from tests.unit.encryption.plans import plan
from worker.encryption import BatchDecryptor, BatchEncryptor, EncryptedRecord, LeasedEnvelope, leased, record
from worker.errors import DecryptionError
from worker.model import FieldPlan, Format, KeySpec, LeasePortion, ValueColumn

FORMATS: tuple[Format, ...] = ("record", "leased")
VALUE = b"\x1eann@example.com"


def sealed(authority: InMemoryAuthority, chosen: FieldPlan, value: bytes = VALUE) -> bytes:
    columns = [ValueColumn(chosen, [value], [0])]
    return BatchEncryptor(authority).encrypt(columns).envelopes[0][0]


def error_of(authority: InMemoryAuthority, chosen: FieldPlan, envelope: bytes) -> DecryptionError | None:
    opened = BatchDecryptor(authority).decrypt([ValueColumn(chosen, [envelope], [0])])
    error = opened.errors.get(0)
    assert (error is None) == (opened.values[0][0] is not None)
    assert error is None or isinstance(error, DecryptionError)
    return error


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
@pytest.mark.parametrize("chosen", FORMATS)
def test_refuses_an_envelope_with_any_byte_changed(chosen: Format, mask: int) -> None:
    """Every byte of both envelopes, headers and lengths included, is needed as it is."""
    authority, target = InMemoryAuthority(), plan(format=chosen)
    envelope = sealed(authority, target)

    opened = []
    for i in range(len(envelope)):
        broken = bytearray(envelope)
        broken[i] ^= mask
        if error_of(authority, target, bytes(broken)) is None:
            opened.append(i)

    assert opened == []
    assert error_of(authority, target, envelope) is None


@pytest.mark.parametrize("chosen", FORMATS)
def test_refuses_an_envelope_cut_short_anywhere(chosen: Format) -> None:
    """No prefix of an envelope opens, the empty one included."""
    authority, target = InMemoryAuthority(), plan(format=chosen)
    envelope = sealed(authority, target)

    assert all(error_of(authority, target, envelope[:n]) for n in range(len(envelope)))


@pytest.mark.parametrize("chosen", FORMATS)
def test_refuses_an_envelope_with_bytes_behind_it(chosen: Format) -> None:
    """An envelope ends where its value ends."""
    authority, target = InMemoryAuthority(), plan(format=chosen)

    assert error_of(authority, target, sealed(authority, target) + b"\0")


@pytest.mark.parametrize("position", [34, 34 + 1 + 32])
@pytest.mark.parametrize("length", range(256))
def test_refuses_every_wrong_length_of_a_lease_header(position: int, length: int) -> None:
    """The two length fields of a leased envelope take no other value."""
    authority, target = InMemoryAuthority(), plan(format="leased")
    envelope = bytearray(sealed(authority, target))
    if envelope[position] == length:
        return

    envelope[position] = length

    assert error_of(authority, target, bytes(envelope))


@pytest.mark.parametrize("chosen", FORMATS)
def test_refuses_two_fields_swapped_within_a_record(chosen: Format) -> None:
    """A whole envelope moved to another field of its record does not open there."""
    authority = InMemoryAuthority()
    email = plan(format=chosen)
    name = plan(format=chosen, identity="acme.crm.Customer/name", descriptor="acme.crm.Customer/name")

    assert error_of(authority, name, sealed(authority, email))
    assert error_of(authority, email, sealed(authority, name))


@pytest.mark.parametrize("chosen", FORMATS)
def test_refuses_the_other_format(chosen: Format) -> None:
    """An envelope of the format that the field does not declare is refused, so that no binding can be dropped."""
    authority = InMemoryAuthority()
    other: Format = "leased" if chosen == "record" else "record"

    assert error_of(authority, plan(format=other), sealed(authority, plan(format=chosen)))


@pytest.mark.parametrize("chosen", FORMATS)
def test_another_authority_opens_nothing(chosen: Format) -> None:
    """Another region's authority refuses the key."""
    envelope = sealed(InMemoryAuthority(), plan(format=chosen))

    assert error_of(InMemoryAuthority(), plan(format=chosen), envelope)


@pytest.mark.parametrize("chosen", FORMATS)
def test_refuses_another_context(chosen: Format) -> None:
    """A value sealed for one tenant does not open for another."""
    authority, target = InMemoryAuthority(), plan(format=chosen, context=("tenant_id",))
    column = ValueColumn(target, [VALUE, VALUE], [0, 1], contexts=[("a",), ("b",)])
    envelopes = BatchEncryptor(authority).encrypt([column]).envelopes[0]

    opened = BatchDecryptor(authority).decrypt([ValueColumn(target, envelopes[::-1], [0, 1], [("a",), ("b",)])])

    assert opened.values == [[None, None]]
    assert set(opened.errors) == {0, 1}


def test_refuses_a_row_moved_under_a_binding() -> None:
    """A bound value moved to a row with another key does not open there."""
    authority, target = InMemoryAuthority(), plan(format="leased", bind=("id", "$key"))
    rows: list[tuple[bytes, ...]] = [(b"\x02", b"k1"), (b"\x04", b"k2")]
    envelopes = BatchEncryptor(authority).encrypt([ValueColumn(target, [VALUE] * 2, [0, 1], binds=rows)]).envelopes[0]

    opened = BatchDecryptor(authority).decrypt([ValueColumn(target, envelopes[::-1], [0, 1], binds=rows)])

    assert opened.values == [[None, None]]


def test_bound_values_can_not_shift_into_one_another() -> None:
    """Framing keeps two bound values apart: `ab`, `c` is not `a`, `bc`."""
    authority, target = InMemoryAuthority(), plan(format="leased", bind=("x", "y"))
    column = ValueColumn(target, [VALUE], [0], binds=[(b"ab", b"c")])
    envelope = BatchEncryptor(authority).encrypt([column]).envelopes[0][0]

    opened = BatchDecryptor(authority).decrypt([ValueColumn(target, [envelope], [0], binds=[(b"a", b"bc")])])

    assert opened.values == [[None]]


def test_refuses_a_type_that_changed() -> None:
    """A leased value sealed under another field type is refused before any key is asked for."""
    authority, target = InMemoryAuthority(), plan(format="leased")
    envelope = sealed(authority, target)

    assert error_of(authority, plan(format="leased", fingerprint=bytes(8)), envelope)


def test_refuses_messagepack_that_is_not_shortest() -> None:
    """A record has one encoding: the same array with a longer header is no envelope."""
    authority = InMemoryAuthority()
    envelope = sealed(authority, plan())
    longer = [
        b"\xdc\x00\x05" + envelope[1:],
        envelope[:1] + b"\xc5\x00\x10" + envelope[3:],
        envelope.replace(b"\xb7acme", b"\xd9\x17acme"),
    ]

    for data in longer:
        assert data != envelope
        with pytest.raises(DecryptionError) as caught:
            record.from_msgpack(data)
        assert caught.value.code == "not_an_envelope"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x95",
        b"\x90",
        b"\xc0",
        b"\x81\xc0\xc0",
        b"\x95\xc0\xc0\xc0\xc0\xc0",
        b"\x95\xc4\x10" + bytes(16) + b"\xc4\x0f" + bytes(15) + b"\xc4\x00\xa0\xc0",
        b"\x91" * 5000,
    ],
)
def test_refuses_messagepack_of_another_shape(data: bytes) -> None:
    """What is not five or six items of the right types and lengths is no envelope."""
    with pytest.raises(DecryptionError):
        record.from_msgpack(data)


def test_refuses_malformed_text_forms() -> None:
    """Base85, CBOR and JSON that differ from what is written are refused."""
    read = record.from_msgpack(sealed(InMemoryAuthority(), plan()))
    broken_json = read.to_json() | {"iv": [256] * 16}

    for text in ("", "!", "\u00e9", read.to_base85() + " ", read.to_base85()[:-1]):
        with pytest.raises(DecryptionError):
            record.from_base85(text)
    for data in (b"", b"\xa0", b"\xa5", read.to_cbor() + b"\0", b"\xf6"):
        with pytest.raises(DecryptionError):
            record.from_cbor(data)
    for value in (
        "",
        "[]",
        "{}",
        {"v": 1, "c": "x"},
        {"v": 2, "k": "pt", "c": "x"},
        {"v": 3},
        broken_json,
        read.to_json() | {"dataset_id": "x"},
        read.to_json() | {"more": 1},
        read.to_json() | {"decryption_policy": {"conditions": []}},
        read.to_json() | {"decryption_policy": {"conditions": [{"value": "x"}]}},
        read.to_json() | {"decryption_policy": {"conditions": [{"claim": 1}]}},
    ):
        with pytest.raises(DecryptionError):
            record.from_json(value)


def test_refuses_unknown_flags_and_versions_of_a_lease() -> None:
    """A leased envelope with flags, another version or no descriptor is refused when it is taken apart."""
    envelope = sealed(InMemoryAuthority(), plan(format="leased"))
    not_utf8 = envelope.replace(b"acme", b"\xffcme")

    for data in (envelope[:1] + b"\x01" + envelope[2:], b"\x02" + envelope[1:], not_utf8, b""):
        with pytest.raises(DecryptionError) as caught:
            LeasedEnvelope.parse(data)
        assert caught.value.code == "not_an_envelope"


def test_one_bad_value_costs_its_own_record_only() -> None:
    """Its neighbours open, and the error carries the field's path and no content."""
    authority = InMemoryAuthority()
    good = [sealed(authority, plan()) for _ in range(3)]
    column = ValueColumn(plan(), [good[0], b"ann@example.com", good[2]], [4, 5, 6])

    opened = BatchDecryptor(authority).decrypt([column])

    assert opened.values == [[VALUE, None, VALUE]]
    assert list(opened.errors) == [5]
    assert opened.errors[5].path == "acme.crm.Customer/email"
    assert opened.errors[5].code == "not_an_envelope"
    assert "ann@" not in str(opened.errors[5])


def test_envelopes_show_nothing_in_their_repr() -> None:
    """Ciphertext and tag stay out of logs."""
    authority = InMemoryAuthority()
    read = record.from_msgpack(sealed(authority, plan()))
    lease = LeasedEnvelope.parse(sealed(authority, plan(format="leased")))

    assert "ciphertext" not in repr(read)
    assert "ciphertext" not in repr(lease)
    assert read.keyset == lease.keyset == KEYSET
    assert base64.b64encode(lease.tag).decode() not in repr(lease)


def test_refuses_base85_that_is_not_canonical() -> None:
    """A last group with spare bits has one spelling: the others are refused."""
    read = record.from_msgpack(sealed(InMemoryAuthority(), plan()))
    tags = [EncryptedRecord(read.iv, read.ciphertext, bytes(n), "d", None) for n in range(4)]
    others = [
        other
        for made in tags
        for last in string.ascii_letters + string.digits
        if (other := made.to_base85()[:-1] + last) != made.to_base85()
        if base64.b85decode(other) == made.to_msgpack()
    ]

    assert others
    for text in others:
        with pytest.raises(DecryptionError):
            record.from_base85(text)


def test_a_lease_does_not_open_under_other_bound_values() -> None:
    """One envelope at a time, too: what it was sealed with is needed."""
    key = InMemoryAuthority().take_one()
    envelope = LeasedEnvelope.parse(leased.seal(key, bytes(8), [VALUE], bind_names=["id"], binds=[[b"1"]])[0])

    assert leased.open(key, envelope, bind_names=["id"], bind=[b"1"]) == VALUE
    with pytest.raises(DecryptionError):
        leased.open(key, envelope, bind_names=["id"], bind=[b"2"])


def test_leases_must_add_up() -> None:
    """Portions that do not cover every value are a fault of their source, and nothing is written."""

    class Short(InMemoryAuthority):
        def lease(self, spec: KeySpec, sizes: Sequence[int]) -> list[LeasePortion]:
            return super().lease(spec, sizes[1:])

    with pytest.raises(RuntimeError):
        BatchEncryptor(Short()).encrypt([ValueColumn(plan(format="leased"), [VALUE] * 2, [0, 1])])
