"""Frames as programs have them: nothing of a column that is named stays in the clear, and nothing is lost unsaid."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.unit.sdk.services import Recording
from worker import Encryption
from worker.errors import ConfigError, DecryptionError, RecordError
from worker.sdk.columns import Column

FIELD = "acme.crm.Customer/email"
MICROS = '{"type": "long", "logicalType": "timestamp-micros"}'


def columns(type_: str = '"string"') -> dict[str, Column]:
    return {"email": Column(field=FIELD, type=type_)}


def test_bytes_of_a_frame_are_encrypted_too(encryption: Encryption) -> None:
    """Their column is binary before and after: that the type stays the same does not say that nothing changed."""
    frame = pd.DataFrame({"email": [b"ann@example.com"]})

    sealed = encryption.encrypt_table(frame, columns=columns('"bytes"'))

    assert b"ann" not in sealed["email"].iloc[0]
    assert encryption.decrypt_table(sealed, columns=columns('"bytes"'))["email"].tolist() == [b"ann@example.com"]
    assert frame["email"].tolist() == [b"ann@example.com"]


@pytest.mark.parametrize(
    "values", [[5, "ann@example.com"], ["ann@example.com", 5], [date(2020, 1, 1), "ann@example.com"]]
)
def test_what_arrow_can_t_convert_is_not_told(encryption: Encryption, service: Recording, values: list[object]) -> None:
    """The column is, before a key is asked for; Arrow's own words would hold the value."""
    with pytest.raises(RecordError, match="column email") as found:
        encryption.encrypt_table(pd.DataFrame({"email": values}), columns=columns())

    assert "ann" not in str(found.value)
    assert found.value.__suppress_context__
    assert service.asked == []


def test_other_columns_may_hold_anything(encryption: Encryption) -> None:
    """Objects that Arrow has no type for; labels that are no texts."""
    thing = object()
    frame = pd.DataFrame({"email": ["ann", "bob"], "other": [thing, "x"], 7: [1, 2]})

    sealed = encryption.encrypt_table(frame, columns={**columns(), "7": Column(field="a/b", type='"long"')})
    opened = encryption.decrypt_table(sealed, columns={**columns(), "7": Column(field="a/b", type='"long"')})

    assert opened["email"].tolist() == ["ann", "bob"]
    assert opened[7].tolist() == [1, 2]
    assert opened["other"].iloc[0] is thing


def test_large_whole_numbers_come_back_beside_nulls(encryption: Encryption) -> None:
    """As floats, pandas' way for a column with nulls, 2**53 + 1 would be 2**53."""
    frame = pd.DataFrame({"email": pd.array([2**53 + 1, None], dtype="Int64")})
    sealed = encryption.encrypt_table(frame, columns=columns('["null", "long"]'))

    opened = encryption.decrypt_table(sealed, columns=columns('["null", "long"]'))

    assert opened["email"].iloc[0] == 2**53 + 1
    assert opened["email"].iloc[1] is pd.NA


@pytest.mark.parametrize("told", ["row 1", "null", '"null", "string"'])
@pytest.mark.parametrize("missing", [None, pd.NA, float("nan")])
def test_a_missing_value_of_a_type_without_null_says_its_row(
    encryption: Encryption, missing: object, told: str
) -> None:
    """And what to declare."""
    with pytest.raises(RecordError, match=told):
        encryption.encrypt_table(pd.DataFrame({"email": ["ann", missing]}), columns=columns())


def test_nanoseconds_are_not_dropped(encryption: Encryption) -> None:
    """A timestamp of pandas goes on where a datetime ends; NaT is a datetime only by its class."""
    fine = pd.Timestamp("2020-01-01 01:02:03.123456789", tz="UTC")

    with pytest.raises(RecordError, match="nanoseconds"):
        encryption.encrypt(fine, field=FIELD, schema=MICROS)
    with pytest.raises(RecordError, match="nanoseconds"):
        encryption.encrypt_table(pd.DataFrame({"email": [fine]}), columns=columns(MICROS))
    with pytest.raises(RecordError, match="millisecond"):
        encryption.encrypt(pd.Timestamp("2020-01-01 01:02:03.123000789", tz="UTC"), field=FIELD)
    for schema in (None, MICROS):
        with pytest.raises(RecordError):
            encryption.encrypt(pd.NaT, field=FIELD, schema=schema)


