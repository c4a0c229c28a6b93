"""An answer's verdict on each key: granted or refused, and nothing else is taken for either, in both forms."""

from __future__ import annotations

import base64
import os
from uuid import UUID, uuid4

import orjson
import pytest

from worker.encryption.record import EncryptedRecord
from worker.errors import KeyMaterialError
from worker.model import Audit, KeyRefused
from worker.native import IS_LOADED, extension
from worker.native.requests import NativeRequests
from worker.region import Region, WorkspaceCrn
from worker.zerokms.credentials import AccessKey, Credentials
from worker.zerokms.derive import ClientKey, random_permutation
from worker.zerokms.exchange import Exchanges, drive

KEYSET, AUDIT = UUID(int=7), Audit("test", purpose="decrypt")
GRANTED = {"key_material": base64.b64encode(os.urandom(528)).decode()}
ENVELOPE = EncryptedRecord(bytes(16), bytes(32), b"tag", "a/b", KEYSET)


@pytest.fixture
def exchanges() -> Exchanges:
    """The calls of a client with a key of its own."""
    key = ClientKey(*(random_permutation(n) for n in (16, 16, 16, 33)))
    workspace = WorkspaceCrn(Region("eu-central-1"), "W" * 16)
    return Exchanges(Credentials(workspace, uuid4(), key, AccessKey("CSAKid.secret")))


def answered(exchanges: Exchanges, item: object, *, native: bool) -> object:
    """What becomes of the one key that an answer brings."""
    reply = orjson.dumps({"keys": [item]})

    def post(*_call: object, **_more: object) -> bytes:
        return reply

    if not native:
        return drive(exchanges.retrieve(KEYSET, [ENVELOPE.request()], AUDIT), post)[0]
    asked = extension.Envelopes([ENVELOPE.to_msgpack()], None, [], False)
    requests = NativeRequests(asked.requests, [[()]])
    return drive(exchanges.retrieve_native(KEYSET, requests, 0, 1, AUDIT), post).item(0)


built = pytest.mark.skipif(not IS_LOADED, reason="the extension module was not built here")
forms = pytest.mark.parametrize("native", [pytest.param(True, marks=built), False], ids=["native", "plain"])


@forms
@pytest.mark.parametrize(
    "item",
    [
        {},
        {"Other": GRANTED},
        {"ok": GRANTED},
        {"Ok": None},
        {"Ok": {}},
        {"Ok": [GRANTED]},
        {"Ok": GRANTED["key_material"]},
        {"Err": None},
        {"Err": 1},
        {"Err": ["no"]},
        {"Ok": GRANTED, "Err": "no"},
        {"Ok": GRANTED, "more": 1},
        {"Err": "no", "more": 1},
        [GRANTED],
        None,
    ],
    ids=lambda item: str(item).replace(GRANTED["key_material"], "..."),
)
def test_what_is_neither_granted_nor_refused_refuses_the_answer(
    exchanges: Exchanges, item: object, native: bool
) -> None:
    """In words: a broken authority is no refusal of a key."""
    with pytest.raises(KeyMaterialError, match=r"key service sent|does not hold one item"):
        answered(exchanges, item, native=native)


@forms
def test_a_verdict_is_taken_as_it_is(exchanges: Exchanges, native: bool) -> None:
    """A refusal has its reason, which may be empty."""
    assert len(answered(exchanges, {"Ok": GRANTED}, native=native).secret) == 32  # type: ignore[attr-defined]
    for why in ("no", ""):
        assert answered(exchanges, {"Err": why}, native=native) == KeyRefused(why)
