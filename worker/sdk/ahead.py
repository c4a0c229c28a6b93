"""Portions of a large call: while one is worked on, the keys of the next ones are under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

PORTION = 4_000
"""Values of a portion: nearly as many as a client's requests under way ask for at once."""
_AHEAD = 2
T = TypeVar("T")
R = TypeVar("R")


def spans(count: int) -> list[tuple[int, int]]:
    """Return where portions of so many values begin and end."""
    return [(start, min(count, start + PORTION)) for start in range(0, count, PORTION)]


def ahead(asks: Iterable[Callable[[], T]], use: Callable[[T], R]) -> list[R]:
    """
    Return what `use` makes of each answer, in order, with the next questions under way meanwhile.

    When it returns or raises, nothing is under way any more.
    """
    made: list[R] = []
    under_way: deque[Future[T]] = deque()
    with ThreadPoolExecutor(_AHEAD + 1, thread_name_prefix="sdk") as threads:
        try:
            for ask in asks:
                under_way.append(threads.submit(copy_context().run, ask))
                if len(under_way) > _AHEAD + 1:
                    made.append(use(under_way.popleft().result()))
            while under_way:
                made.append(use(under_way.popleft().result()))
        finally:
            for each in under_way:
                each.cancel()
    return made
