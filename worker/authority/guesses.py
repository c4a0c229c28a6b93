"""Callers that only guess: they are answered slowly, and none of them is in the way of others."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import defaultdict
from collections.abc import Callable

from cachetools import LRUCache

from worker.authority.limits import ConnectionLimits


class Guesses:
    """
    Wrong credentials, by address: beyond a few they are answered slowly, and beyond many at once not looked at.

    Right ones of the same address, as behind a proxy, are not touched.
    """

    def __init__(self, limits: ConnectionLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._left: LRUCache[str, tuple[float, float]] = LRUCache(10_000)
        self._waiting: defaultdict[str, int] = defaultdict(int)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Answer everybody at once from now on: the authority stops."""
        self._ending.set()

    def waiting(self, address: str) -> int:
        """How many of an address wait for their answer."""
        return self._waiting.get(address, 0)

    @property
    def penalty_s(self) -> float:
        """How long one that is not looked at had better wait."""
        return self._limits.penalty_s

    def is_turned_away(self, address: str) -> bool:
        """Whether so many wrong ones wait that another is not looked at unless it is known to be right."""
        return self.waiting(address) >= self._limits.waiting_guesses

    async def wrong(self, address: str) -> None:
        """Wait, where an address has guessed too much."""
        now = self._clock()
        left, since = self._left.get(address, (float(self._limits.guesses), now))
        left = min(self._limits.guesses, left + (now - since) * self._limits.guesses_per_second) - 1
        self._left[address] = (max(left, -1.0), now)
        if left >= 0:
            return
        self._waiting[address] += 1
        # However many wait, they come back no faster: an answer at once would only bring the next one at once.
        crowd = 1 + self._waiting[address] // self._limits.waiting_guesses
        # Not all at once: those who were answered together would come back together.
        wait_s = self._limits.penalty_s * crowd * random.uniform(0.5, 1.5)  # noqa: S311
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), wait_s)
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]
