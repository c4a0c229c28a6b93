"""Single calls of threads and of tasks share requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest

from tests.unit.sdk.services import Asynchronous, Recording
from worker import AsyncEncryption, Encryption, LockContext
from worker.errors import DecryptionError, KeyAccessDenied, RecordError
from worker.sdk.kept import CacheOptions
from worker.zerokms.joining import Joiner

FIELD = "acme.crm.Customer/email"


class Gate:
    """Holds the first request until a number of callers have come after it."""

    def __init__(self) -> None:
        self.is_held = threading.Event()
        self.opened = threading.Event()
        self._first = True

    def __call__(self) -> None:
        if self._first:
            self._first = False
            self.is_held.set()
            assert self.opened.wait(30)


@contextmanager
def held(service: Recording, threads: int) -> Iterator[tuple[Encryption, ThreadPoolExecutor, Future[bytes], Gate]]:
    """A client without a cache, threads for its calls, the first of which is under way, and what holds that."""
    gate = service.during = Gate()
    with Encryption.over(service, cache=None, window_s=30.0) as encryption, ThreadPoolExecutor(threads) as pool:
        first = pool.submit(encryption.encrypt, "held", field=FIELD)
        assert gate.is_held.wait(30)
        yield encryption, pool, first, gate


def test_calls_that_meet_a_request_under_way_go_out_together() -> None:
    """One goes at once; those that come while it is under way make one request, each with its own answer."""
    joiner: Joiner[int, int] = Joiner(window_s=30.0, full=8)
    gate, sent = Gate(), list[list[int]]()

    def send(items: list[int]) -> list[int]:
        sent.append(list(items))
        gate()
        return [10 * item for item in items]

    with ThreadPoolExecutor(9) as threads:
        first = threads.submit(joiner.ask, "place", [0], send)
        assert gate.is_held.wait(30)
        rest = [threads.submit(joiner.ask, "place", [i], send) for i in range(1, 9)]
        # The eighth fills the request, so it need not wait for the first.
        assert [each.result(30) for each in rest] == [[10 * i] for i in range(1, 9)]
        gate.opened.set()
        assert first.result(30) == [0]

    assert sorted(map(len, sent)) == [1, 8]


def test_the_wait_for_others_is_bounded() -> None:
    """A call waits for the window at most, however long the request before it takes."""
    joiner: Joiner[int, int] = Joiner(window_s=0.01)
    gate = Gate()

    def send(items: list[int]) -> list[int]:
        gate()
        return items

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(joiner.ask, "place", [0], send)
        assert gate.is_held.wait(30)
        assert threads.submit(joiner.ask, "place", [1], send).result(30) == [1]
        assert not first.done()
        gate.opened.set()


@pytest.mark.parametrize(
    "apart",
    [
        {"reason": "ticket 2"},
        {"lock_context": LockContext(tags=("b",))},
        {"keyset": "other"},
    ],
)
def test_what_must_not_share_does_not(apart: dict[str, Any]) -> None:
    """Calls of another reason, lock context or keyset never go out in one request."""
    service = Recording()
    with held(service, 5) as (encryption, threads, first, gate):
        same = [threads.submit(encryption.encrypt, "ann", field=FIELD) for _ in range(2)]
        other = threads.submit(encryption.encrypt, "bob", field=FIELD, **apart)
        other.result(30)
        gate.opened.set()
        for each in (first, *same):
            each.result(30)

    requests = [asked.items for asked in service.asked]
    assert all(len({(spec.keyset, spec.context) for spec in items}) == 1 for items in requests)  # type: ignore[attr-defined]
    assert len({asked.audit.reason for asked in service.asked}) == (2 if "reason" in apart else 1)


def test_an_error_reaches_every_caller_of_its_request() -> None:
    """A refusal is each caller's own copy, so that tracebacks do not mix."""
    service = Recording()
    with held(service, 4) as (encryption, threads, first, gate):
        rest = [threads.submit(encryption.encrypt, "ann", field=FIELD) for _ in range(3)]
        service.deleted = True
        gate.opened.set()
        errors = [each.exception(30) for each in (first, *rest)]

    assert {type(error) for error in errors} == {KeyAccessDenied}
    assert len({id(error) for error in errors}) == 4


