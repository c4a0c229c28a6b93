"""Known answers of the `record` format, typed plaintexts and search terms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.unit.encryption.plans import plan
from worker.encryption import record, terms, values
from worker.encryption.plaintext import to_typed
from worker.model import DataKey, PlaintextKind, PolicyCondition

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "zerokms.json").read_text())
RECORDS = VECTORS["records"]


def key_of(vector: dict[str, Any]) -> DataKey:
    policy = vector["decryption_policy"] or {"conditions": []}
    return DataKey(
        memoryview(bytearray.fromhex(vector["data_key"])),
        iv=bytes.fromhex(vector["iv"]),
        tag=bytes.fromhex(vector["tag"]),
        keyset=UUID(vector["keyset_id"]),
        descriptor=vector["descriptor"],
        policy=tuple(PolicyCondition(c["claim"], c.get("value")) for c in policy["conditions"]),
    )


@pytest.mark.parametrize("vector", [v for v in RECORDS if v["keyset_id"]])
def test_seals_as_the_published_client_does(vector: dict[str, Any]) -> None:
    """A value sealed under a known key has the known MessagePack."""
    (sealed,) = record.seal_records([key_of(vector)], [bytes.fromhex(vector["plaintext"])])

    assert sealed.hex() == vector["msgpack"]


@pytest.mark.parametrize("vector", RECORDS)
def test_reads_and_writes_every_form(vector: dict[str, Any]) -> None:
    """Each form of a known record reads to the same record, which writes each form again."""
    read = record.from_msgpack(bytes.fromhex(vector["msgpack"]))

    assert record.from_base85(vector["mp_base85"]) == read
    assert record.from_cbor(bytes.fromhex(vector["cbor"])) == read
    assert record.from_json(vector["json"]) == read
    assert record.from_json(json.dumps(vector["json"])) == read
    assert read.to_msgpack().hex() == vector["msgpack"]
    assert read.to_base85() == vector["mp_base85"]
    assert read.to_cbor().hex() == vector["cbor"]
    assert read.to_json() == vector["json"]


@pytest.mark.parametrize("vector", [v for v in RECORDS if v["keyset_id"]])
def test_opens_known_records(vector: dict[str, Any]) -> None:
    """A known record opens to its plaintext."""
    read = record.from_msgpack(bytes.fromhex(vector["msgpack"]))

    assert record.open_record(key_of(vector), read).hex() == vector["plaintext"]


def typed(case: str) -> bytes:
    return next(bytes.fromhex(v["bytes"]) for v in VECTORS["plaintext_encoding"] if v["case"] == case)


@pytest.mark.parametrize(
    ("case", "value"),
    [
        ("text", "héllo"),
        ("bigint 7", 7),
        ("float 1.5", 1.5),
        ("bool true", True),
        ("json", {"a": [True, None], "b": 1}),
    ],
)
def test_types_python_values_as_the_published_client_does(case: str, value: object) -> None:
    """A Python value has the known typed plaintext, and reads back from it."""
    encoded = values.typed_of_value(value)

    assert encoded == typed(case)
    assert values.value_of_typed(encoded) == value


@pytest.mark.parametrize(
    ("case", "value"), [("int -2", -2), ("biguint 7", 7), ("smallint 300", 300), ("text_null", None)]
)
def test_reads_types_that_other_clients_write(case: str, value: object) -> None:
    """Typed plaintexts of widths that Python does not have read to their value."""
    assert values.value_of_typed(typed(case)) == value


@pytest.mark.parametrize(
    ("case", "kind", "avro"),
    [
        ("text", PlaintextKind.STRING, b"\x0ch\xc3\xa9llo"),
        ("int -2", PlaintextKind.INT, b"\x03"),
        ("bigint 7", PlaintextKind.LONG, b"\x0e"),
        ("float 1.5", PlaintextKind.DOUBLE, b"\0\0\0\0\0\0\xf8\x3f"),
        ("float 1.5", PlaintextKind.FLOAT, b"\0\0\xc0\x3f"),
        ("bool true", PlaintextKind.BOOLEAN, b"\1"),
    ],
)
def test_types_avro_as_the_published_client_does(case: str, kind: PlaintextKind, avro: bytes) -> None:
    """A field's Avro binary has the known typed plaintext."""
    assert to_typed(plan(kind=kind))(avro) == typed(case)


@pytest.mark.parametrize("vector", VECTORS["index_terms"])
def test_makes_known_terms(vector: dict[str, Any]) -> None:
    """Unique and match terms under a known index key are the known ones."""
    key = terms.IndexKey(b"\x07" * 32)

    if "hm" in vector:
        made: object = terms.unique(key, values.typed_of_value(vector["value"]), lower="downcase" in vector["kind"])
        expected = vector["hm"]
    else:
        made = terms.match(key, vector["value"], terms.MatchOptions(k=3, m=256))
        expected = sorted(vector["bf"]["BitMap"])

    assert made == expected
