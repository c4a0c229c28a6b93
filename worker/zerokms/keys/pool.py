"""Pools of single-use data keys, each filled ahead of the demand that it measures."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field

import numpy as np

from worker.model import DataKey, Grant, KeySpec
from worker.zerokms.keys.options import KeyOptions
from worker.zerokms.keys.part import Part
from worker.zerokms.keys.shelf import Failure, Shelf
from worker.zerokms.keys.upkeep import Gauge, wipe

_AHEAD_S = 1.0
"""A pool holds what so many seconds of its own demand take."""
_SHORTEST_S = 0.05
"""Batches that follow each other faster are counted as if they did so."""
_WASTED = 0.05
"""A pool of which more than this share was never used is not filled ahead of need."""
_POOL_BYTES = 800
"""What a pool takes with its context; measured, see docs/keys.md."""
_KEY_BYTES = 500
"""What a data key takes; likewise."""
_AT_ONCE = 2_000


@dataclass(slots=True)
class _Batch:
    """Keys of one answer; `born` is when they were asked for, on the cache's clock."""

    born: float
    keys: list[DataKey] = field(repr=False)


class KeyPool:
    """
    Keys that are each handed out once; not thread-safe.

    Its `depth` starts at 0, so that a context seen once costs no key too many, and doubles at each wait. Of that, no
    more than a second's demand is held, and nothing where too many keys have been wasted.
    """

    __slots__ = (
        "_batches",
        "_changed",
        "_last",
        "_not_before",
        "_pending",
        "_rate",
        "_seen",
        "_used",
        "_wasted",
        "available",
        "depth",
        "generation",
        "wanted",
    )

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._batches: list[_Batch] = []
        self.available = self.wanted = self.depth = self.generation = 0
        self._pending = self._seen = self._used = self._wasted = 0
        self._not_before = self._rate = 0.0
        self._last = float("-inf")

    @property
    def born(self) -> float | None:
        """When the oldest key was asked for."""
        return self._batches[0].born if self._batches else None

    def demanded(self, count: int, now: float, options: KeyOptions) -> None:
        """Note that a batch wants so many keys; a wait shows that the pool is too shallow."""
        self.wanted += count
        if self._seen:
            rate = count / max(now - self._last, _SHORTEST_S)
            self._rate = rate if self._seen == 1 else self._rate + 0.3 * (rate - self._rate)
            if self.available < count:
                self.depth = min(options.max_pool_keys, max(2 * self.depth, count))
        self._seen += 1
        self._last = now

    def pop(self, count: int) -> list[DataKey]:
        """Take keys out for a batch that wanted them, the oldest answer's first."""
        taken: list[DataKey] = []
        while len(taken) < count:
            batch = self._batches[0]
            need = count - len(taken)
            if len(batch.keys) <= need:
                taken += batch.keys
                self._batches.pop(0)
            else:
                taken += batch.keys[-need:]
                del batch.keys[-need:]
        self.available -= count
        self.wanted -= count
        self._used += count
        return taken

    @property
    def lacking(self) -> int:
        """How many keys to ask for at once: what batches wait for and nobody has asked for."""
        return max(0, self.wanted - self.available - self._pending)

    def ahead(self, now: float, options: KeyOptions) -> int:
        """How many keys to ask for ahead of need, `lacking` aside; full requests where the pool is deep."""
        if now < self._not_before or self._wasted > _WASTED * self._used:
            return 0
        target = min(self.depth, int(self._rate * _AHEAD_S))
        room = target + self.wanted - self.available - self._pending - self.lacking
        full = options.keys_per_request
        if room < min(full, max(1, target // 2)):
            return 0
        return room if room < full else room // full * full

    def asked(self, count: int) -> None:
        """Note that keys are under way."""
        self._pending += count

    def arrived(self, keys: list[DataKey], born: float) -> None:
        """Take over the keys of one answer."""
        self._pending -= len(keys)
        self._not_before = 0.0
        self._batches.append(_Batch(born, keys))
        self.available += len(keys)

    def failed(self, count: int, now: float, options: KeyOptions) -> None:
        """Note a failed fetch."""
        self._pending -= count
        # Full jitter: after an outage the refills of many pools and workers do not fall on one instant.
        self._not_before = now + random.uniform(0.1, 1.0) * options.backoff_s  # noqa: S311

    def forsaken(self, keys: list[DataKey]) -> None:
        """Wipe what was asked for before the pool was dropped."""
        self._pending -= len(keys)
        self._wasted += len(keys)
        wipe(keys)

    def drop(self) -> int:
        """Wipe every key held; what is under way will be wiped on arrival. Returns how many were wiped."""
        self.generation += 1
        return self._lose(len(self._batches))

    def expire(self, limit: float) -> int:
        """Wipe the keys that were asked for by `limit`; returns how many."""
        aged = 0
        while aged < len(self._batches) and self._batches[aged].born <= limit:
            aged += 1
        if not aged:
            return 0
        self.depth //= 2
        return self._lose(aged)

    def is_idle_since(self, then: float) -> bool:
        """Whether nothing is held, wanted or under way, and nothing was wanted since."""
        return self._last <= then and not (self.available or self.wanted or self._pending)

    @property
    def held(self) -> list[DataKey]:
        """Every key that is held."""
        return [key for batch in self._batches for key in batch.keys]

    def _lose(self, batches: int) -> int:
        lost = 0
        for batch in self._batches[:batches]:
            wipe(batch.keys)
            lost += len(batch.keys)
        del self._batches[:batches]
        self.available -= lost
        self._wasted += lost
        return lost


class Pools(Shelf):
    """The pools of many contexts; not thread-safe."""

    def __init__(self, options: KeyOptions, gauge: Gauge, changed: threading.Condition) -> None:
        super().__init__(_POOL_BYTES, options.max_pools)
        self._options, self._gauge, self._changed = options, gauge, changed
        self._pool = np.empty(len(self.pins), object)

    def __getitem__(self, slot: int) -> KeyPool:
        pool: KeyPool = self._pool[slot]
        return pool

    def serve(self, part: Part, now: float) -> list[Grant]:
        """Grant the contexts whose pools have all that they want; what stays open lacks keys."""
        limit = now - self._options.max_age_s if self._options.max_age_s else float("-inf")
        served: list[int] = []
        keys: list[DataKey] = []
        slots = part.slots[part.open].tolist()
        for i, slot, count in zip(part.open.tolist(), slots, part.left[part.open].tolist(), strict=True):
            pool = self[slot]
            if pool.born is not None and pool.born <= limit:
                self._gauge.keys("expired", pool.expire(limit))
            if pool.available >= count:
                keys += pool.pop(count)
                self.weigh(slot, pool.available * _KEY_BYTES)
                served.append(i)
        if not served:
            return []
        at = np.array(served, np.int64)
        grant = Grant(part.at, at, part.left[at], keys)
        part.close(at)
        self._gauge.keys("used", len(keys))
        return [grant]

    @property
    def born(self) -> float | None:
        """When the oldest key was asked for."""
        return min((born for slot in self.slots() if (born := self[slot].born) is not None), default=None)

    def begin(self, part: Part, now: float) -> None:
        """Note what a batch wants."""
        for slot, count in zip(part.slots.tolist(), part.left.tolist(), strict=True):
            self[slot].demanded(count, now, self._options)

    def end(self, part: Part) -> None:
        """Note that a batch is over, perhaps without the keys that it still wanted."""
        for slot, count in zip(part.slots[part.open].tolist(), part.left[part.open].tolist(), strict=True):
            self[slot].wanted -= count
        if not self._options.max_age_s:
            for slot in part.slots.tolist():
                self._let_go(slot)

    def refuse(self, part: Part, i: int) -> None:
        """Note that a context of a batch gets no keys."""
        self[int(part.slots[i])].wanted -= int(part.left[i])
        super().refuse(part, i)

    def lacking(self, part: Part, now: float) -> list[tuple[int, int]]:
        """Return the slots, and how many keys for each, that a batch waits for and nobody has asked for."""
        slots = part.slots[part.open].tolist()
        return [(slot, count) for slot in slots if (count := self[slot].lacking)]

    def ahead(self, part: Part, now: float) -> list[tuple[int, int]]:
        """Return the slots, and how many keys for each, that should be fetched ahead of need."""
        if not self._options.max_age_s:
            return []
        return [(slot, n) for slot in part.slots.tolist() if (n := self[slot].ahead(now, self._options))]

    def ask(self, slot: int, count: int) -> int:
        """Note that keys are under way; their slot stays until these come or fail. Returns the pool's generation."""
        self[slot].asked(count)
        self.pins[slot] += 1
        return self[slot].generation

    def arrived(self, slot: int, keys: list[DataKey], born: float, generation: int) -> None:
        """Take over the keys of one answer; wiped where the pool was dropped since they were asked for."""
        pool = self[slot]
        self.pins[slot] -= 1
        if generation != pool.generation:
            pool.forsaken(keys)
            self._gauge.keys("wasted", len(keys))
            return
        self.failures.pop(slot, None)
        pool.arrived(keys, born)
        self.weigh(slot, pool.available * _KEY_BYTES)

    def failed(self, slot: int, count: int, now: float, generation: int, failure: Failure) -> None:
        """Note a failed fetch; a refusal drops what is held, an outage leaves it to be used to its age."""
        self.pins[slot] -= 1
        self.failures[slot] = failure
        self[slot].failed(count, now, self._options)
        if failure.is_refusal:
            self._let_go(slot)

    def drop(self, now: float) -> None:
        """Wipe every key held, and refuse those under way."""
        for slot in list(self.slots()):
            self._let_go(slot)
            if not self.pins[slot]:
                self.remove(slot)

    def expire(self, now: float, start: int = 0) -> int | None:
        """Wipe some of the keys that are past their age; returns where to go on, None at the end."""
        limit, end = now - self._options.max_age_s, start + _AT_ONCE
        for slot in range(start, min(end, len(self._family))):
            if self._family[slot] is not None:
                self._gauge.keys("expired", self[slot].expire(limit))
                if self[slot].is_idle_since(limit) and not self.pins[slot]:
                    self.remove(slot)
        return end if end < len(self._family) else None

    def keys(self) -> list[DataKey]:
        """Every key that is held."""
        return [key for slot in self.slots() for key in self[slot].held]

    def by_spec(self) -> dict[KeySpec, KeyPool]:
        """Every pool by what its keys are for."""
        return {self.spec(slot): self[slot] for slot in self.slots()}

    def _let_go(self, slot: int) -> None:
        self._gauge.keys("wasted", self[slot].drop())
        self.weigh(slot, 0)

    def _clear(self, slot: int) -> None:
        self._pool[slot] = KeyPool(self._changed)
        self.failures.pop(slot, None)
