"""One count of bytes for all key caches of a worker."""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

from worker.metrics import Metrics


class Budget:
    """
    How many bytes of keys a worker may hold; thread-safe.

    Whoever holds more than an equal share gives up what is too much; what others don't need is his.

    Args:
        limit: bytes in all.
        metrics: where the limit and what is held are shown.
    """

    def __init__(self, limit: int, metrics: Metrics | None = None) -> None:
        self._limit, self._metrics = limit, metrics
        self._lock = threading.Lock()
        self._held: WeakKeyDictionary[object, int] = WeakKeyDictionary()
        if metrics is not None:
            metrics.set("worker_key_cache_budget_bytes", limit)

    def excess(self, holder: object, size: int) -> int:
        """Note how many bytes a holder has; returns how many of them it has to give up."""
        with self._lock:
            self._held[holder] = size
            total, share = sum(self._held.values()), self._limit // len(self._held)
        if self._metrics is not None:
            self._metrics.set("worker_key_cache_bytes", total)
        return max(0, min(total - self._limit, size - share))
