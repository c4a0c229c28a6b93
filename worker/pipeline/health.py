"""What a route tells of itself to `/healthz` and `/readyz`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from worker.metrics import Metrics


class RouteHealth:
    """
    Facts about one route, written by its loop and read from any thread.

    Args:
        route: the route's name.
        stall_s: the loop counts as dead when it has not turned for this long.
        clock: seconds, monotonic.
        metrics: where `worker_paused_partitions` is told.
    """

    def __init__(
        self,
        route: str,
        *,
        stall_s: float = 90.0,
        clock: Callable[[], float] = time.monotonic,
        metrics: Metrics | None = None,
    ) -> None:
        self._route = route
        self._metrics = metrics
        self._stall_s = stall_s
        self._clock = clock
        self._lock = threading.Lock()
        self._turned_at = clock()
        self._assigned: int | None = None
        self._paused: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._ended = ""

    @property
    def route(self) -> str:
        """The route's name."""
        return self._route

    @property
    def assigned(self) -> int:
        """Number of partitions assigned now."""
        with self._lock:
            return self._assigned or 0

    def alive(self, now: float) -> bool:
        """Whether the loop has turned within `stall_s` before `now`, a `time.monotonic()`."""
        with self._lock:
            return not self._ended and now - self._turned_at <= self._stall_s

    def reasons(self) -> list[str]:
        """Why the route is not ready; empty if it is."""
        with self._lock:
            if self._ended:
                return [self._ended]
            joined = [] if self._assigned is not None else ["has not joined its consumer group yet"]
            return joined + [
                "paused by an operator" if reason == "operator" else f"paused, {reason} away: {detail}"
                for reason, detail in self._paused.items()
            ]

    def beat(self) -> None:
        """The loop turned."""
        with self._lock:
            self._turned_at = self._clock()

    def set_assigned(self, count: int) -> None:
        """The group gave this many partitions."""
        with self._lock:
            self._assigned = count
            for reason in self._paused:
                self._tell(reason)

    def pause(self, reason: str, detail: str, *, partitions: int | None = None) -> bool:
        """
        Something is away; returns whether that is new.

        Args:
            reason: a word of `worker_paused_partitions{reason}`.
            detail: what and why; holds no content of any record.
            partitions: how many it stops; all that are assigned if not given.
        """
        with self._lock:
            new = reason not in self._paused
            self._paused[reason] = detail
            self._counts.pop(reason, None)
            if partitions is not None:
                self._counts[reason] = partitions
            self._tell(reason)
            return new

    def resume(self, reason: str) -> bool:
        """It is back; returns whether it had been away."""
        with self._lock:
            away = self._paused.pop(reason, None) is not None
            if away:
                self._tell(reason)
            return away

    def end(self, why: str) -> None:
        """The loop has ended."""
        with self._lock:
            self._ended = why

    def _tell(self, reason: str) -> None:
        # At least 1 while something is away, so that an alert also sees a worker that has no partition yet.
        if self._metrics is not None:
            count = self._counts.get(reason, max(1, self._assigned or 0)) if reason in self._paused else 0
            self._metrics.set("worker_paused_partitions", count, route=self._route, reason=reason)
