"""
A wall clock that leaps back, as it does where a machine's time is set.

librdkafka waits until times of day (its issue 2145): a wait that a leap back puts off lasts longer by as much as the
clock leapt, and a client at rest would send no heartbeat for so long.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from worker.kafka.native import wake

_log = structlog.get_logger(__name__)
# A shorter leap is shorter than what the group and the brokers wait for anyway.
_LEAST_S = 1.0
# Clocks that are read further apart than this tell nothing of each other.
_APART_S = 0.1


class ClockWatch:
    """
    Compares the wall clock with the monotonic one, and wakes the clients where it leapt back.

    Args:
        wall: the time of day, in seconds.
        steady: a clock that never leaps, in seconds.
        leapt_back: called once a leap back.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        leapt_back: Callable[[], None] = wake,
    ) -> None:
        self._wall, self._steady, self._leapt_back = wall, steady, leapt_back
        self._ahead_s: float | None = None

    def look(self) -> None:
        """Look once; to be called several times a second, on a thread that waits by the monotonic clock."""
        before = self._steady()
        ahead_s = self._wall() - before
        if self._steady() - before > _APART_S:
            return
        leapt_s = 0.0 if self._ahead_s is None else ahead_s - self._ahead_s
        self._ahead_s = ahead_s
        if abs(leapt_s) > _LEAST_S:
            _log.warning("clock_leapt", seconds=round(leapt_s, 1))
        if leapt_s < -_LEAST_S:
            self._leapt_back()
