"""Requests for keys that are read and answered natively: byte for byte what the models say."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pytest

from worker.authority import material, reading, wire
from worker.authority.access import Caller
from worker.authority.asked import Asked, Maker, NativeAsked, PlainAsked, Ready, Values
from worker.authority.audit.hashed import ContextHash
from worker.authority.bound import LOCK
from worker.authority.material import KeysetSecrets
from worker.authority.refusal import Refusal
from worker.authority.rights import Rights
from worker.native import IS_LOADED
from worker.zerokms.derive import Permutations

pytestmark = pytest.mark.skipif(not IS_LOADED, reason="without the extension there is the twin alone")

_DRAWN = np.random.default_rng(7)
SHARE = Permutations(*(_DRAWN.permutation(n).astype(np.uint8) for n in (16, 16, 33)))


def leaves(values: Values) -> bytes:
    """What an erasable keyset's contexts add; one of them is erased."""
    if ("tenant", "erased") in values:
        raise Refusal(403, "subject_erased", more={"erased": [["tenant", "erased"]]})
    return material.framed(*(b"leaf of " + text.encode() for _, text in values))


_PARTS = UUID(int=5), bytes(range(32)), bytes(range(32, 64))
MAKERS = {
    "plain": Maker(KeysetSecrets(*_PARTS), SHARE, None),
    "erasable": Maker(KeysetSecrets(*_PARTS, bytes(range(64, 96))), SHARE, leaves),
}


@pytest.fixture(params=MAKERS)
def maker(request: pytest.FixtureRequest) -> Maker:
    """What keys of either kind of keyset are made with."""
    return MAKERS[request.param]


HASHED = ContextHash(bytes(range(32)))
CALLER = Caller("W" * 16, "CS|ann", Rights(frozenset()), None, {"sub": "CS|ann"})
CONTEXTS: list[list[dict[str, Any]]] = [
    [],
    [{"Value": ["tenant", "acmé"]}],
    [{"Tag": "support"}, {"IdentityClaim": "sub"}],
    [{"identityClaim": "sub"}],
    [{"Tag": "тикет"}, {"Value": ["it's", "a \"b\" and 'c'"]}],
    [{"Tag": "тикет"}, {"Value": ["it's", "a \"b\" and 'c'\n\x7f"]}],
]


def items(count: int = 40) -> list[dict[str, Any]]:
    """Keys to make, of several fields and contexts."""
    each = range(count)
    ivs = [base64.b64encode(_DRAWN.bytes(16)).decode() for _ in each]
    return [{"iv": ivs[i], "descriptor": f"fïeld/{i % 3}", "context": CONTEXTS[i % len(CONTEXTS)]} for i in each]


