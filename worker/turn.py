"""Threads that take turns, and let each other go on while they wait for somebody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_mine = threading.local()


class Turn:
    """Of the threads that take it one goes on, and the others wait until it ends or gives way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Go on as the only one, but for `given_way`; a thread has one turn at a time."""
        with self._lock:
            _mine.lock = self._lock
            try:
                yield
            finally:
                del _mine.lock


@contextmanager
def noticed(notice: Callable[[], None]) -> Iterator[None]:
    """Have `notice` called whenever this thread gives way, which has no turn yet."""
    _mine.notice = notice
    try:
        yield
    finally:
        del _mine.notice


@contextmanager
def given_way() -> Iterator[None]:
    """Let another thread have the turn, if this one has it; it is taken again at the end, so hold no lock there."""
    lock: threading.Lock | None = getattr(_mine, "lock", None)
    if lock is None:
        yield
        return
    getattr(_mine, "notice", _nothing)()
    lock.release()
    try:
        yield
    finally:
        lock.acquire()


def _nothing() -> None:
    return
