"""Columns of pyarrow tables and pandas frames."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from tests.unit.sdk.services import Recording
from worker import Encryption, output_schema
from worker.errors import ConfigError, ContextDenied, DecryptionError, RecordError
from worker.sdk.columns import Column

FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "long"},
    {
        "name": "email",
        "type": ["null", "string"],
        "default": None,
        "encrypted": {"format": "leased", "context": ["id"]},
    },
    {
        "name": "limit",
        "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2},
        "encrypted": {"format": "leased"},
    },
    {"name": "born", "type": {"type": "int", "logicalType": "date"}, "encrypted": {"format": "record"}},
    {
        "name": "seen",
        "type": {"type": "long", "logicalType": "timestamp-millis"},
        "encrypted": {"format": "leased"},
    },
    {"name": "visits", "type": "long", "encrypted": {"format": "leased"}},
]
SCHEMA = json.dumps({"type": "record", "name": "acme.crm.Customer", "fields": FIELDS})
TABLE = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "email": pa.array(["ann@x", None, "cid@" + "x" * 100], pa.string()),
        "limit": pa.array([Decimal("1.50"), Decimal("-2.00"), Decimal("0.01")], pa.decimal128(10, 2)),
        "born": pa.array([date(1986, 3, 1)] * 3, pa.date32()),
        "seen": pa.array([datetime(2024, 5, 6, 7, 8, 9, 123000, UTC)] * 3, pa.timestamp("ms", "UTC")),
        "visits": pa.array([2**62, -1, 0], pa.int64()),
        "note": pa.array(["a", "b", "c"], pa.string()),
    }
)


def test_a_table_comes_back_in_its_types(encryption: Encryption, service: Recording) -> None:
    """By schema: every type is Arrow's own, nulls stay; one request for what is bound to a column, one for the rest."""
    sealed = encryption.encrypt_table(TABLE, schema=SCHEMA)
    opened = encryption.decrypt_table(sealed, schema=output_schema(SCHEMA))

    assert sealed.column("email").type == pa.binary()
    assert opened.equals(TABLE)
    assert opened.column("note").chunk(0).buffers()[2].address == TABLE.column("note").chunk(0).buffers()[2].address
    assert [asked.call for asked in service.asked].count("retrieve") == 2


def test_a_frame_comes_back(encryption: Encryption) -> None:
    """pandas in, pandas out, the index included."""
    frame = pd.DataFrame({"email": ["ann@x", "bob@x"], "tenant": ["a", "b"]}, index=[7, 9])
    columns = {"email": Column(field="customers/email", context=["tenant"])}

    sealed = encryption.encrypt_table(frame, columns=columns)
    opened = encryption.decrypt_table(sealed, columns=columns)

    assert isinstance(sealed["email"].iloc[0], bytes)
    assert opened["email"].tolist() == ["ann@x", "bob@x"]
    assert opened.index.tolist() == [7, 9]


def test_a_record_batch_comes_back(encryption: Encryption) -> None:
    """By an explicit map, with both formats in one column."""
    batch = pa.RecordBatch.from_pydict({"email": ["ann@x", "bob@x"]})
    single = encryption.encrypt_table(batch, columns={"email": Column(field="a/b", format="record")})
    shared = encryption.encrypt_table(batch, columns={"email": "a/b"})
    mixed = pa.Table.from_batches([single, shared])

    opened = encryption.decrypt_table(mixed, columns={"email": "a/b"})

    assert opened.column("email").to_pylist() == ["ann@x", "bob@x"] * 2
    assert encryption.decrypt_table(single, columns={"email": "a/b"}).equals(batch)


def test_what_does_not_open_is_raised_or_null(encryption: Encryption) -> None:
    """A value of another context, altered, or of another field."""
    columns = {"email": Column(field="a/b", context=["id"])}
    sealed = encryption.encrypt_table(pa.table({"id": [1, 2], "email": ["ann", "bob"]}), columns=columns)
    moved = sealed.set_column(0, "id", pa.array([1, 3]))

    with pytest.raises(ContextDenied, match="a/b"):
        encryption.decrypt_table(moved, columns=columns)
    with pytest.raises(DecryptionError, match="another field"):
        encryption.decrypt_table(sealed, columns={"email": Column(field="a/c", context=["id"])})
    assert encryption.decrypt_table(moved, columns=columns, errors="return").column("email").to_pylist() == [
        "ann",
        None,
    ]


@pytest.mark.parametrize(
    ("table", "options", "word"),
    [
        (TABLE, {}, "output schema, or columns"),
        (TABLE, {"columns": {"nothing": "a/b"}}, "nothing"),
        (TABLE.select(["note"]), {"schema": output_schema(SCHEMA)}, "none of the columns"),
        (TABLE.select(["email"]), {"schema": output_schema(SCHEMA)}, "envelopes are binary"),
        ([1], {"columns": {"a": "a/b"}}, "a table is"),
    ],
)
def test_says_what_a_table_lacks(encryption: Encryption, table: Any, options: dict[str, Any], word: str) -> None:
    """What can't be read is refused before a key is asked for."""
    with pytest.raises(ConfigError, match=word):
        encryption.decrypt_table(table, **options)


def test_a_value_of_another_type_names_its_column(encryption: Encryption) -> None:
    """And not the value."""
    with pytest.raises(RecordError, match="email") as found:
        encryption.encrypt_table(pa.table({"email": [4711]}), columns={"email": "a/b"})

    assert "4711" not in str(found.value)
