"""Python values, search terms, envelopes in any form, and keys on demand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.encryption.authority import KEYSET, InMemoryAuthority
from worker.encryption import EncryptedRecord, LeasedEnvelope, leased, record, terms, values
from worker.encryption.anyform import AnyEnvelope, parse
from worker.encryption.ondemand import OnDemandKeys
from worker.errors import ConfigError, DeclarationError, DecryptionError, RecordError
from worker.model import Audit, DataKey, KeyRefused, KeySpec, PolicyCondition, RetrieveRequest
from worker.model.values import BaseInt
from worker.sdk import Encryption

KEY = terms.IndexKey(b"\x07" * 32)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("ab\u00e9", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=3), inner, max_size=3),
    max_leaves=5,
)
PLAIN = (
    st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text("a\u00e9\u20ac", max_size=20)
    | st.dates()
    | st.integers(-62_135_596_800_000, 253_402_300_799_999).map(
        lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    )
    | st.lists(JSON, max_size=3)
)


@given(PLAIN)
def test_python_values_come_back(value: object) -> None:
    """Value and type are the same after a round trip."""
    back = values.value_of_typed(values.typed_of_value(value))

    assert back == value
    assert type(back) is type(value)


def test_an_instant_is_kept_whatever_its_zone() -> None:
    """A datetime comes back in UTC, at the same instant."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=timezone(timedelta(hours=5)))

    back = values.value_of_typed(values.typed_of_value(moment))

    assert back == moment


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"bytes",
        2**64,
        -(2**63) - 1,
        datetime(2026, 1, 1),
        datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        {"avro": "x"},
        {"a": object()},
        "\ud800",
        object(),
    ],
)
def test_refuses_values_without_an_exact_form(value: object) -> None:
    """What would be lost or confused is refused, and not shown."""
    with pytest.raises(RecordError):
        values.typed_of_value(value)


def test_a_far_timestamp_is_shown_as_its_base_value() -> None:
    """Milliseconds beyond Python's years come back as what they are, marked; nothing else of a record suffers."""
    found = values.value_of_typed(b"\x01\x07" + b"\x7f" + b"\xff" * 7)

    assert found == 2**63 - 1
    assert isinstance(found, BaseInt)
    assert found.logical_type == "timestamp-millis"


@pytest.mark.parametrize(
    "value", [{"a": float("nan")}, [float("inf")], {"a": (1,)}, {"a": date(2026, 1, 2)}, {"a": UUID(int=1)}]
)
def test_refuses_objects_that_json_would_change(value: object) -> None:
    """JSON has null for NaN, text for a date or a uuid, and a list for a tuple: what would not come back is refused."""
    with pytest.raises(RecordError):
        values.typed_of_value(value)


@pytest.mark.parametrize(
    "typed",
    [
        b"",
        b"\x01",
        b"\x02\x08a",
        b"\x01\x00",
        b"\x01\x0c",
        b"\x01\x03" + bytes(16),
        b"\x01\x02\x02",
        b"\x01\x01\x00",
        b"\x01\x08\xff",
        b"\x01\x88a",
        b"\x01\x8c",
        b"\x01\x09\x00\x00\x00\x00",
        b"\x01\x0b{",
        b'\x01\x0b{"avro":"AA=="}',
    ],
)
def test_refuses_typed_plaintexts_that_no_client_writes(typed: bytes) -> None:
    """Unknown types and impossible lengths are refused."""
    with pytest.raises(DecryptionError):
        values.value_of_typed(typed)


@pytest.mark.parametrize(("value", "text"), [("a", "a"), (-7, "-7"), (True, "true"), (False, "false")])
def test_context_texts_are_the_workers(value: object, text: str) -> None:
    """A context value has one text."""
    assert values.text_of_value(value) == text


def test_a_context_takes_no_other_types() -> None:
    """A float or a null has no agreed text."""
    for value in (None, 1.5, b""):
        with pytest.raises(RecordError):
            values.text_of_value(value)


def test_match_terms_ignore_case_and_wildcards() -> None:
    """A pattern's wildcard at either end is no part of its tokens."""
    assert terms.match(KEY, "%Ann_") == terms.match(KEY, "ann")
    assert terms.match(KEY, "Ann", terms.MatchOptions(lower=False)) != terms.match(KEY, "ann")


def test_a_query_without_a_token_is_refused() -> None:
    """A search text shorter than a token would match all rows."""
    assert terms.match_query(KEY, "ann") == terms.match(KEY, "ann")
    with pytest.raises(RecordError):
        terms.match_query(KEY, "an")


def test_refuses_bad_term_options() -> None:
    """Bounds of a filter and the key's length are checked when they are given."""
    refused: list[dict[str, Any]] = [{"k": 0}, {"m": 100}, {"gram": 0}]
    for options in refused:
        with pytest.raises(ConfigError):
            terms.MatchOptions(**options)
    with pytest.raises(ValueError, match="32"):
        terms.IndexKey(b"")


