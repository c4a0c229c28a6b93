"""Single calls of the SDK: those of many threads and of many tasks beside one caller's, in turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

from worker import AsyncEncryption, Encryption

FIELD = "users/email"
_ALONE = 300
_THREADS, _TASKS = 64, 1000


@dataclass(frozen=True, slots=True)
class Single:
    """Calls a second, and how many times one caller's of the same round; medians of the rounds."""

    what: str
    rate: float
    share: float


def singles(env: Mapping[str, str], calls: int, rounds: int) -> list[Single]:
    """
    Return the rates of single calls.

    Each round measures one caller, 64 threads and 1,000 tasks one after the other, so that what else the machine does
    is the same for all three.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    with Encryption.from_env(environ=env, cache=None) as encryption:
        envelopes = encryption.encrypt_many([f"v{i}" for i in range(calls)], field=FIELD)

        def encrypt(i: int) -> None:
            encryption.encrypt(f"v{i}", field=FIELD)

        def decrypt(i: int) -> None:
            encryption.decrypt(envelopes[i], field=FIELD)

        for _ in range(rounds):
            for name, call in (("encrypt", encrypt), ("decrypt", decrypt)):
                alone = _timed(_ALONE, lambda call=call: [call(i) for i in range(_ALONE)])  # type: ignore[misc]
                threads = _timed(calls, lambda call=call: _by_threads(call, calls))  # type: ignore[misc]
                tasks = asyncio.run(_by_tasks(env, name, envelopes))
                for who, rate in (
                    ("one caller", alone),
                    (f"{_THREADS} threads", threads),
                    (f"{_TASKS:,} tasks", tasks),
                ):
                    found.setdefault(f"{name}, {who}", []).append((rate, rate / alone))
    return [
        Single(what, median(rate for rate, _ in each), median(share for _, share in each))
        for what, each in found.items()
    ]


def _timed(count: int, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def _by_threads(call: Callable[[int], None], count: int) -> None:
    todo = iter(range(count))

    def work() -> None:
        for i in todo:
            call(i)

    with ThreadPoolExecutor(_THREADS) as threads:
        for ended in [threads.submit(work) for _ in range(_THREADS)]:
            ended.result()


async def _by_tasks(env: Mapping[str, str], name: str, envelopes: Sequence[bytes]) -> float:
    async with AsyncEncryption.from_env(environ=env, cache=None) as wrapped:
        await wrapped.encrypt("warm", field=FIELD)
        todo = iter(range(len(envelopes)))

        async def work(todo: Iterator[int] = todo) -> None:
            for i in todo:
                if name == "encrypt":
                    await wrapped.encrypt(f"v{i}", field=FIELD)
                else:
                    await wrapped.decrypt(envelopes[i], field=FIELD)

        start = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(_TASKS)))
        return len(envelopes) / (time.perf_counter() - start)
