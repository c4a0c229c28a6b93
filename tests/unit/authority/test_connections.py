"""Silent and slow connections, and callers that guess, are not in the way of others."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import time_machine

from tests.unit.authority.conftest import Party, party
from worker.authority.dev import DevAuthority
from worker.authority.guesses import Guesses
from worker.authority.jwks import RETRY_S, ProviderKeys
from worker.authority.limits import ConnectionLimits
from worker.authority.refusal import Refusal
from worker.authority.server import AuthorityOptions
from worker.errors import KeyServiceUnavailable

ROOM = 20


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[DevAuthority]:
    """An authority with room for few."""
    limits = ConnectionLimits(header_s=30, per_address=ROOM, total=ROOM + 5)
    with DevAuthority("eu-central-1", tmp_path / "narrow", options=AuthorityOptions(connections=limits)) as running:
        yield running


def connected(own: DevAuthority, address: str = "127.0.0.1", sent: bytes = b"") -> socket.socket:
    port = int(own.url.rsplit(":", 1)[1].strip("/"))
    made = socket.create_connection(("127.0.0.1", port), 10, source_address=(address, 0))
    made.sendall(sent)
    return made


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /list-keysets HTTP/1.1\r\n", b"POST /api/authorise HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"],
)
def test_who_sends_nothing_makes_room(narrow: DevAuthority, address: str, sent: bytes) -> None:
    """However many connections wait for nothing, a client that asks is answered; the longest waiting one goes."""
    with ExitStack() as held:
        silent = [held.enter_context(connected(narrow, address, sent)) for _ in range(3 * ROOM)]

        party(narrow).generate()
        assert httpx.get(narrow.url + "healthz", trust_env=False).status_code == 200

        read_to_the_end(silent[0])


def read_to_the_end(connection: socket.socket) -> None:
    """Return once the other side has closed, whatever it said before; raises `TimeoutError` if it does not."""
    connection.settimeout(10)
    with suppress(ConnectionResetError):
        while connection.recv(65536):
            pass


def unread(own: DevAuthority, one: Party) -> socket.socket:
    """A connection over which a client with its rightful token asks for much and reads nothing."""
    key = {"iv": base64.b64encode(bytes(16)).decode(), "descriptor": "a/b"}
    body = json.dumps({"client_id": one.client_id, "keyset_id": None, "keys": [key] * 1000}).encode()
    head = f"POST /generate-data-key HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {one.call._token}\r\n"
    asked = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    connection = connected(own, sent=asked)
    threading.Thread(target=_send, args=(connection, asked * 9), daemon=True).start()
    return connection


def _send(connection: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        connection.sendall(data)


def test_who_does_not_read_makes_room(tmp_path: Path) -> None:
    """One stolen credential, answers of megabytes asked for and never read: others get in all the same."""
    options = AuthorityOptions(connections=ConnectionLimits(header_s=60, unread_s=60, per_address=3, total=3))
    with DevAuthority("eu-central-1", tmp_path, options=options) as own, ExitStack() as held:
        thief = party(own)
        thief.generate()
        for _ in range(3):
            held.enter_context(unread(own, thief))

        # What is worked at is not waited for; it is once nobody reads it.
        until(lambda: httpx.get(own.url + "healthz", trust_env=False).status_code == 200)
        until(lambda: party(own, "_2").generate()[1] != b"")


def until(act: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 50
    while True:
        try:
            assert act()
            return
        except (httpx.HTTPError, KeyServiceUnavailable):
            assert time.monotonic() < deadline, "nobody gets in"
            time.sleep(0.05)


def test_who_does_not_read_in_time_is_dropped(tmp_path: Path) -> None:
    """What waits to be read takes memory, and is given up after a while."""
    options = AuthorityOptions(connections=ConnectionLimits(unread_s=0.2))
    with DevAuthority("eu-central-1", tmp_path, options=options) as own, ExitStack() as held:
        thief = party(own)
        thief.generate()
        held.enter_context(unread(own, thief))

        def dropped() -> float:
            return (
                own.authority.metrics.registry.get_sample_value(
                    "authority_connections_closed_total", {"region": "eu-central-1", "reason": "unread"}
                )
                or 0.0
            )

        deadline = time.monotonic() + 60
        while not dropped():
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize("path", ["api/authorise", "api/unlock"])
def test_who_has_no_token_sends_little(own: DevAuthority, path: str) -> None:
    """A long body without a token is not read to its end, nor parsed."""
    refused = httpx.post(own.url + path, content=b"[" + b"{}," * 50_000 + b"{}]", trust_env=False)

    assert refused.status_code == 413


def test_no_connection_becomes_another_kind(own: DevAuthority) -> None:
    """An upgrade would take a connection out of its bounds."""
    head = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": "eA=="}

    assert httpx.get(own.url + "healthz", headers=head, trust_env=False).status_code == 200


@pytest.mark.parametrize(
    "sent", [b"", b"GET /healthz HTTP/1.1\r\nhost: x", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /"]
)
def test_a_head_must_arrive_in_time(tmp_path: Path, sent: bytes) -> None:
    """A head that is not finished within its time closes the connection, a second one on it too."""
    limits = ConnectionLimits(header_s=0.2)
    with (
        DevAuthority("eu-central-1", tmp_path, options=AuthorityOptions(connections=limits)) as own,
        connected(own, sent=sent) as silent,
    ):
        read_to_the_end(silent)

        party(own).generate()


def test_who_guesses_waits_and_who_knows_does_not() -> None:
    """After a few wrong credentials of an address the answer waits, and beyond many it is not looked at."""
    limits = ConnectionLimits(guesses=3, guesses_per_second=0.001, penalty_s=30, waiting_guesses=2)

    async def guess() -> tuple[int, bool, bool]:
        guesses = Guesses(limits, clock=lambda: 0.0)
        tasks = [asyncio.create_task(guesses.wrong("a")) for _ in range(5)]
        for _ in range(3):
            await asyncio.sleep(0)
        answered, away = sum(task.done() for task in tasks), guesses.is_turned_away("a")
        other = guesses.is_turned_away("b")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not guesses.is_turned_away("a")
        return answered, away, other

    assert asyncio.run(guess()) == (3, True, False)


def test_who_waits_for_having_guessed_is_answered_when_the_authority_stops(tmp_path: Path) -> None:
    """It holds up no stop, and is not cut off."""
    options = AuthorityOptions(connections=ConnectionLimits(guesses=1, guesses_per_second=0.001, penalty_s=1000))
    with DevAuthority("eu-central-1", tmp_path, options=options) as own, ThreadPoolExecutor(2) as threads:
        wrong = {"accessKey": "CSAKAAAAAAAAAAAAAAAA.wrong"}
        answers = [threads.submit(httpx.post, f"{own.url}api/authorise", json=wrong, timeout=60) for _ in range(2)]
        deadline = time.monotonic() + 50
        while not own.authority.guard.guesses.waiting("127.0.0.1"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        own.stop()

        assert [each.result().status_code for each in answers] == [401, 401]


PROVIDER = {"jwks": None, "jwks_uri": "https://idp/keys"}
KEYS: dict[str, Any] = {"keys": [{"kid": "one"}]}


def test_fifty_unknown_keys_are_one_fetch() -> None:
    """Tokens of keys that the provider does not have ask it once, and again only after a while."""
    fetched, now = [], [1000.0]

    def fetch(uri: str) -> dict[str, Any]:
        fetched.append(uri)
        return KEYS

    async def ask() -> None:
        keys = ProviderKeys(fetch, clock=lambda: now[0])
        assert await asyncio.gather(*(keys.get(PROVIDER, f"kid{i}") for i in range(50))) == [KEYS] * 50
        await keys.get(PROVIDER, "another")
        assert len(fetched) == 1
        now[0] += RETRY_S
        await keys.get(PROVIDER, "another")
        keys.close()

    asyncio.run(ask())
    assert len(fetched) == 2


def test_an_address_that_is_none_is_a_provider_that_fails() -> None:
    """Keys at an address of an older store that no request can be made for are not to be had: a 503, and no crash."""

    async def ask() -> None:
        keys = ProviderKeys()
        with pytest.raises(Refusal) as refused:
            await keys.get({"jwks": None, "jwks_uri": "https://[::1"}, "one")
        keys.close()
        assert refused.value.status == 503

    asyncio.run(ask())


def test_a_provider_that_fails_is_remembered_and_what_it_gave_goes_on() -> None:
    """A fetch that fails is not repeated for each token; keys from before go on serving, without any it is a 503."""
    now = [1000.0]
    answers: list[dict[str, Any] | Exception] = [ValueError("no"), KEYS, ValueError("no")]
    fetched = []

    def fetch(uri: str) -> dict[str, Any]:
        fetched.append(uri)
        answer = answers[len(fetched) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask() -> None:
        keys = ProviderKeys(fetch, clock=lambda: now[0])
        for _ in range(3):
            with pytest.raises(Refusal, match="can't be fetched"):
                await keys.get(PROVIDER, "one")
        assert len(fetched) == 1
        now[0] += RETRY_S
        assert await keys.get(PROVIDER, "one") == KEYS
        now[0] += 10_000
        assert await keys.get(PROVIDER, "one") == KEYS
        keys.close()

    asyncio.run(ask())
    assert len(fetched) == 3


def test_a_provider_that_hangs_holds_up_nobody_else() -> None:
    """While one provider's keys are waited for, another's are had."""
    go_on = threading.Event()

    def fetch(uri: str) -> dict[str, Any]:
        if "slow" in uri:
            assert go_on.wait(30)
        return KEYS

    async def ask() -> float:
        keys = ProviderKeys(fetch)
        waiting = asyncio.create_task(keys.get({"jwks": None, "jwks_uri": "https://slow/"}, "one"))
        await asyncio.sleep(0)
        assert await keys.get(PROVIDER, "one") == KEYS
        assert not waiting.done()
        go_on.set()
        await waiting
        keys.close()
        return time.monotonic()

    assert asyncio.run(ask())


def test_a_token_that_this_process_has_not_seen_is_looked_at_all_the_same(own: DevAuthority) -> None:
    """Behind one address with many who guess, a token of another replica's gets in; garbage and ended ones do not."""
    tokens = own.authority.tokens
    text = tokens.for_access_key(own.env["CS_CLIENT_ACCESS_KEY"])["accessToken"]
    header, payload, signature = text.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))

    def altered(**said: object) -> str:
        body = base64.urlsafe_b64encode(json.dumps(claims | said).encode()).decode().rstrip("=")
        return f"{header}.{body}.{signature}"

    assert tokens.is_plausible(text)
    for other in ({"exp": claims["exp"] + 1}, {"sub": "CS|else"}, {"jti": "00" * 32}, {"jti": "x"}, {"exp": "x"}):
        assert not tokens.is_plausible(altered(**other))
    for garbage in ("", "a", "a.b.c", f"{header}..{signature}", "a." + "A" * 9 + ".c"):
        assert not tokens.is_plausible(garbage)
    with time_machine.travel(claims["exp"] + 61):
        assert not tokens.is_plausible(text)
