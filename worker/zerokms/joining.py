"""Single calls made at the same time share a request."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from worker.errors import KeyServiceUnavailable
from worker.interpreter import on_fork

T = TypeVar("T")
R = TypeVar("R")

FULL = 500
"""Items with which a joined request goes out without waiting for more."""
JOINED = 100
"""A call for more than this goes by itself: it fills a request."""
_PLACES = 256
WINDOW_S = 0.005
"""How long a call waits at most, while an earlier request is under way, for others to join it."""


class Joined(Generic[T, R]):
    """What goes out in one request: the items of several calls, and what came of them."""

    def __init__(self) -> None:
        self.items: list[T] = []
        self._answers: Sequence[R] = ()
        self._error: BaseException | None = None

    def add(self, items: Sequence[T]) -> range:
        """Take items in; returns their places."""
        start = len(self.items)
        self.items += items
        return range(start, len(self.items))

    def settle(self, answers: Sequence[R] | None, error: BaseException | None) -> None:
        """Note how the request ended, once; an interrupt is its own caller's, the others may ask again."""
        if error is not None and not isinstance(error, Exception):
            error = KeyServiceUnavailable("the call that asked for this key was interrupted; ask again")
        self._answers, self._error = () if answers is None else answers, error

    def result(self, places: range) -> Sequence[R]:
        """Return one call's answers, or raise a copy of what ended the request."""
        if self._error is not None:
            raise copy.copy(self._error).with_traceback(None) from None
        return self._answers[places.start : places.stop]


class _Group(Joined[T, R]):
    """
    A request that threads wait for, each at a lock of its own.

    Whoever is woken wakes the next: all at once they would only wake to wait for the interpreter.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False
        self.calls, self.expected = 0, 1
        self._waiting: list[threading.Lock] = []

    def join(self) -> threading.Lock:
        """Return what a call waits at; held until its turn comes once the group is settled."""
        held = threading.Lock()
        held.acquire()
        self._waiting.append(held)
        return held

    def wait(self, held: threading.Lock) -> None:
        """Wait until the group is settled."""
        try:
            held.acquire()
        except BaseException:
            try:
                self._waiting.remove(held)
            except ValueError:
                # Interrupted after its turn had come, which goes on to the next.
                self._wake()
            raise
        self._wake()

    def settle(self, answers: Sequence[R] | None, error: BaseException | None) -> None:
        super().settle(answers, error)
        # Two: one waits for the interpreter while the other has it.
        self._wake()
        self._wake()

    def _wake(self) -> None:
        with suppress(IndexError):
            self._waiting.pop().release()


class _Line(Generic[T, R]):
    """What calls of one place have to know of each other."""

    __slots__ = ("before", "ended", "open", "under_way")

    def __init__(self) -> None:
        self.open: _Group[T, R] | None = None
        self.under_way = 0
        self.before, self.ended = 1, 0.0

    @property
    def is_idle(self) -> bool:
        return self.open is None and not self.under_way

    def begin(self, group: _Group[T, R]) -> None:
        """Note that a group goes out."""
        if self.open is group:
            self.open = None
        self.under_way += 1

    def end(self, group: _Group[T, R]) -> None:
        """Note that it has come back: calls that came together, and those that wait, come again together."""
        self.before, self.ended = group.calls, time.monotonic()
        self.under_way -= 1
        if self.open is not None and group.calls > 1:
            self.before += self.open.calls
            self.open.expected = max(self.open.expected, self.before)


class Joiner(Generic[T, R]):
    """
    Joins calls of one place into requests; thread-safe.

    A call that comes alone goes out at once. One that finds a request of its place under way waits for that to end,
    and one that follows a joined request, or waited for one, for as many calls as there were: they come again together.
    Neither waits longer than `window_s`, and both take along whoever comes meanwhile. The first caller of a group sends
    it; nobody else does its work.

    Args:
        window_s: the bound of that wait.
        full: items with which a group goes out without waiting further.
    """

    def __init__(self, *, window_s: float = WINDOW_S, full: int = FULL) -> None:
        self._window_s, self._full = window_s, full
        self.after_fork()
        on_fork(self)

    def after_fork(self) -> None:
        """Begin afresh: whoever led a request is not in this process."""
        self._changed = threading.Condition(threading.Lock())
        self._lines: dict[Hashable, _Line[T, R]] = {}

    def ask(self, place: Hashable, items: Sequence[T], send: Callable[[list[T]], Sequence[R]]) -> Sequence[R]:
        """
        Return the answers to some items, in order.

        Args:
            place: calls of equal places may share a request.
            items: what is asked for.
            send: makes the request of a whole group; raises what every caller of it then gets.
        """
        held = None
        with self._changed:
            line = self._lines.get(place) or self._new(place)
            group = line.open
            if group is not None and len(group.items) + len(items) > self._full:
                group.is_closed = True
                self._changed.notify_all()
                group = None
            if group is None:
                group = line.open = _Group()
            else:
                held = group.join()
            mine = group.add(items)
            group.calls += 1
            if group.calls >= group.expected or len(group.items) >= self._full:
                self._changed.notify_all()
        if held is None:
            self._lead(line, group, send)
        else:
            group.wait(held)
        return group.result(mine)

    def _new(self, place: Hashable) -> _Line[T, R]:
        if len(self._lines) >= _PLACES:
            self._lines = {place: line for place, line in self._lines.items() if not line.is_idle}
        line = self._lines[place] = _Line()
        return line

    def _lead(self, line: _Line[T, R], group: _Group[T, R], send: Callable[[list[T]], Sequence[R]]) -> None:
        try:
            self._gather(line, group)
            group.settle(send(group.items), None)
        except BaseException as exc:
            group.settle(None, exc)
            if not isinstance(exc, Exception):
                raise
        finally:
            with self._changed:
                line.end(group)
                self._changed.notify_all()

    def _gather(self, line: _Line[T, R], group: _Group[T, R]) -> None:
        """Wait for others to join; then nobody does any more."""
        now = time.monotonic()
        until = now + self._window_s
        with self._changed:
            try:
                group.expected = line.before if now - line.ended <= self._window_s else 1
                while self._is_awaited(line, group):
                    left = until - time.monotonic()
                    if left <= 0 or not self._changed.wait(left):
                        break
            finally:
                line.begin(group)

    def _is_awaited(self, line: _Line[T, R], group: _Group[T, R]) -> bool:
        if group.is_closed or len(group.items) >= self._full:
            return False
        return group.calls < group.expected or line.under_way > 0
