"""Long and odd bodies of one caller: judged like any other, one after the other, and never in the loop."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.unit.authority.conftest import party
from worker.authority import bodies, wire
from worker.authority.dev import DevAuthority
from worker.authority.reading import read_apart
from worker.authority.turns import Pace, Turns
from worker.native import IS_LOADED

KEY: dict[str, Any] = {"iv": "AAAAAAAAAAAAAAAAAAAAAA==", "descriptor": "d", "context": []}
POLICY = {"decryption_policy": {"conditions": [{"claim": "sub"}]}}


def post(dev: DevAuthority, body: Any, path: str = "generate-data-key", who: str = "CLIENT") -> httpx.Response:
    """A request with a token of the data client's, or the admin's."""
    token = dev.admin("api/authorise", {"accessKey": dev.env[f"CS_{who}_ACCESS_KEY"]})["accessToken"]
    headers = {"authorization": f"Bearer {token}"}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(dev.url + path, content=content, headers=headers, trust_env=False, timeout=60)


def asking(dev: DevAuthority, keys: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A request of the first client."""
    return {"client_id": dev.env["CS_CLIENT_ID"], "keyset_id": None, "keys": keys, "unverified_context": {}, **more}


LONG: dict[str, tuple[Callable[[DevAuthority], Any], int, str]] = {
    "policies": (lambda dev: asking(dev, [KEY | POLICY] * 300), 200, '"keys":['),
    "mixed": (lambda dev: asking(dev, [KEY] * 300 + [KEY | POLICY]), 200, '"keys":['),
    "contexts": (lambda dev: asking(dev, [KEY | {"context": [{"Tag": "t" * 400}]}] * 600), 200, '"keys":['),
    "one_odd": (lambda dev: asking(dev, [KEY] * 300 + [KEY | {"more": 1}]), 400, "keys.300.more: extra_forbidden"),
    "beside": (lambda dev: asking(dev, [KEY | POLICY] * 300, more=1), 400, "more: extra_forbidden"),
    "many": (lambda dev: asking(dev, [KEY | POLICY] * 1001), 413, "1001 keys in one request"),
    "long_key": (lambda dev: asking(dev, [KEY | POLICY | {"descriptor": "d" * 20_000}]), 413, "at most 16384"),
    "said": (lambda dev: asking(dev, [KEY], unverified_context={"a": ["x"] * 9000}), 413, "at most 16384"),
    "no_json": (lambda dev: b'{"keys":[' + b"[]," * 9000, 400, "not JSON"),
    "twice": (lambda dev: json.dumps(asking(dev, [KEY | POLICY] * 300)).encode()[:-1] + b',"keys":[]}', 400, "repeats"),
    "no_object": (lambda dev: b"[" + b"1," * 9000 + b"1]", 400, ""),
}


@pytest.mark.skipif(not IS_LOADED, reason="without the extension models read all at once")
@pytest.mark.parametrize("kind", LONG)
def test_long_bodies_are_judged_as_short_ones(dev: DevAuthority, kind: str) -> None:
    """What is read key by key is taken, or refused with its place."""
    make, status, text = LONG[kind]
    answer = post(dev, make(dev))

    assert (answer.status_code, text in answer.text) == (status, True), answer.text[:300]


def test_what_asks_for_no_keys_is_short(dev: DevAuthority) -> None:
    """Of what is longer nothing is kept, and its sender is told."""
    answer = post(dev, b"[" + b"1," * 200_000 + b"1]", path="list-clients", who="ADMIN")

    assert (answer.status_code, "longer than 262144 bytes" in answer.text) == (413, True)


def test_one_caller_s_long_bodies_are_not_in_others_way(own: DevAuthority, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is being read, another of its caller waits unread, and all other requests are answered."""
    began, go_on, reads = threading.Event(), threading.Event(), list[int]()

    def slow(*args: Any) -> Any:
        reads.append(1)
        began.set()
        assert go_on.wait(30)
        return read_apart(*args)

    monkeypatch.setattr(bodies, "read_apart", slow)
    body = asking(own, [KEY | POLICY] * 300)
    answers: list[int] = []
    senders = [threading.Thread(target=lambda: answers.append(post(own, body).status_code)) for _ in range(3)]
    for sender in senders:
        sender.start()
    assert began.wait(30)

    assert party(own, "_2").generate()[1]
    assert party(own).generate()[1]
    assert (len(reads), answers) == (1, [])
    go_on.set()
    for sender in senders:
        sender.join(30)
    assert answers == [200] * 3


@pytest.mark.skipif(not IS_LOADED, reason="without the extension models read all at once")
def test_a_thousand_usual_keys_wait_for_nobody(own: DevAuthority, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as a request may ask for, made again, are read at once while a long body of their caller's is."""
    began, go_on = threading.Event(), threading.Event()

    def slow(*args: Any) -> Any:
        began.set()
        assert go_on.wait(30)
        return read_apart(*args)

    keys = [
        KEY | {"descriptor": "customers/email", "context": [{"Value": ["tenant", f"{n:012}"]}]} for n in range(1000)
    ]
    made = post(own, asking(own, keys)).json()["keys"]
    again = [key | {"tag": list(base64.b64decode(each["tag"]))} for key, each in zip(keys, made, strict=True)]
    monkeypatch.setattr(bodies, "read_apart", slow)
    sender = threading.Thread(target=lambda: post(own, asking(own, [KEY | POLICY] * 300)))
    sender.start()
    assert began.wait(30)

    assert post(own, asking(own, again), path="retrieve-data-key").status_code == 200
    go_on.set()
    sender.join(30)


def test_callers_take_turns() -> None:
    """One has so many under way; another does not wait for them; who is gone leaves nothing behind."""

    async def run() -> list[str]:
        turns, order = Turns(1), []

        async def work(who: str) -> None:
            async with turns.of(who):
                order.append(who)
                await asyncio.sleep(0)

        await asyncio.gather(*(work(who) for who in "aaab"))
        assert not turns._held
        return order

    assert asyncio.run(run()) == ["a", "b", "a", "a"]


def test_who_works_long_rests_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times as long as it worked, and not at all for a moment's work."""
    now, slept = [0.0], list[float]()
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "sleep", slept.append)
    pace = Pace()
    for at in (0.0001, 0.002, 0.0021):
        now[0] = at
        pace.rest()

    assert slept == [pytest.approx(0.006)]


def test_keys_of_a_long_body_are_the_models() -> None:
    """Read key by key and in parts, a body is what it is when read as a whole."""
    data = json.dumps({"client_id": "00000000-0000-0000-0000-000000000009", "keys": [KEY | POLICY, KEY]}).encode()
    body = read_apart(wire.Generate, [data[:20], data[20:]])

    assert body == wire.Generate.model_validate_json(data)