def body(keys: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A request for keys."""
    head = {"client_id": str(UUID(int=9)), "keyset_id": {"Name": "k"}, "unverified_context": {"reason": "ticket 1"}}
    return {**head, **more, "keys": keys}


def both(model: type[wire.Generate | wire.Retrieve], data: bytes) -> tuple[Asked, Asked]:
    """A body as each reads it."""
    native = reading.read(model, data)
    assert isinstance(native, NativeAsked)
    return native, PlainAsked(model.model_validate(json.loads(data)))


def told(answer: Callable[[], Any]) -> bytes:
    """What leaves."""
    made = answer()
    return made.json if isinstance(made, Ready) else orjson.dumps(made)


def made_of(keys: list[dict[str, Any]], maker: Maker) -> list[dict[str, Any]]:
    """The same keys, with the tags that they were given."""
    generated = json.loads(told(PlainAsked(wire.Generate.model_validate(body(keys))).generate(CALLER, maker)))
    tags = [list(base64.b64decode(key["tag"])) for key in generated["keys"]]
    return [{**key, "tag": tag} for key, tag in zip(keys, tags, strict=True)]


def test_fresh_keys_are_the_twins(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same nonces give the same answer, and the audit is told the same."""
    monkeypatch.setattr("os.urandom", lambda n: bytes(i % 251 for i in range(n)))
    native, plain = both(wire.Generate, orjson.dumps(body(items())))

    assert told(native.generate(CALLER, maker)) == told(plain.generate(CALLER, maker))
    assert native.head.unverified_context == plain.head.unverified_context
    assert (native.head.client_id, native.head.keyset_id) == (plain.head.client_id, plain.head.keyset_id)
    assert (len(native), dict(native.descriptors), native.hashes(HASHED)) == (
        len(plain),
        dict(plain.descriptors),
        plain.hashes(HASHED),
    )


def test_a_context_is_told_by_what_it_was_told_by_before() -> None:
    """Equal contexts are found in a trail that earlier versions began, whoever read the request."""
    context = [{"Tag": "ticket"}, {"Value": ["tenant", "o'hara"]}]
    said = "[Element(Tag='ticket', Value=None, IdentityClaim=None), "
    said += "Element(Tag=None, Value=('tenant', \"o'hara\"), IdentityClaim=None)]"
    expected = [hmac.digest(HASHED.secret, said.encode(), "sha256").hex()[:32]]

    for each in both(wire.Generate, orjson.dumps(body([items(1)[0] | {"context": context}]))):
        assert each.hashes(HASHED) == expected


@pytest.mark.parametrize("fallible", [True, False])
def test_keys_made_again_are_the_twins(maker: Maker, fallible: bool) -> None:
    """Equal answers, whichever part of a request was altered."""
    kept = made_of(items(), maker)
    native, plain = both(wire.Retrieve, orjson.dumps(body(kept)))
    answers = [each.retrieve(CALLER, maker, fallible=fallible) for each in (native, plain)]
    assert answers[0][0] == answers[1][0] == 0
    assert told(answers[0][1]) == told(answers[1][1])


@pytest.mark.parametrize(
    "alter",
    [
        lambda key: key | {"descriptor": "other"},
        lambda key: key | {"iv": base64.b64encode(bytes(16)).decode()},
        lambda key: key | {"context": [*key["context"], {"Tag": "more"}]},
        lambda key: key | {"context": [{"IdentityClaim": "email"}]},
        lambda key: key | {"tag": [key["tag"][0] ^ 1, *key["tag"][1:]]},
        lambda key: key | {"tag": [*key["tag"][:-1], key["tag"][-1] ^ 1]},
    ],
    ids=["descriptor", "iv", "context", "claim", "nonce", "mac"],
)
def test_refusals_are_the_twins(maker: Maker, alter: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Each altered key is refused for itself, in the same words; without `fallible` the first refuses all."""
    kept = made_of(items(9), maker)
    data = orjson.dumps(body([alter(key) if i in (2, 5) else key for i, key in enumerate(kept)]))
    native, plain = both(wire.Retrieve, data)

    answers = [each.retrieve(CALLER, maker, fallible=True) for each in (native, plain)]
    assert answers[0][0] == answers[1][0] == 2
    assert told(answers[0][1]) == told(answers[1][1])
    errors = []
    for each in (native, plain):
        with pytest.raises(Refusal) as refused:
            each.retrieve(CALLER, maker, fallible=False)
        errors.append((refused.value.status, str(refused.value)))
    assert errors[0] == errors[1]


def test_what_is_erased_is_refused_by_both() -> None:
    """Whole where keys are made, with the values; of keys made again each for itself, but for an altered one."""
    maker = MAKERS["erasable"]
    kept = made_of(items(6), MAKERS["erasable"])
    gone = [{"Value": ["tenant", "erased"]}]
    data = orjson.dumps(body([*({"iv": k["iv"], "descriptor": "d", "context": gone} for k in kept), *items(3)]))
    for each in both(wire.Generate, data):
        with pytest.raises(Refusal) as refused:
            each.generate(CALLER, maker)
        assert refused.value.more == {"erased": [["tenant", "erased"]]}
    made = made_of([{**key, "context": gone} for key in items(2)], maker._replace(leaves=lambda _values: b""))
    altered = {**made[0], "tag": [made[0]["tag"][0] ^ 1, *made[0]["tag"][1:]]}
    answers = []
    for each in both(wire.Retrieve, orjson.dumps(body([*kept, *made, altered]))):
        refusals, answer = each.retrieve(CALLER, maker, fallible=True)
        assert refusals == 3
        answers.append(told(answer))
    assert answers[0] == answers[1]
    errors = [key.get("Err") for key in json.loads(answers[0])["keys"]]
    assert errors == [None] * 6 + ["subject_erased"] * 2 + [LOCK]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"decryption_policy": {"conditions": [{"claim": "sub"}]}, "context": []}, None),
        ({"context": [{"Tag": "a", "Value": ["b", "c"]}]}, None),
        ({"context": [{"Tag": "a", "Value": None}]}, None),
        ({"context": None}, "keys.0.context"),
        ({"context": [{"Tag": "t"}] * 65}, "keys.0.context"),
        ({"context": [{"Tog": "t"}]}, "keys.0.context"),
        ({"descriptor": "d" * 513}, "keys.0.descriptor"),
        ({"more": 1}, "keys.0.more"),
        ({"iv": "AAAA"}, None),
    ],
    ids=[
        "policy",
        "two_kinds",
        "null",
        "no_context",
        "long_context",
        "unknown_element",
        "long_descriptor",
        "unknown",
        "short_iv",
    ],
)
def test_what_is_odd_is_judged_by_the_models(change: dict[str, Any], place: str | None) -> None:
    """What the native reader does not know is read as ever: taken, or refused with its place."""
    data = orjson.dumps(body([items(1)[0] | change]))
    if place is None:
        assert isinstance(reading.read(wire.Generate, data), wire.Generate)
        return
    with pytest.raises(ValueError, match=place):
        reading.read(wire.Generate, data)


@pytest.mark.parametrize(
    "text",
    [
        '{"client_id":"x","client_id":"y","keys":[],"unverified_context":{}}',
        '{"client_id":"x","keys":[],"unverified_context":{"a":1,"a":2}}',
        '{"client_id":"x","keys":[],"unverified_context":{"a":"\\ud800"}}',
        '{"client_id":"x","keys":[],"unverified_context":{"a":NaN}}',
    ],
    ids=["twice", "twice_within", "half_a_character", "nan"],
)
def test_json_is_as_strict(text: str) -> None:
    """A repeated name, half a character and what is no number are refused wherever they stand."""
    with pytest.raises(Refusal, match="not JSON"):
        reading.read(wire.Generate, text.encode())


def test_a_share_says_nothing() -> None:
    """What is held for a client can't be read."""
    assert repr(material.native_share(MAKERS["plain"].secrets, SHARE)) == "Share(...)"
