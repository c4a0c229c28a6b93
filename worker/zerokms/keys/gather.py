"""Joins what is asked for at the same time into full requests."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from worker.errors import WorkerError
from worker.model import KeySpec, Specs
from worker.zerokms.keys.narrow import Answer, Generate, generate_each


@dataclass(frozen=True, slots=True)
class _Ask:
    specs: Specs
    answer: Future[Sequence[Answer]]


class Gatherer:
    """
    Asks for keys on other threads; what waits for a free one goes out together, up to a full request; thread-safe.

    Only what is of one keyset is joined. A refusal is narrowed to whom it is meant for. What is asked for contexts that
    nobody has seen before comes last and never has every thread: whoever invents contexts does not keep the others from
    their next keys.

    Args:
        generate: asks the key service.
        threads: how many requests are made at once.
        size: says how many keys fill a request; an ask for more is left to `generate` to split.
    """

    def __init__(self, generate: Generate, *, threads: int, size: Callable[[], int]) -> None:
        self._generate, self._size = generate, size
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="keys")
        self._lock = threading.Lock()
        self._known: deque[_Ask] = deque()
        self._new: deque[_Ask] = deque()
        self._room = max(1, threads - 1)

    def ask(self, specs: Sequence[KeySpec], *, is_new: bool = False) -> Future[Sequence[Answer]]:
        """
        Return the future of a key or a refusal per spec, in order; it fails where every spec is refused.

        Args:
            specs: of one keyset.
            is_new: none of these contexts has been seen before.
        """
        ask = _Ask(Specs.of(specs), Future())
        with self._lock:
            (self._new if is_new else self._known).append(ask)
        # One turn an ask: a turn that finds its ask gone with another's request ends at once.
        self._threads.submit(self._turns)
        return ask.answer

    def close(self) -> None:
        """Let requests under way end, cancel the rest and end the threads; safe to call twice."""
        with self._lock:
            asks = [*self._known, *self._new]
            self._known.clear()
            self._new.clear()
        for ask in asks:
            ask.answer.cancel()
        self._threads.shutdown(wait=True)

    def _turns(self) -> None:
        """Answer asks until none is left for this thread."""
        while True:
            with self._lock:
                is_new = not self._known
                asks = self._next()
                if not asks:
                    return
                self._room -= is_new
            try:
                self._answer(asks)
            finally:
                with self._lock:
                    self._room += is_new

    def _answer(self, asks: Sequence[_Ask]) -> None:
        try:
            answers = generate_each(self._generate, Specs.joined(ask.specs for ask in asks))
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
        waiting = self._known or (self._new if self._room else None)
        if not waiting:
            return []
        asks = [waiting.popleft()]
        keyset, count, size = asks[0].specs[0].keyset, len(asks[0].specs), self._size()
        while waiting:
            specs = waiting[0].specs
            if specs[0].keyset != keyset or count + len(specs) > size:
                break
            count += len(specs)
            asks.append(waiting.popleft())
        return asks


def _settle(ask: _Ask, answers: Sequence[Answer]) -> None:
    first = answers[0]
    if isinstance(first, WorkerError) and all(isinstance(answer, WorkerError) for answer in answers):
        ask.answer.set_exception(first)
    else:
        ask.answer.set_result(answers)
