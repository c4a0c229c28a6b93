"""What pools, leases and the decryption cache share: wiping, counting, and an end in time."""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Protocol

from worker.metrics import Metrics
from worker.model import DataKey
from worker.native.keys import wipe as wipe

Clock = Callable[[], float]
# Looking at each key takes the cache's lock: beyond this many they are only counted.
_TOLD_APART = 20_000


class Gauge:
    """Counts the life of keys in the metrics, where there are metrics."""

    def __init__(self, metrics: Metrics | None) -> None:
        self._metrics = metrics
        self._held: Counter[tuple[str, str]] = Counter()

    def keys(self, event: str, count: int) -> None:
        """Count keys that were `used`, `expired` or `wasted`."""
        if self._metrics is not None and count:
            self._metrics.inc("worker_keys_total", count, event=event)

    def request(self, cache: str, result: str, count: int = 1) -> None:
        """Count what a caller met: `hit`, `miss` or `negative`."""
        if self._metrics is not None and count:
            self._metrics.inc("worker_key_cache_requests_total", count, cache=cache, result=result)

    def waited(self, cache: str, seconds: float) -> None:
        """Observe how long a caller waited."""
        if self._metrics is not None:
            self._metrics.observe("worker_key_wait_seconds", seconds, cache=cache)

    def got(self, started: float) -> None:
        """Let the trace of this thread's batch show that its keys are there, asked for at a `time.perf_counter()`."""
        if self._metrics is not None:
            self._metrics.traces.keys(time.perf_counter() - started)

    def held(self, cache: str, count: int, keys: Callable[[], Iterable[DataKey]]) -> None:
        """Export how many keys a cache holds by keyset, or together where there are many; several caches add up."""
        if self._metrics is None:
            return
        now: Counter[tuple[str, str]] = Counter({(cache, ""): count})
        if count <= _TOLD_APART:
            now = Counter((cache, str(key.keyset)) for key in keys())
        for place in now.keys() | {known for known in self._held if known[0] == cache}:
            change = now[place] - self._held[place]
            if change:
                self._metrics.add("worker_keys_held", change, cache=place[0], keyset=place[1])
            self._held[place] = now[place]

    def oldest(self, age_s: float) -> None:
        """Export the age of the oldest key held."""
        if self._metrics is not None:
            self._metrics.set("worker_oldest_key_age_seconds", max(0.0, age_s))

    def bound(self, max_age_s: float) -> None:
        """Export the cache's part of the revocation bound."""
        if self._metrics is not None:
            self._metrics.set("worker_revocation_bound_seconds", max_age_s, part="age")


class Retired:
    """
    Keys that are handed out no more but may be in a batch's hands: wiped when that is over, or at once on close.

    Not thread-safe: its owner holds its own lock.

    Args:
        grace_s: how long a key is left to whoever got it without saying for how long.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._keys: deque[tuple[float, DataKey]] = deque()
        self._held: deque[tuple[int, DataKey]] = deque()
        self._holds: dict[int, None] = {}
        self._next = 0

    def begin(self) -> int:
        """Note that a batch begins to use keys; returns its number."""
        self._next += 1
        self._holds[self._next] = None
        return self._next

    def end(self, hold: int) -> None:
        """Note that a batch is over, and wipe what no other can have."""
        del self._holds[hold]
        oldest = next(iter(self._holds), self._next + 1)
        while self._held and self._held[0][0] < oldest:
            self._held.popleft()[1].wipe()

    @property
    def is_needed(self) -> bool:
        """Whether a batch is under way."""
        return bool(self._holds)

    def leave(self, key: DataKey) -> None:
        """Take a key over that the batches under way may have, and no later one."""
        if self._holds:
            self._held.append((self._next, key))
        else:
            key.wipe()

    def add(self, key: DataKey, now: float) -> None:
        """Take a key over that somebody may have for the grace."""
        self._keys.append((now + self._grace_s, key))

    def sweep(self, now: float) -> None:
        """Wipe what is past its grace."""
        while self._keys and self._keys[0][0] <= now:
            self._keys.popleft()[1].wipe()

    def wipe(self) -> None:
        """Wipe all."""
        wipe(key for _, key in (*self._keys, *self._held))
        self._keys.clear()
        self._held.clear()

    def __len__(self) -> int:
        return len(self._keys) + len(self._held)


class Expiring(Protocol):
    """Something that holds keys with an age."""

    def expire(self) -> None:
        """Wipe what is past its age."""
        ...


class Sweeper:
    """Calls `expire` now and then on a thread of its own, so that keys are wiped at their age in an idle worker too."""

    def __init__(self, holder: Expiring, max_age_s: float) -> None:
        self._stop = threading.Event()
        if max_age_s > 0:
            every_s = min(30.0, max(1.0, max_age_s / 10))
            arguments = (weakref.ref(holder), self._stop, every_s)
            threading.Thread(target=_sweep, args=arguments, name="keys-expiry", daemon=True).start()

    def stop(self) -> None:
        """End the thread; safe to call twice."""
        self._stop.set()


def _sweep(holder: weakref.ref[Expiring], stop: threading.Event, every_s: float) -> None:
    while not stop.wait(every_s):
        held = holder()
        if held is None:
            return
        held.expire()
        del held
