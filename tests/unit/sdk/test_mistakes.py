"""Mistakes of callers without a type checker: each is told what is wanted, and nothing is asked for."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from tests.unit.sdk.services import Recording
from worker import AsyncEncryption, Encryption, LockContext, Regions, output_schema
from worker.errors import ConfigError, DecryptionError, RecordError
from worker.model import PolicyCondition
from worker.sdk.columns import Column
from worker.sdk.serializers import EncryptedAvroDeserializer, EncryptedAvroSerializer

FIELD = "acme.crm.Customer/email"
SCHEMA = json.dumps(
    {"type": "record", "name": "a.C", "fields": [{"name": "email", "type": "string", "encrypted": True}]}
)
OUT = output_schema(SCHEMA)
TABLE = pa.table({"email": pa.array([b""], pa.binary())})
Call = Callable[[Any], object]


def untyped(value: Any) -> Any:
    """What a type checker would refuse."""
    return value


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda e: LockContext(identity="sub"), "identity is several texts"),  # type: ignore[arg-type]
        (lambda e: LockContext(tags="support"), "tags is several texts"),  # type: ignore[arg-type]
        (lambda e: LockContext(), "locks to nothing"),
        (lambda e: LockContext(values=[("a", "b")]), "values is a mapping"),  # type: ignore[arg-type]
        (lambda e: LockContext(values={"a": 1}), "values is a text, not a int"),  # type: ignore[dict-item]
        (lambda e: e.encrypt("a", field=FIELD, lock_context={"tags": ("a",)}), "lock_context is a LockContext"),
        (lambda e: e.encrypt("a", field=FIELD, policy=PolicyCondition("sub", "x")), "policy is a list"),
        (lambda e: e.encrypt("a", field=FIELD, policy=[("sub", "x")]), "policy is a list"),
        (lambda e: e.encrypt("a", field=FIELD, context=["tenant"]), "context is a mapping"),
        (lambda e: e.encrypt("a", field=FIELD, context={1: "x"}), "a name in context is a text"),
        (lambda e: e.encrypt("a", field="\ud800"), "field holds a lone surrogate"),
        (lambda e: e.decrypt(b"", field=FIELD, context={"tenant": "\ud83d"}), r"context\['tenant'\] holds a lone"),
        (lambda e: e.encrypt("a", field=FIELD, keyset="\ud800"), "keyset holds a lone surrogate"),
        (lambda e: e.encrypt("a", field=FIELD, bind={"\ud800": b""}, format="leased"), "in bind holds a lone"),
        (lambda e: LockContext(values={"\ud800": "b"}), "in values holds a lone"),
        (lambda e: LockContext(tags=("\ud800",)), "each of tags holds a lone"),
        (lambda e: e.encrypt("a", field=FIELD, bind=["id"], format="leased"), "bind is a mapping"),
        (lambda e: e.encrypt("a", field=FIELD, schema={"type": "string"}), "json.dumps"),
        (lambda e: e.decrypt(b"", field=FIELD, schema={"type": "string"}), "json.dumps"),
        (lambda e: e.encrypt_many("ann", field=FIELD), "for one there is encrypt"),
        (lambda e: e.decrypt_many(b"ann", field=FIELD), "for one there is decrypt"),
        (lambda e: e.encrypt_records({"email": "ann"}, schema=SCHEMA), "for one there is encrypt_record"),
        (lambda e: e.encrypt_records([{"email": "ann"}] * 2, schema=SCHEMA, keys=[b"k"]), "each of the 2 records"),
        (lambda e: e.encrypt_record({"email": "ann"}, schema=SCHEMA, key="k"), "key is its bytes"),
        (lambda e: e.decrypt_records(b"ann", schema=OUT), "for one there is decrypt_record"),
        (lambda e: e.decrypt_records([b""], schema=OUT, clear="a.C"), "clear is several texts"),
        (lambda e: e.decrypt_records([b""], schema=OUT, keys=[]), "each of the 1 records"),
        (lambda e: e.decrypt_rows({"email": b""}, table=OUT), "for one there is decrypt_row"),
        (lambda e: e.decrypt_rows([{"email": b""}], table=OUT, keys=[b"a", b"b"]), "each of the 1 records"),
        (lambda e: Regions(e), "for one there is"),
        (lambda e: Column(field=FIELD, context="tenant"), "context is several texts"),
        (lambda e: EncryptedAvroDeserializer(registry(), e, clear="a.C"), "clear is several texts"),
        (lambda e: EncryptedAvroDeserializer(e, registry()), "registry is a SchemaRegistryClient, not a Encryption"),
        (
            lambda e: EncryptedAvroDeserializer(registry(), untyped("eu")),
            "encryption is an Encryption, or Regions, not a str",
        ),
        (lambda e: EncryptedAvroSerializer(e, registry(), SCHEMA), "registry is a SchemaRegistryClient"),
        (
            lambda e: EncryptedAvroSerializer(registry(), untyped(AsyncEncryption.over(untyped(None))), SCHEMA),
            "not a AsyncEncryption",
        ),
        (lambda e: EncryptedAvroSerializer(registry(), e, json.loads(SCHEMA)), "json.dumps"),
        (
            lambda e: EncryptedAvroSerializer(registry(), e, SCHEMA, **untyped({"conf": {}})),
            "option conf",
        ),
        (lambda e: EncryptedAvroSerializer(registry(), e, SCHEMA)({"email": "ann"}), "needs a context"),
        (
            lambda e: EncryptedAvroSerializer(registry(), e, SCHEMA)({"email": "ann"}, untyped("topic")),
            "needs a context",
        ),
        (lambda e: e.encrypt_many(pd.DataFrame({"email": ["ann"]}), field=FIELD), "has encrypt_table"),
        (lambda e: e.encrypt_many(pd.Series(["ann", None]), field=FIELD), "leave them out"),
        (lambda e: e.decrypt_many([b""], field=FIELD, errors="ignore"), "errors is 'raise' or 'return'"),
        (lambda e: e.decrypt_records([b""], schema=OUT, errors="ignore"), "errors is 'raise' or 'return'"),
        (lambda e: e.decrypt_rows([{"email": b""}], table=OUT, errors="ignore"), "errors is 'raise' or 'return'"),
        (lambda e: e.decrypt_table(TABLE, columns={"email": FIELD}, errors="ignore"), "errors is 'raise' or 'return'"),
        (lambda e: e.decrypt_row({"email": b""}, table=json.loads(OUT)), "table is a Table"),
        (lambda e: e.encrypt_record({"email": "ann"}, schema=json.loads(SCHEMA)), "json.dumps"),
        (lambda e: e.decrypt_record(b"", schema=json.loads(OUT)), "json.dumps"),
        (lambda e: Column(field=FIELD, type={"type": "string"}), "json.dumps"),  # type: ignore[arg-type]
        (lambda e: Column(field=FIELD, format="lease"), "format is 'record' or 'leased'"),  # type: ignore[arg-type]
        (lambda e: Column(field=""), "field takes"),
        (lambda e: Regions.from_env(["CS_EU_"]), "a prefix, as 'CS_EU_', is a text"),  # type: ignore[arg-type]
        (lambda e: Encryption.over(Recording(), cache=60), "CacheOptions"),  # type: ignore[arg-type]
        (lambda e: Encryption.over(Recording(), window_s=-1), "window_s is 0 to"),
        (lambda e: Encryption.from_env(environ=environ(), allow_hosts="kms.example.com"), "allow_hosts is several"),
    ],
)
def test_a_mistake_is_told(encryption: Encryption, service: Recording, call: Call, told: str) -> None:
    """By name, with what is wanted instead, and before any request."""
    with pytest.raises(ConfigError, match=told):
        call(encryption)

    assert service.asked == []


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_client_is_copied_nowhere(encryption: Encryption, copied: Call) -> None:
    """A process pool is told what to do instead."""
    for client in (encryption, AsyncEncryption.over(None)):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="make one in each process"):
            copied(client)


def test_one_datum_that_is_none_costs_its_own_place(encryption: Encryption) -> None:
    """As a compacted topic's tombstone among its records."""
    datum = encryption.encrypt_record({"email": "ann"}, schema=SCHEMA)

    given: Any = [None, datum, b"junk"]
    none, first, junk = encryption.decrypt_records(given, schema=OUT, errors="return")

    assert first == {"email": "ann"}
    assert isinstance(none, RecordError)
    assert isinstance(junk, RecordError)


