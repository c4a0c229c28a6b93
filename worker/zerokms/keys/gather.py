"""Joins what is asked for at the same time into full requests."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from worker.errors import WorkerError
from worker.model import KeySpec
from worker.zerokms.keys.narrow import Answer, Generate, generate_each


@dataclass(frozen=True, slots=True)
class _Ask:
    specs: Sequence[KeySpec]
    answer: Future[Sequence[Answer]]


class Gatherer:
    """
    Asks for keys on other threads; what waits for a free one goes out together, up to a full request; thread-safe.

    Only what is of one keyset is joined. A refusal is narrowed to whom it is meant for.

    Args:
        generate: asks the key service.
        threads: how many requests are made at once.
        size: keys in a full request; an ask for more is left to `generate` to split.
    """

    def __init__(self, generate: Generate, *, threads: int, size: int) -> None:
        self._generate, self._size = generate, size
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="keys")
        self._lock = threading.Lock()
        self._asks: deque[_Ask] = deque()

    def ask(self, specs: Sequence[KeySpec]) -> Future[Sequence[Answer]]:
        """Return the future of a key or a refusal per spec, in order; it fails where every spec is refused."""
        ask = _Ask(specs, Future())
        with self._lock:
            self._asks.append(ask)
        # One turn an ask: a turn that finds its ask gone with another's request ends at once.
        self._threads.submit(self._turn)
        return ask.answer

    def close(self) -> None:
        """Let requests under way end, cancel the rest and end the threads; safe to call twice."""
        with self._lock:
            asks, self._asks = self._asks, deque()
        for ask in asks:
            ask.answer.cancel()
        self._threads.shutdown(wait=True)

    def _turn(self) -> None:
        asks = self._next()
        if not asks:
            return
        try:
            answers = generate_each(self._generate, [spec for ask in asks for spec in ask.specs])
        except BaseException as exc:
            for ask in asks:
                ask.answer.set_exception(exc)
            return
        start = 0
        for ask in asks:
            end = start + len(ask.specs)
            _settle(ask, answers[start:end])
            start = end

    def _next(self) -> list[_Ask]:
        with self._lock:
            if not self._asks:
                return []
            asks = [self._asks.popleft()]
            keyset, count = asks[0].specs[0].keyset, len(asks[0].specs)
            while self._asks:
                specs = self._asks[0].specs
                if specs[0].keyset != keyset or count + len(specs) > self._size:
                    break
                count += len(specs)
                asks.append(self._asks.popleft())
        return asks


def _settle(ask: _Ask, answers: Sequence[Answer]) -> None:
    first = answers[0]
    if isinstance(first, WorkerError) and all(isinstance(answer, WorkerError) for answer in answers):
        ask.answer.set_exception(first)
    else:
        ask.answer.set_result(answers)
