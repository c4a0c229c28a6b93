"""One asynchronous client and several event loops; and clients that are closed while they are at work."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.unit.sdk.services import Recording
from worker import AsyncEncryption, CacheOptions, Encryption
from worker.errors import ConfigError

FIELD = "acme.crm.Customer/email"
_PATIENCE_S = 30.0

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@contextmanager
def sharing(authority: dict[str, str]) -> Iterator[AsyncEncryption]:
    """No fixture, which would keep the client beyond what is collected below."""
    client = AsyncEncryption.from_env(environ=authority)
    yield client
    asyncio.run(client.close())


@pytest.fixture(autouse=True)
def left() -> Iterator[None]:
    """Collect what a loop leaves behind that ended without closing the client: nobody can close that any more."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


async def round_trips(client: AsyncEncryption, count: int) -> list[Any]:
    async def one(n: int) -> Any:
        return await client.decrypt(await client.encrypt(f"ann{n}", field=FIELD), field=FIELD)

    return await asyncio.wait_for(asyncio.gather(*map(one, range(count))), _PATIENCE_S)


def test_a_client_outlives_an_event_loop(authority: dict[str, str]) -> None:
    """`asyncio.run` twice, as a task queue and a web framework's synchronous views do."""
    with sharing(authority) as shared:
        for _ in range(3):
            assert asyncio.run(round_trips(shared, 3)) == ["ann0", "ann1", "ann2"]


def test_loops_in_threads_share_a_client(authority: dict[str, str]) -> None:
    """Each has connections of its own, and waits for no request of another's."""
    with sharing(authority) as shared:
        found: list[Any] = []
        threads = [
            threading.Thread(target=lambda: found.append(asyncio.run(round_trips(shared, 20)))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_PATIENCE_S)

        assert found == [[f"ann{n}" for n in range(20)]] * 4


def test_a_loop_goes_on_while_calls_find_their_key_kept(authority: dict[str, str]) -> None:
    """A task that never has to wait keeps nobody else waiting, and may be cancelled."""
    with sharing(authority) as shared:

        async def busy() -> None:
            while True:
                await shared.encrypt("ann", field=FIELD, format="leased")

        async def beside() -> None:
            task = asyncio.create_task(busy())
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

        # Run by a thread: what this looks for is a loop that never comes back.
        thread = threading.Thread(target=lambda: asyncio.run(beside()), daemon=True)
        thread.start()
        thread.join(_PATIENCE_S)

        assert not thread.is_alive()


def test_a_cancelled_caller_takes_nobody_along(authority: dict[str, str]) -> None:
    """Whoever had joined its request asks again."""
    with sharing(authority) as shared:

        async def cancelled_first() -> list[Any]:
            calls = [asyncio.create_task(shared.encrypt("ann", field=FIELD)) for _ in range(10)]
            await asyncio.sleep(0)
            for call in calls[:5]:
                call.cancel()
            return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), _PATIENCE_S)

        kinds = [type(each) for each in asyncio.run(cancelled_first())]
        assert kinds[5:] == [bytes] * 5


def test_closing_ends_the_calls_of_tasks(authority: dict[str, str]) -> None:
    """With words that name the closing, not ones that promise another try."""

    async def closed_meanwhile() -> set[str]:
        client = AsyncEncryption.from_env(environ=authority)
        await client.encrypt("ann", field=FIELD)

        async def busy(chosen: Any) -> str:
            try:
                while True:
                    await client.encrypt("ann", field=FIELD, format=chosen)
            except ConfigError as exc:
                return str(exc)

        calls = [asyncio.create_task(busy(chosen)) for chosen in ("record", "leased") * 4]
        await asyncio.sleep(0.01)
        await client.close()
        return set(await asyncio.wait_for(asyncio.gather(*calls), _PATIENCE_S))

    (told,) = asyncio.run(closed_meanwhile())
    assert "this client is closed" in told


def test_threads_share_a_cache_that_is_too_small() -> None:
    """Whose every key is dropped while another thread still reads with it."""
    found = list[Any]()
    with Encryption.over(Recording(), cache=CacheOptions(max_keys=2)) as client:
        sealed = [client.encrypt(n, field=FIELD) for n in range(12)]

        def read(start: int) -> None:
            try:
                for n in range(start, start + 120):
                    again = client.encrypt(n, field=FIELD, format="leased", context={"n": n % 7})
                    found.append(client.decrypt(again, field=FIELD, context={"n": n % 7}) - n)
                    found.append(client.decrypt(sealed[n % 12], field=FIELD) - n % 12)
            except Exception as exc:
                found.append(exc)

        threads = [threading.Thread(target=read, args=(start,)) for start in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_PATIENCE_S)

    assert found == [0] * (2 * 120 * 6)


@pytest.mark.parametrize("chosen", ["record", "leased"])
def test_closing_ends_the_calls_of_threads(authority: dict[str, str], chosen: Any) -> None:
    """Likewise; and what was sealed until then opens."""
    client, sealed, told = Encryption.from_env(environ=authority), list[bytes](), list[str]()
    begun = threading.Barrier(9)

    def busy(call: Callable[[], list[bytes]]) -> None:
        begun.wait(_PATIENCE_S)
        try:
            while True:
                sealed.extend(call())
        except Exception as exc:
            told.append(f"{type(exc).__name__}: {exc}")

    def single() -> list[bytes]:
        return [client.encrypt("ann", field=FIELD, format=chosen)]

    def many() -> list[bytes]:
        return client.encrypt_many(["ann"] * 200, field=FIELD, format=chosen)

    threads = [threading.Thread(target=busy, args=(call,)) for call in (single, many) * 4]
    for thread in threads:
        thread.start()
    begun.wait(_PATIENCE_S)
    client.encrypt("ann", field=FIELD)
    client.close()
    for thread in threads:
        thread.join(_PATIENCE_S)

    assert len(told) == len(threads)
    assert {each.partition(";")[0] for each in told} == {"ConfigError: this client is closed"}
    with Encryption.from_env(environ=authority) as other:
        assert set(other.decrypt_many(sealed[-500:], field=FIELD)) <= {"ann"}