def test_an_empty_batch_comes_back(encryption: Encryption) -> None:
    """With its columns."""
    empty = pa.RecordBatch.from_pydict({"email": pa.array([], pa.string()), "n": pa.array([], pa.int64())})

    sealed = encryption.encrypt_table(empty, columns=columns())

    assert encryption.decrypt_table(sealed, columns=columns()).equals(empty)


@pytest.mark.parametrize("shape", ["slice", "chunks", "dictionary", "large", "view", "nulls", "none"])
def test_envelopes_lie_in_arrow_s_memory_in_any_shape(encryption: Encryption, shape: str) -> None:
    """Offsets, chunks, dictionaries, views, and nothing at all."""
    names = [f"ann{n}@example.com" for n in range(10)]
    sealed = encryption.encrypt_table(pa.table({"email": names}), columns=columns()).column("email")
    made: Any = {
        "slice": sealed.slice(3, 4),
        "chunks": pa.chunked_array(
            [*sealed.slice(3, 2).chunks, *sealed.slice(0, 0).chunks, *sealed.slice(5, 2).chunks]
        ),
        "dictionary": sealed.slice(3, 4).dictionary_encode(),
        "large": sealed.slice(3, 4).cast(pa.large_binary()),
        "view": sealed.slice(3, 4).cast(pa.binary_view()),
        "nulls": pa.nulls(4),
        "none": sealed.slice(0, 0),
    }[shape]

    opened = encryption.decrypt_table(pa.table({"email": made}), columns=columns()).column("email").to_pylist()

    assert opened == {"nulls": [None] * 4, "none": []}.get(shape, names[3:7])


def test_a_value_that_does_not_open_says_its_row(encryption: Encryption) -> None:
    """The first of its column."""
    sealed = encryption.encrypt_table(pa.table({"email": ["ann", "bob", "cid"]}), columns=columns()).column("email")
    altered = [sealed[0].as_py(), *(each[:-1] + bytes([each[-1] ^ 1]) for each in sealed.to_pylist()[1:])]

    with pytest.raises(DecryptionError, match=f"{FIELD}, row 1"):
        encryption.decrypt_table(pa.table({"email": pa.array(altered, pa.binary())}), columns=columns())


TABLE = pa.table({"email": ["ann"], "tenant": ["a"], "price": [1.5]})


@pytest.mark.parametrize(
    ("table", "options", "told"),
    [
        ({"email": ["ann"]}, {"columns": columns()}, "a table is a pyarrow Table"),
        ([{"email": "ann"}], {"columns": columns()}, "a table is a pyarrow Table"),
        (TABLE, {"columns": ["email"]}, "columns is a mapping"),
        (TABLE, {"columns": {"email": None}}, r"columns\['email'\] is its field, or a Column"),
        (TABLE, {"columns": {0: FIELD}}, "each name in columns is a text"),
        (TABLE, {"columns": {"email": Column(field=FIELD, context=["tenant"]), "tenant": "a/b"}}, "encrypted too"),
        (pa.table([["a"], ["b"]], names=["email", "email"]), {"columns": columns()}, "2 columns email"),
        (pd.DataFrame([["a", "b"]], columns=["email", "email"]), {"columns": columns()}, "2 columns email"),
        (pd.DataFrame({"email": np.array([1])}), {"columns": {}}, "has the columns email"),
    ],
)
def test_a_mistake_is_told(
    encryption: Encryption, service: Recording, table: Any, options: dict[str, Any], told: str
) -> None:
    """With what is wanted instead, and before any request."""
    with pytest.raises(ConfigError, match=told):
        encryption.encrypt_table(table, **options)
    with pytest.raises(ConfigError, match=told):
        encryption.decrypt_table(table, **options)

    assert service.asked == []


def test_a_context_that_is_no_text_names_its_column(encryption: Encryption) -> None:
    """Beside the one that is bound to it."""
    with pytest.raises(RecordError, match="column email is bound to price"):
        encryption.encrypt_table(TABLE, columns={"email": Column(field=FIELD, context=["price"])})
