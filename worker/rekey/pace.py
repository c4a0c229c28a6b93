"""A rate that is kept to."""

from __future__ import annotations

import time


class Pace:
    """
    Lets no more than so many go by a second, on average over what it has been asked for lately.

    Args:
        rate: a second; None for any.
    """

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._free_at = time.monotonic()

    def most(self, count: int) -> int:
        """Return how many may be done at once: no more than a second's."""
        return count if self._rate is None else max(1, min(count, int(self._rate)))

    def wait(self, count: int) -> None:
        """Wait until `count` more may have been done."""
        if self._rate is None:
            return
        now = time.monotonic()
        self._free_at = max(now - 1, self._free_at) + count / self._rate
        if self._free_at > now:
            time.sleep(self._free_at - now)
