"""Callers take turns: none has more under way than a few, however much it asks at once."""

from __future__ import annotations

import asyncio
import time
from weakref import WeakValueDictionary

_SLICE_S = 0.0005
_SHARE = 4


class Turns:
    """At most `most` at once of each caller; used from the event loop alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, who: str) -> asyncio.Semaphore:
        """Return what a caller holds during its turn."""
        turn = self._held.get(who)
        if turn is None:
            turn = self._held[who] = asyncio.Semaphore(self._most)
        return turn


class Pace:
    """Has a thread of long work take a quarter of a core, in slices that nobody notices."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def rest(self, *, least_s: float = _SLICE_S) -> None:
        """Rest for what was done since the last rest, if that was long."""
        took = time.perf_counter() - self._since
        if took >= least_s:
            time.sleep(took * (_SHARE - 1))
            self._since = time.perf_counter()
