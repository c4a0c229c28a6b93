"""A pool of single-use data keys for one spec, filled ahead of the demand it measures."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from worker.errors import KeyServiceUnavailable, WorkerError
from worker.model import DataKey
from worker.zerokms.keys.options import KeyOptions
from worker.zerokms.keys.upkeep import Clock, Gauge, wipe

_BUSY_S = 1.0
"""Refills that follow each other within this time show that the pool is too shallow for the demand."""
_IDLE_S = 10.0
"""A pool that nobody asked for this long starts again at half its depth."""


@dataclass(slots=True)
class _Batch:
    """Keys of one answer; `born` is when they were asked for, on the cache's clock."""

    born: float
    keys: list[DataKey] = field(repr=False)


class KeyPool:
    """
    Keys that are each handed out once; thread-safe.

    The high-water mark `depth` starts at 0, so that a context seen once costs no key too many; it doubles at each
    wait and while refills follow each other closely, and halves when keys expire unused or nobody asks. An idle
    pool asks for nothing: only `take` refills.

    Args:
        fetch: asks for so many keys on another thread, and calls `arrived` or `failed` with the same ticket.
    """

    def __init__(
        self, fetch: Callable[[KeyPool, int, float, int], None], options: KeyOptions, gauge: Gauge, clock: Clock
    ) -> None:
        self._fetch, self._options, self._gauge, self._clock = fetch, options, gauge, clock
        self._changed = threading.Condition()
        self._batches: deque[_Batch] = deque()
        self._available = self._pending = self._wanted = 0
        self._requests = self._generation = self._seen = 0
        self._error: WorkerError | None = None
        self._errors = 0
        self._not_before = 0.0
        self._last_take, self._last_refill = clock(), float("-inf")
        self.depth = 0

    @property
    def available(self) -> int:
        """How many keys lie ready."""
        return self._available

    @property
    def born(self) -> float | None:
        """When the oldest key was asked for."""
        batches = self._batches
        return batches[0].born if batches else None

    def take(self, count: int) -> list[DataKey]:
        """Return `count` keys that nobody else gets; raises as `EncryptionKeys.take`."""
        with self._changed:
            now = self._clock()
            self._expire(now)
            if now - self._last_take > _IDLE_S:
                self.depth //= 2
            self._last_take = now
            if self._available >= count:
                self._gauge.request("pool", "hit")
                keys = self._pop(count)
                self._refill(now, asked=False)
                return keys
            self._gauge.request("pool", "miss")
            return self._wait(count)

    def expect(self, count: int) -> None:
        """Ask at once for what is missing of `count` keys that are about to be taken; does not wait."""
        with self._changed:
            now = self._clock()
            self._expire(now)
            self._wanted += count
            try:
                self._refill(now, asked=True)
            finally:
                self._wanted -= count

    def _wait(self, count: int) -> list[DataKey]:
        if self._seen:
            self._deepen(count)
        self._seen += 1
        started, errors = time.perf_counter(), self._errors
        self._wanted += count
        try:
            self._refill(self._clock(), asked=True)
            deadline = started + self._options.wait_s
            while self._available < count:
                if self._errors != errors and self._error is not None:
                    raise self._error
                left = deadline - time.perf_counter()
                if left <= 0 or not self._changed.wait(left):
                    raise KeyServiceUnavailable(f"no data key arrived within {self._options.wait_s:g} s")
                self._expire(self._clock())
                self._refill(self._clock(), asked=True)
            return self._pop(count)
        finally:
            self._wanted -= count
            self._gauge.waited("pool", started)

    def arrived(self, keys: list[DataKey], born: float, generation: int) -> None:
        """Take over the keys of one answer; wiped where the pool was dropped since they were asked for."""
        with self._changed:
            self._pending -= len(keys)
            self._requests -= 1
            if generation != self._generation:
                wipe(keys)
                self._gauge.keys("wasted", len(keys))
            else:
                self._batches.append(_Batch(born, keys))
                self._available += len(keys)
                self._not_before = 0.0
            if self._wanted:
                self._refill(self._clock(), asked=True)
            self._changed.notify_all()

    def failed(self, count: int, error: WorkerError) -> None:
        """Note a failed fetch; a refusal drops what is held, an outage leaves it to be used to its age."""
        with self._changed:
            self._pending -= count
            self._requests -= 1
            self._error = error
            self._errors += 1
            # Full jitter: after an outage the refills of many pools and workers do not fall on one instant.
            self._not_before = self._clock() + random.uniform(0.1, 1.0) * self._options.backoff_s  # noqa: S311
            if not isinstance(error, KeyServiceUnavailable):
                self._drop()
            self._changed.notify_all()

    def drop(self) -> int:
        """Wipe every key held and refuse those under way; returns how many were wiped."""
        with self._changed:
            return self._drop()

    def after_fork(self) -> None:
        """Wipe the child's copies; the lock may be held by a thread that no longer exists."""
        self._changed = threading.Condition()
        for batch in self._batches:
            wipe(batch.keys)
        self._batches.clear()

    def expire(self) -> None:
        """Wipe the keys that are past their age."""
        with self._changed:
            self._expire(self._clock())

    def _drop(self) -> int:
        dropped = self._available
        for batch in self._batches:
            wipe(batch.keys)
        self._batches.clear()
        self._available = 0
        self._generation += 1
        self._gauge.keys("wasted", dropped)
        return dropped

    def _pop(self, count: int) -> list[DataKey]:
        taken: list[DataKey] = []
        while len(taken) < count:
            batch = self._batches[0]
            need = count - len(taken)
            if len(batch.keys) <= need:
                taken += batch.keys
                self._batches.popleft()
            else:
                taken += batch.keys[-need:]
                del batch.keys[-need:]
        self._available -= count
        self._gauge.keys("used", count)
        return taken

    def _expire(self, now: float) -> None:
        limit = now - self._options.max_age_s
        while self._batches and self._batches[0].born <= limit:
            batch = self._batches.popleft()
            self._available -= len(batch.keys)
            self._gauge.keys("expired", len(batch.keys))
            wipe(batch.keys)
            self.depth //= 2

    def _deepen(self, count: int) -> None:
        self.depth = min(self._options.max_pool_keys, max(2 * self.depth, count))

    def _refill(self, now: float, *, asked: bool) -> None:
        """Ask for what is missing: at once what a caller waits for, full requests for what is ahead of demand."""
        if not asked and now < self._not_before:
            return
        full = self._options.keys_per_request
        missing = self._wanted - self._available - self._pending
        ahead = self.depth if now >= self._not_before else 0
        room = ahead + missing
        is_busy = now - self._last_refill < _BUSY_S
        while missing > 0 or room >= min(full, max(1, self.depth // 2)):
            if missing <= 0 and self._requests >= self._options.fetches:
                return
            size = min(full, max(missing, room))
            self._pending += size
            self._requests += 1
            missing -= size
            room -= size
            if size < full and is_busy:
                self._deepen(size)
            self._last_refill = now
            self._fetch(self, size, now, self._generation)