def test_an_envelope_as_hex_is_told(encryption: Encryption) -> None:
    """As a table's export has its bytes."""
    envelope = encryption.encrypt("ann", field=FIELD)

    for text in (envelope.hex(), f"\\x{envelope.hex()}"):
        with pytest.raises(DecryptionError, match=r"bytes\.fromhex"):
            encryption.decrypt(text, field=FIELD)


def registry() -> Any:
    return SchemaRegistryClient.new_client({"url": "mock://mistakes"})


def environ() -> dict[str, str]:
    names = ("WORKSPACE_CRN", "CLIENT_ID", "CLIENT_KEY", "CLIENT_ACCESS_KEY")
    return dict.fromkeys((f"CS_{name}" for name in names), "x")


def test_what_is_meant_all_the_same_is_taken(encryption: Encryption, service: Recording) -> None:
    """A keyset as a UUID, and values from a generator."""
    envelopes = encryption.encrypt_many((name for name in ("ann", "bob")), field=FIELD)  # type: ignore[arg-type]

    assert encryption.decrypt_many(iter(envelopes), field=FIELD) == ["ann", "bob"]  # type: ignore[arg-type]
    envelope = encryption.encrypt("ann", field=FIELD, keyset=service.keysets["other"])  # type: ignore[arg-type]
    assert encryption.decrypt(envelope, field=FIELD) == "ann"