@pytest.mark.parametrize("backend", ["asyncio"])
def test_tasks_share_requests(backend: str) -> None:
    """A thousand tasks of single calls need a few requests, and each gets its own value back."""
    service = Recording()

    async def story() -> list[object]:
        found: list[object] = [None] * 1000
        async with AsyncEncryption.over(Asynchronous(service), cache=None) as encryption:

            async def one(i: int) -> None:
                envelope = await encryption.encrypt(f"value {i}", field=FIELD)
                found[i] = await encryption.decrypt(envelope, field=FIELD)

            async with anyio.create_task_group() as group:
                for i in range(1000):
                    group.start_soon(one, i)
        return found

    found = anyio.run(story, backend=backend)

    assert found == [f"value {i}" for i in range(1000)]
    assert len(service.asked) <= 20
    assert sum(asked.count for asked in service.asked) == 2000


def test_a_cancelled_task_takes_nobody_along() -> None:
    """Whoever had joined the request of a task that is cancelled asks again."""
    service = Recording()

    async def story() -> list[object]:
        held, go = anyio.Event(), anyio.Event()

        class Slow(Asynchronous):
            async def generate(self, requests: Any, audit: Any) -> Any:
                if not held.is_set():
                    held.set()
                    await go.wait()
                return await super().generate(requests, audit)

        found: list[object] = []
        async with AsyncEncryption.over(Slow(service), cache=None) as encryption:
            scope = anyio.CancelScope()

            async def first() -> None:
                with scope:
                    await encryption.encrypt("ann", field=FIELD)

            async def joined() -> None:
                envelope = await encryption.encrypt("bob", field=FIELD)
                found.append(await encryption.decrypt(envelope))

            async with anyio.create_task_group() as group:
                group.start_soon(first)
                group.start_soon(joined)
                await held.wait()
                scope.cancel()
        return found

    assert anyio.run(story) == ["bob"]


@pytest.mark.parametrize("cache", [None, CacheOptions()])
def test_calls_made_together_are_each_its_own(cache: CacheOptions | None) -> None:
    """Of many calls that meet, each has its own value or its own error, whatever the others were given."""
    service, gate = Recording(), Gate()
    with Encryption.over(service, cache=cache, window_s=30.0) as encryption, ThreadPoolExecutor(14) as threads:
        other = encryption.encrypt("moved", field="acme.crm.Customer/phone")
        values = [f"value {i} é" for i in range(10)]
        held, *sealed = encryption.encrypt_many(["held", *values], field=FIELD)
        service.during = gate
        first = threads.submit(encryption.decrypt, held, field=FIELD)
        assert gate.is_held.wait(30)
        mixed = [*sealed, other, b"", sealed[0][:-1] + bytes([sealed[0][-1] ^ 1])]
        rest = [threads.submit(encryption.decrypt, each, field=FIELD) for each in mixed]
        alone = encryption.decrypt_many(mixed, field=FIELD, errors="return")
        gate.opened.set()
        assert first.result(30) == "held"
        found = [each.exception(30) or each.result() for each in rest]

    assert found[:10] == alone[:10] == values
    assert [type(error) for error in found[10:]] == [type(error) for error in alone[10:]]
    assert all(isinstance(error, DecryptionError | KeyAccessDenied) for error in found[10:])


def test_a_value_that_is_none_fails_no_call_beside_it() -> None:
    """What has no exact form is refused before its call joins others."""
    service = Recording()
    with held(service, 4) as (encryption, threads, first, gate):
        rest = [threads.submit(encryption.encrypt, value, field=FIELD) for value in ("ann", "\ud800", "bob")]
        gate.opened.set()
        envelopes = [each.result(30) for each in (first, rest[0], rest[2])]
        assert isinstance(rest[1].exception(30), RecordError)
        assert [encryption.decrypt(each, field=FIELD) for each in envelopes] == ["held", "ann", "bob"]


def test_a_kept_key_waits_for_nobody() -> None:
    """A value whose key is at hand is opened while another call's request is under way."""
    service, gate = Recording(), Gate()
    with Encryption.over(service, window_s=30.0) as encryption, ThreadPoolExecutor(1) as threads:
        known, unknown = encryption.encrypt_many(["known", "unknown"], field=FIELD)
        assert encryption.decrypt(known, field=FIELD) == "known"
        service.during = gate
        waiting = threads.submit(encryption.decrypt, unknown, field=FIELD)
        assert gate.is_held.wait(30)
        assert encryption.decrypt(known, field=FIELD) == "known"
        gate.opened.set()
        assert waiting.result(30) == "unknown"
