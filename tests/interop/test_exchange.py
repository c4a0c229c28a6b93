"""Ours and the published client, each reading what the other wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.interop.conftest import run
from worker.authority.dev import DevAuthority
from worker.avro import DeclarationOptions, compile_schema, encode_value
from worker.encryption import BatchEncryptor, record
from worker.encryption.ondemand import OnDemandKeys
from worker.errors import ContextDenied
from worker.model import Audit
from worker.sdk import Encryption, LockContext
from worker.zerokms.factory import client_from_environment

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]
LOOPBACK = ("127.0.0.1", "localhost")
LOCK = {"lockContext": {"identityClaim": ["sub"]}}
TYPES: list[tuple[str, Any, object, object]] = [
    ("email", "string", "ann@x", "ann@x"),
    ("small", "int", -7, -7),
    ("large", "long", 2**40, str(2**40)),
    ("ratio", "double", 1.5, 1.5),
    ("agreed", "boolean", True, True),
    ("born", {"type": "int", "logicalType": "date"}, date(1986, 3, 1), "1986-03-01T00:00:00Z"),
    (
        "seen",
        {"type": "long", "logicalType": "timestamp-millis"},
        datetime(2024, 5, 6, 7, 8, 9, 123000, UTC),
        "2024-05-06T07:08:09.123Z",
    ),
]
"""Column, Avro type, the value as ours, the value as the published client gives it (a bigint as text, for JSON)."""


@pytest.fixture
def sdk(own: DevAuthority) -> Iterator[Encryption]:
    """Our SDK as the authority's first client."""
    with Encryption.from_env(environ=own.env, allow_hosts=LOOPBACK) as made:
        yield made


def _payload(envelope: bytes, column: str) -> dict[str, object]:
    return record.from_msgpack(envelope).to_eql("users", column)


def _read(package: Path, own: DevAuthority, envelopes: dict[str, bytes]) -> dict[str, Any]:
    steps = [("decrypt", 1, {"ciphertext": _payload(e, c)}) for c, e in envelopes.items()]
    return dict(zip(envelopes, run(package, own, *steps), strict=True))


def test_it_reads_what_the_worker_encrypted(package: Path, own: DevAuthority) -> None:
    """Fields that the worker's own stages sealed in the format `record` open in the published client."""
    fields = [{"name": c, "type": t} for c, t, _, _ in TYPES]
    clear = {"type": "record", "name": "users", "fields": fields}
    marked = {**clear, "fields": [{**f, "encrypted": {"format": "record"}} for f in fields]}
    compiled = compile_schema(json.dumps(marked), DeclarationOptions())
    datum = encode_value(json.dumps(clear), {c: ours for c, _, ours, _ in TYPES})
    split = compiled.split([datum], [None])
    with client_from_environment(own.env, allow_hosts=LOOPBACK) as client, OnDemandKeys(client, Audit("test")) as keys:
        sealed = BatchEncryptor(keys).encrypt(split.columns).envelopes

    read = _read(package, own, {c: column[0] for (c, _, _, _), column in zip(TYPES, sealed, strict=True)})

    assert read == {c: {"ok": theirs} for c, _, _, theirs in TYPES}


def test_it_reads_what_the_sdk_encrypted(package: Path, own: DevAuthority, sdk: Encryption) -> None:
    """Python values that the SDK sealed without any schema open in the published client."""
    values = {c: ours for c, _, ours, _ in TYPES if c != "small"} | {"extra": {"a": [1, None, "é"]}}

    theirs = {c: theirs for c, _, _, theirs in TYPES} | {"extra": values["extra"]}

    read = _read(package, own, {c: sdk.encrypt(v, field=f"users/{c}") for c, v in values.items()})

    assert read == {c: {"ok": theirs[c]} for c in values}


def test_the_sdk_reads_what_it_encrypted(package: Path, own: DevAuthority, sdk: Encryption) -> None:
    """What the published client sealed, its column's name as the descriptor, opens in the SDK, of every type."""
    values = {c: theirs for c, _, _, theirs in TYPES if c != "large"} | {"large": 7, "extra": {"a": [1, None, "é"]}}
    ours = {c: ours for c, _, ours, _ in TYPES} | {c: values[c] for c in ("large", "extra")}
    steps = [("encrypt", 0, {"plaintext": v, "table": "users", "column": c}) for c, v in values.items()]
    sealed = dict(zip(values, run(package, own, *steps), strict=True))

    read = {c: sdk.decrypt(s["ok"], field=c) if "ok" in s else s for c, s in sealed.items()}

    assert read == ours


def test_terms_agree(package: Path, own: DevAuthority, sdk: Encryption) -> None:
    """The equality term that the SDK looks for is the one that the published client writes."""
    (sealed,) = run(package, own, ("encrypt", 0, {"plaintext": "ann@x", "table": "users", "column": "email"}))

    assert sealed["ok"]["hm"] == sdk.query_term("users/email", "ann@x")


def test_locks_agree(package: Path, own: DevAuthority, sdk: Encryption) -> None:
    """A value locked to a subject by either client opens in the other for that subject alone."""
    lock = LockContext(identity=("sub",))
    ours = _payload(sdk.encrypt("locked", field="users/note", lock_context=lock), "note")

    sealed, mine, other, without = run(
        package,
        own,
        ("encrypt", 0, {"plaintext": "theirs", "table": "users", "column": "note", **LOCK}),
        ("decrypt", 0, {"ciphertext": ours, **LOCK}),
        ("decrypt", 1, {"ciphertext": ours, **LOCK}),
        ("decrypt", 0, {"ciphertext": ours}),
    )

    assert mine == {"ok": "locked"}
    assert "error" in other
    assert "error" in without
    assert sdk.decrypt(sealed["ok"], field="note", lock_context=lock) == "theirs"
    with pytest.raises(ContextDenied):
        sdk.decrypt(sealed["ok"], field="note")
