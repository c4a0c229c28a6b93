"""Plain keys are answered by the extension as by its twin: one is asked for what the other made."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from worker.authority import plain
from worker.authority.dev import DevAuthority
from worker.authority.remote import Remote
from worker.errors import WorkerError
from worker.native import IS_LOADED

pytestmark = pytest.mark.skipif(not IS_LOADED, reason="the extension module was not built here")
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevAuthority]:
    """One authority for all."""
    with DevAuthority("eu-central-1", tmp_path_factory.mktemp("authority")) as made:
        yield made


@pytest.fixture
def ask(authority: DevAuthority, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Asks for keys, by the extension or by its twin."""
    call = Remote(authority.url, authority.env["CS_CLIENT_ACCESS_KEY"])

    def asked(path: str, keys: list[dict[str, Any]], *, native: bool, **more: Any) -> Any:
        monkeypatch.setattr(plain, "IS_LOADED", native)
        body = {"client_id": authority.env["CS_CLIENT_ID"], "keyset_id": None, "unverified_context": {}}
        return call(path, body | {"keys": keys} | more)

    return asked


def items(count: int = 12) -> list[dict[str, Any]]:
    return [
        {"iv": base64.b64encode(os.urandom(16)).decode(), "descriptor": f'a/{n % 2} \u00e9"', "context": []}
        for n in range(count)
    ]


def with_tags(asked: list[dict[str, Any]], made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**i, "tag": list(base64.b64decode(m["tag"]))} for i, m in zip(asked, made, strict=True)]


@pytest.mark.parametrize("native", [True, False])
def test_what_one_makes_the_other_makes_again(ask: Ask, native: bool) -> None:
    """Materials are equal, key for key, by both calls that make keys again."""
    asked = items()
    made = ask("generate-data-key", asked, native=native)["keys"]

    again = ask("retrieve-data-key", with_tags(asked, made), native=not native)["keys"]
    each = ask("retrieve-data-key-fallible", with_tags(asked, made), native=not native)["keys"]

    assert [key["key_material"] for key in again] == [key["key_material"] for key in made]
    assert [key["Ok"] for key in each] == again
    assert len({key["tag"] for key in made}) == len(made)


@pytest.mark.parametrize("native", [True, False])
def test_a_tag_of_another_key_is_refused_alone(ask: Ask, native: bool) -> None:
    """Where each key is answered for itself the others are given; else none is."""
    asked = items()
    keys = with_tags(asked, ask("generate-data-key", asked, native=True)["keys"])
    keys[3]["tag"], keys[4]["tag"] = keys[4]["tag"], keys[3]["tag"]
    keys[5]["tag"] = keys[5]["tag"][:-1]

    each = ask("retrieve-data-key-fallible", keys, native=native)["keys"]

    assert [i for i, key in enumerate(each) if "Err" in key] == [3, 4, 5]
    assert {key["Err"] for key in each if "Err" in key} == {"Context did not satisfy lock requirements"}
    with pytest.raises(WorkerError, match="lock requirements"):
        ask("retrieve-data-key", keys, native=native)


@pytest.mark.parametrize(
    "change",
    [
        {"iv": "AAAA"},
        {"iv": "?"},
        {"iv": None},
        {"descriptor": "x" * 513},
        {"context": None},
        {"context": [{"Tag": "a", "IdentityClaim": "sub"}]},
        {"unknown": 1},
        {"tag": [1, 2]},
        {"decryption_policy": {"conditions": []}},
    ],
    ids=str,
)
def test_what_is_malformed_is_told_in_the_same_words(ask: Ask, change: dict[str, Any]) -> None:
    """A body that the extension leaves alone is judged by its twin."""
    keys = items()
    keys[7] |= change
    told = []

    for native in (True, False):
        with pytest.raises(WorkerError) as refused:
            ask("generate-data-key", keys, native=native)
        told.append((type(refused.value), str(refused.value)))

    assert told[0] == told[1]


@pytest.mark.parametrize(
    "more", [{"keyset_id": {"Name": "no such"}}, {"keyset_id": 5}, {"unverified_context": []}, {"more": 1}], ids=str
)
def test_the_rest_of_a_body_is_judged_as_ever(ask: Ask, more: dict[str, Any]) -> None:
    """What is wrong beside the keys is refused by either in the same words."""
    told = []

    for native in (True, False):
        with pytest.raises(WorkerError) as refused:
            ask("generate-data-key", items(), native=native, **more)
        told.append((type(refused.value), str(refused.value)))

    assert told[0] == told[1]
