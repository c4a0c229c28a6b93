"""Pools of single-use data keys, each filled ahead of the demand that it measures."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence

import numpy as np

from worker.model import DataKey, Grant, KeySpec
from worker.zerokms.keys import passes
from worker.zerokms.keys.held import Batch, Held
from worker.zerokms.keys.options import KeyOptions
from worker.zerokms.keys.part import Ints, Part
from worker.zerokms.keys.passes import Flags
from worker.zerokms.keys.shelf import Failure, Shelf, Wanted
from worker.zerokms.keys.upkeep import Gauge, wipe

_AHEAD_S = 1.0
"""A pool holds what so many seconds of its own demand take."""
_SHORTEST_S = 0.05
"""Batches that follow each other faster are counted as if they did so."""
_WASTED = 0.05
"""A pool of which more than this share was never used is not filled ahead of need."""
_FEW, _SPARE = 64, 0.1
"""Of so many keys a pool holds no more than this share of what it has given."""
_POOL_BYTES = 700
"""What a pool is counted as with its context: an estimate, on the high side."""
_KEY_BYTES = 500
"""What a data key takes; likewise."""
_AT_ONCE = 2_000
_NEVER = -1e9


class Pools(Shelf):
    """
    The pools of many contexts, one column for each of their properties; not thread-safe.

    A pool's depth starts at 0, so that a context seen once costs no key too many, and doubles at each wait. Of that,
    no more than a second's demand is held, and nothing where too many keys have been wasted.
    """

    def __init__(self, options: KeyOptions, gauge: Gauge, full: Callable[[], int]) -> None:
        super().__init__(_POOL_BYTES, options.max_pools)
        self._options, self._gauge, self._full = options, gauge, full
        size = len(self.pins)
        self.held = Held(size)
        self.pending = np.zeros(size, np.int64)
        self.wanted = np.zeros(size, np.int64)
        self.depth = np.zeros(size, np.int64)
        self.not_before = np.zeros(size)
        self._generation = np.zeros(size, np.int64)
        self._seen = np.zeros(size, np.int64)
        self._used = np.zeros(size, np.int64)
        self._wasted = np.zeros(size, np.int64)
        self._mean_gap = np.full(size, np.inf)
        self._mean_count = np.zeros(size)
        self._last = np.zeros(size)
        self._begun: list[Part] = []
        self._owed = np.zeros(size, np.int64)

    @property
    def available(self) -> Ints:
        """How many keys lie ready."""
        return self.held.available

    def begin(self, part: Part, now: float) -> None:
        """Pin what a batch needs, and note what it wants; a pool that has too little is too shallow."""
        slots, counts, o = part.slots, part.left, self._options
        passes.pin(self.table, slots)
        seen, gap = self._seen[slots], np.maximum(now - self._last[slots], _SHORTEST_S)
        again, settled = seen > 0, seen > 1
        # Each by itself: batches of two threads begin in pairs, and the mean of their rates would be beyond the rate.
        for column, new in ((self._mean_gap, np.where(again, gap, np.inf)), (self._mean_count, counts)):
            known = column[slots[settled]]
            column[slots] = new
            column[slots[settled]] = known + 0.3 * (new[settled] - known)
        shallow = again & (self.available[slots] - self.wanted[slots] < counts)
        deeper = np.minimum(o.max_pool_keys, np.maximum(2 * self.depth[slots], counts))
        self.depth[slots] = np.where(shallow, deeper, self.depth[slots])
        self._begun.append(part)
        self.wanted[slots] += counts
        self._seen[slots] += 1
        self._last[slots] = now

    def end(self, part: Part) -> None:
        """Let go of what a batch pinned; perhaps it has not got all keys that it wanted."""
        self._begun.remove(part)
        self.pins[part.slots] -= 1
        self.wanted[part.slots[part.open]] -= part.left[part.open]
        if not self._options.max_age_s:
            # What it was given it has: the rest is what others that wait asked for.
            for slot in part.slots[part.open].tolist():
                self._let_go(slot)

    def refuse(self, part: Part, i: int) -> None:
        """Note that a context of a batch gets no keys."""
        self.wanted[part.slots[i]] -= part.left[i]
        super().refuse(part, i)

    def serve(self, part: Part, now: float) -> list[Grant]:
        """Grant the contexts whose pools have all that they want; what stays open lacks keys."""
        slots = part.slots[part.open]
        if self._options.max_age_s:
            limit = now - self._options.max_age_s
            for slot in slots[self.held.born[slots] <= limit].tolist():
                self._expire(slot, limit)
        at = part.open[self.available[slots] >= part.left[part.open] + self._owed_before(part, slots)]
        if not len(at):
            return []
        slots, counts = part.slots[at], part.left[at]
        keys = self.held.take(slots, counts)
        self.wanted[slots] -= counts
        self._used[slots] += counts
        self.weigh(slots, self.available[slots] * _KEY_BYTES)
        part.close(at)
        self._gauge.keys("used", len(keys))
        return [Grant(part.at, at, counts, keys)]

    def _owed_before(self, part: Part, slots: Ints) -> Ints:
        """Return how many keys of each slot are for batches that began earlier and wait for them."""
        if (self.available[slots] >= self.wanted[slots]).all():
            # There is enough for everybody.
            return np.zeros(len(slots), np.int64)
        earlier = [each for each in self._begun[: self._begun.index(part)] if each.need.spec == part.need.spec]
        waiting = [(each.slots[each.open], each.left[each.open]) for each in earlier]
        for theirs, counts in waiting:
            self._owed[theirs] += counts
        owed = self._owed[slots]
        for theirs, _ in waiting:
            self._owed[theirs] = 0
        return owed

    def lacking(self, part: Part, now: float) -> Wanted:
        """Return the slots, and how many keys for each, that a batch waits for and nobody has asked for."""
        slots = part.slots[part.open]
        counts = self.wanted[slots] - self.available[slots] - self.pending[slots]
        return slots[counts > 0], counts[counts > 0]

    def ahead(self, part: Part, now: float) -> Wanted:
        """Return the slots, and how many keys for each, that should be fetched ahead; deep pools by full requests."""
        slots, full = part.slots, self._full()
        rate = self._mean_count[slots] / self._mean_gap[slots]
        target = np.minimum(self.depth[slots], (rate * _AHEAD_S).astype(np.int64))
        # Thousands of pools that each hold a key too many are a batch that nobody needs.
        spare = (self._used[slots] * _SPARE).astype(np.int64)
        target = np.minimum(target, spare + np.maximum(target - _FEW, 0))
        held = self.available[slots] + self.pending[slots] - self.wanted[slots]
        room = target - np.maximum(held, 0)
        room = np.where(room < full, room, room // full * full)
        due = room >= np.minimum(full, np.maximum(1, target // 2))
        due &= (now >= self.not_before[slots]) & (self._wasted[slots] <= _WASTED * self._used[slots])
        # Less than a batch takes spares it no wait.
        due &= target >= part.need.counts
        if not self._options.max_age_s:
            due[:] = False
        return slots[due], room[due]

    def ask(self, slots: Ints, counts: Ints) -> Ints:
        """Note that keys are under way; their slots stay until these come or fail. Returns the pools' generations."""
        self.pending[slots] += counts
        self.pins[slots] += 1
        return self._generation[slots]

    def arrived(self, slots: Ints, counts: Ints, keys: Sequence[DataKey], born: float, generations: Ints) -> None:
        """Take over the keys of one answer; wiped where the pool was dropped since they were asked for."""
        self.pins[slots] -= 1
        self.pending[slots] -= counts
        self.not_before[slots] = 0.0
        current = self._generation[slots] == generations
        if current.all():
            self.held.put(slots, counts, keys, born)
        else:
            self._put_current(slots, counts, keys, born, current)
        kept = slots[current]
        self.weigh(kept, self.available[kept] * _KEY_BYTES)
        self.forgive(slots)

    def failed(self, slots: Ints, counts: Ints, now: float, generations: Ints, failure: Failure) -> None:
        """Note a failed fetch; a refusal drops what is held, an outage leaves it to be used to its age."""
        self.pins[slots] -= 1
        self.pending[slots] -= counts
        for slot in slots.tolist():
            self.failures[slot] = failure
            # Full jitter: after an outage the refills of many pools and workers do not fall on one instant.
            self.not_before[slot] = now + random.uniform(0.1, 1.0) * self._options.backoff_s  # noqa: S311
            if failure.is_refusal:
                self._let_go(slot)

    def drop(self, now: float) -> None:
        """Wipe every key held, and refuse those under way."""
        for slot in self.slots():
            self._let_go(slot)
            if not self.pins[slot]:
                self.remove(slot)

    def expire(self, now: float, start: int = 0) -> int | None:
        """Wipe some of the keys that are past their age; returns where to go on, None at the end."""
        limit, end = now - self._options.max_age_s, start + 100 * _AT_ONCE
        aged = start + np.flatnonzero(self.held.born[start:end] <= limit)
        if len(aged) > _AT_ONCE:
            aged = aged[:_AT_ONCE]
            end = int(aged[-1]) + 1
        for slot in aged.tolist():
            self._expire(slot, limit)
        unused = (self.pins[start:end] == 0) & (self.available[start:end] == 0) & (self._last[start:end] <= limit)
        for slot in (start + np.flatnonzero(unused)).tolist():
            if self.holds(slot):
                self.remove(slot)
        return end if end < len(self.pins) else None

    def oldest(self) -> float:
        """When the oldest key was asked for; infinite where there is none."""
        return float(self.held.born.min(initial=np.inf))

    @property
    def count(self) -> int:
        """How many keys are held."""
        return int(self.available.sum())

    def keys(self) -> list[DataKey]:
        """Every key that is held."""
        return [key for slot in self.slots() for batch in self.held.batches(slot) for key in batch.keys]

    def _put_current(self, slots: Ints, counts: Ints, keys: Sequence[DataKey], born: float, current: Flags) -> None:
        """Take over the keys of pools that have not been dropped meanwhile, and wipe the others."""
        start = 0
        for i, kept in enumerate(current.tolist()):
            at, got = slots[i : i + 1], keys[start : start + int(counts[i])]
            start += int(counts[i])
            if kept:
                self.held.put(at, counts[i : i + 1], got, born)
            else:
                wipe(got)
                self._wasted[at] += len(got)
                self._gauge.keys("wasted", len(got))

    def _expire(self, slot: int, limit: float) -> None:
        self.depth[slot] //= 2
        self._lost(slot, self.held.lose(slot, limit), "expired")

    def _let_go(self, slot: int) -> None:
        self._generation[slot] += 1
        self._lost(slot, self.held.lose(slot), "wasted")

    def _lost(self, slot: int, count: int, event: str) -> None:
        self._wasted[slot] += count
        self._gauge.keys(event, count)
        at = np.array([slot])
        self.weigh(at, self.available[at] * _KEY_BYTES)

    def _grow(self, size: int) -> None:
        super()._grow(size)
        self.held.grow(size)

    def _clear(self, slots: Ints) -> None:
        self.held.clear(slots)
        self._last[slots] = _NEVER
        self._mean_gap[slots] = np.inf
        self.not_before[slots] = self._mean_count[slots] = 0.0
        for column in (self.pending, self.wanted, self.depth, self._seen, self._used, self._wasted):
            column[slots] = 0
        self.forgive(slots)


class KeyPool:
    """One pool of many, to look at."""

    def __init__(self, pools: Pools, slot: int, changed: threading.Condition) -> None:
        self._pools, self._slot, self._changed = pools, slot, changed

    @property
    def available(self) -> int:
        """How many keys lie ready."""
        return int(self._pools.available[self._slot])

    @property
    def depth(self) -> int:
        """How many keys it would hold for a fast enough demand."""
        return int(self._pools.depth[self._slot])

    @property
    def _pending(self) -> int:
        return int(self._pools.pending[self._slot])

    @property
    def _not_before(self) -> float:
        return float(self._pools.not_before[self._slot])

    @property
    def _batches(self) -> Sequence[Batch]:
        return self._pools.held.batches(self._slot)


def by_spec(pools: Pools, changed: threading.Condition) -> dict[KeySpec, KeyPool]:
    """Return every pool by what its keys are for."""
    return {pools.spec(slot): KeyPool(pools, slot, changed) for slot in pools.slots()}