def key() -> DataKey:
    return InMemoryAuthority().take(KeySpec(None, "users/email", (), (PolicyCondition("sub", "a"),)), 1)[0]


def test_reads_an_envelope_in_every_form() -> None:
    """The first byte or character tells the form."""
    sealed = record.from_msgpack(record.seal_records([key()], [b"\x01\x08ann"])[0])
    lease = leased.seal(key(), bytes(8), [b"\x06ann"])[0]

    forms: list[AnyEnvelope] = [
        sealed.to_msgpack(),
        sealed.to_cbor(),
        sealed.to_base85(),
        sealed.to_json(),
        orjson.dumps(sealed.to_json()).decode(),
    ]
    eql: list[dict[str, object]] = [
        sealed.to_eql("users", "email", version=2, terms={"hm": "00"}),
        sealed.to_eql("users", "email", version=3),
    ]

    assert all(parse(form) == sealed for form in forms)
    assert all(parse(form) == sealed for form in eql)
    assert isinstance(parse(lease), LeasedEnvelope)
    assert eql[0] == {"v": 2, "k": "ct", "i": {"t": "users", "c": "email"}, "c": sealed.to_base85(), "hm": "00"}
    assert eql[1] == {"v": 3, "i": {"t": "users", "c": "email"}, "c": sealed.to_base85()}
    for data in (b"", b"\x00", b"\x02"):
        with pytest.raises(DecryptionError):
            parse(data)


@pytest.mark.parametrize(
    "change",
    [
        {"descriptor": "x" * 513},
        {"tag": "x"},
        {"descriptor": 1},
        {"dataset_id": 5},
        {"ciphertext": b"x"},
        {"decryption_policy": {"conditions": ["x"]}},
        {"decryption_policy": "x"},
    ],
)
def test_refuses_maps_with_wrong_members(change: dict[str, object]) -> None:
    """Every member of the map has its type and length."""
    good = EncryptedRecord(bytes(16), bytes(16), b"t", "d", KEYSET)

    with pytest.raises(DecryptionError):
        record.from_json(good.to_json() | change)


def test_refuses_a_policy_of_another_shape() -> None:
    """A sixth item must be a list of conditions, each a claim and perhaps a value."""
    (good,) = record.seal_records([key()], [b""])
    policy = b"\x91\x91\x92\xa3sub\xa1a"
    assert good.endswith(policy)
    for other in (b"\xc0", b"\x90", b"\x91\x90", b"\x91\xc0", b"\x91\x91\x90", b"\x91\x91\x91\x01", b"\x91\x91\xc0"):
        with pytest.raises(DecryptionError):
            record.from_msgpack(good[: -len(policy)] + other)


def test_keys_on_demand_are_wiped_when_the_call_ends() -> None:
    """Exactly the keys needed are asked for, equal requests once, and all are wiped."""
    authority = InMemoryAuthority()
    with OnDemandKeys(authority, Audit("test")) as keys:
        made = keys.take(KeySpec(None, "d"), 2)
        (portion,) = keys.lease(KeySpec(None, "d"), [1, 2, 3])
        request = RetrieveRequest(KEYSET, made[0].iv, made[0].tag, "d")
        first, again, refused = keys.keys([request, request, RetrieveRequest(None, bytes(16), b"", "d")])

    assert len(authority.generated) == 3
    assert portion.count == 3
    assert first is again
    assert isinstance(first, DataKey)
    assert isinstance(refused, KeyRefused)
    assert all(k.is_wiped for k in [*authority.generated, first])
    assert keys.keys([]) == []


def test_dates_have_their_day_of_the_common_era() -> None:
    """0001-01-01 is day 1."""
    assert values.typed_of_value(date(1, 1, 1)) == b"\x01\x09\x00\x00\x00\x01"


def test_an_instant_before_the_year_1_of_utc_is_refused() -> None:
    """It would come back as its base value, which is another one."""
    far = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
    encryption = Encryption.over(InMemoryAuthority())

    for schema in (None, '{"type": "long", "logicalType": "timestamp-micros"}'):
        with pytest.raises(RecordError, match="years 1-9999"):
            encryption.encrypt(far, field="acme.R/at", schema=schema)


@pytest.mark.parametrize("schema", ['\ufeff"int"', '// a number\n"int"'])
def test_a_values_schema_is_read_as_any_other(schema: str) -> None:
    """A byte-order mark and comments are skipped; what is no JSON is a wrong declaration."""
    encryption = Encryption.over(InMemoryAuthority())

    assert encryption.decrypt(encryption.encrypt(7, field="acme.R/n", schema=schema), field="acme.R/n") == 7
    with pytest.raises(DeclarationError, match="not JSON"):
        encryption.encrypt(7, field="acme.R/n", schema="int")
