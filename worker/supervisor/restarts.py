"""When a crashed process is started again, and when no more."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from worker.config import ProcessSettings


class Restarts:
    """
    One process's crashes within the window.

    Args:
        options: pauses, number and window.
        clock: seconds, monotonic.
    """

    def __init__(self, options: ProcessSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._crashes: deque[float] = deque()

    @property
    def crashes(self) -> int:
        """Number of crashes within the window, as of the last one."""
        return len(self._crashes)

    def crashed(self) -> float | None:
        """Count a crash; returns for how many seconds to pause, or None: it is not to be started again."""
        now = self._clock()
        self._crashes.append(now)
        while now - self._crashes[0] > self._options.window_s:
            self._crashes.popleft()
        if len(self._crashes) > self._options.max_restarts:
            return None
        pause: float = self._options.restart_s * 2 ** (len(self._crashes) - 1)
        return min(pause, self._options.max_restart_s)
