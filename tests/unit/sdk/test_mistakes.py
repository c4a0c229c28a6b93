"""Mistakes of callers without a type checker: each is told what is wanted, and nothing is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.sdk.services import Recording
from worker import Encryption, LockContext, Regions, output_schema
from worker.errors import ConfigError
from worker.model import PolicyCondition
from worker.sdk.columns import Column
from worker.sdk.serializers import EncryptedAvroDeserializer

FIELD = "acme.crm.Customer/email"
SCHEMA = json.dumps(
    {"type": "record", "name": "a.C", "fields": [{"name": "email", "type": "string", "encrypted": True}]}
)
OUT = output_schema(SCHEMA)
Call = Callable[[Any], object]


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
        (lambda e: EncryptedAvroDeserializer(None, e, clear="a.C"), "clear is several texts"),
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


def environ() -> dict[str, str]:
    names = ("WORKSPACE_CRN", "CLIENT_ID", "CLIENT_KEY", "CLIENT_ACCESS_KEY")
    return dict.fromkeys((f"CS_{name}" for name in names), "x")


def test_what_is_meant_all_the_same_is_taken(encryption: Encryption, service: Recording) -> None:
    """A keyset as a UUID, and values from a generator."""
    envelopes = encryption.encrypt_many((name for name in ("ann", "bob")), field=FIELD)  # type: ignore[arg-type]

    assert encryption.decrypt_many(iter(envelopes), field=FIELD) == ["ann", "bob"]  # type: ignore[arg-type]
    envelope = encryption.encrypt("ann", field=FIELD, keyset=service.keysets["other"])  # type: ignore[arg-type]
    assert encryption.decrypt(envelope, field=FIELD) == "ann"
