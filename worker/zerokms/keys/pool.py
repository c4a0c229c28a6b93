"""Pools of single-use data keys, each filled ahead of the demand that it measures."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence

import numpy as np

from worker.model import DataKey, Grant, KeySpec
from worker.zerokms.keys import pool_passes
from worker.zerokms.keys.held import Batch, Held
from worker.zerokms.keys.options import KeyOptions
from worker.zerokms.keys.part import Ints, Part
from worker.zerokms.keys.passes import Flags
from worker.zerokms.keys.shelf import Failure, Shelf, Wanted
from worker.zerokms.keys.upkeep import Gauge, wipe

_AHEAD_S = 1.0
"""A pool holds what so many seconds of its own demand take."""
_POOL_BYTES = 700
"""What a pool is counted as with its context: an estimate, on the high side."""
_KEY_BYTES = 500
"""What a data key takes; likewise."""
_AT_ONCE = 2_000


class Pools(Shelf):
    """
    The pools of many contexts, one column for each of their properties; not thread-safe.

    A pool's depth starts at 0, so that a context seen once costs no key too many, and doubles at each wait. Of that,
    no more than a second's demand is held, and nothing where too many keys have been wasted.
    """

    def __init__(self, options: KeyOptions, gauge: Gauge, full: Callable[[], int]) -> None:
        self.held = Held()
        super().__init__(_POOL_BYTES, options.max_pools, pool_passes.EMPTY)
        self._options, self._gauge, self._full = options, gauge, full
        self._begun: list[Part] = []
        self._owed = np.zeros(len(self.pins), np.int64)

    @property
    def available(self) -> Ints:
        """How many keys lie ready."""
        return self.held.available

    def begin(self, part: Part, now: float) -> None:
        """Pin what a batch needs, and note what it wants; a pool that has too little is too shallow."""
        pool_passes.begin(self.table, part.slots, part.left, now, self._options.max_pool_keys)
        self._begun.append(part)

    def end(self, part: Part) -> None:
        """Let go of what a batch pinned; perhaps it has not got all keys that it wanted."""
        self._begun.remove(part)
        pool_passes.end(self.table, part.slots)
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
        at, limit = part.open, now - self._options.max_age_s if self._options.max_age_s else -np.inf
        slots, counts = part.slots[at], part.left[at]
        aged, has = pool_passes.look(self.table, slots, counts, limit)
        if len(aged):
            for slot in aged.tolist():
                self._expire(slot, limit)
            _, has = pool_passes.look(self.table, slots, counts, limit)
        is_enough = has == pool_passes.FOR_ALL
        if not is_enough.all():
            some = np.flatnonzero(has == pool_passes.FOR_ONE)
            is_enough[some] = self.available[slots[some]] >= counts[some] + self._owed_before(part, slots[some])
            at = at[is_enough]
        if not len(at):
            return []
        slots, counts = part.slots[at], part.left[at]
        keys = self.held.take(slots, counts)
        self._weigh(slots)
        part.close(at)
        self._gauge.keys("used", len(keys))
        return [Grant(part.at, at, counts, keys)]

    def _owed_before(self, part: Part, slots: Ints) -> Ints:
        """Return how many keys of each slot are for batches that began earlier and wait for them."""
        if not len(slots):
            return slots
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
        return pool_passes.lacking(self.table, part.slots[part.open])

    def ahead(self, part: Part, now: float) -> Wanted:
        """Return the slots, and how many keys for each, that should be fetched ahead; deep pools by full requests."""
        if not self._options.max_age_s:
            return part.slots[:0], part.left[:0]
        return pool_passes.ahead(self.table, part.slots, part.need.counts, now, self._full(), _AHEAD_S)

    def ask(self, slots: Ints, counts: Ints) -> Ints:
        """Note that keys are under way; their slots stay until these come or fail. Returns the pools' generations."""
        return pool_passes.ask(self.table, slots, counts)

    def arrived(self, slots: Ints, counts: Ints, keys: Sequence[DataKey], born: float, generations: Ints) -> None:
        """Take over the keys of one answer; wiped where the pool was dropped since they were asked for."""
        current = pool_passes.came(self.table, slots, counts, generations)
        if current.all():
            self.held.put(slots, counts, keys, born)
            kept = slots
        else:
            self._put_current(slots, counts, keys, born, current)
            kept = slots[current]
        self._weigh(kept)
        if self.failures:
            self.not_before[slots] = 0.0
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
        limit, end = now - self._options.max_age_s, min(self._size, start + 100 * _AT_ONCE)
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
        return end if end < self._size else None

    def oldest(self) -> float:
        """When the oldest key was asked for; infinite where there is none."""
        return float(self.held.born[: self._size].min(initial=np.inf))

    @property
    def count(self) -> int:
        """How many keys are held."""
        return int(self.available[: self._size].sum())

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
        self._weigh(np.array([slot]))

    def _weigh(self, slots: Ints) -> None:
        change, small = pool_passes.weigh(self.table, slots, _POOL_BYTES, _KEY_BYTES)
        self.bytes += change
        self._small_bytes += small

    def _bind(self) -> None:
        super()._bind()
        self.held.bind(self.table)
        self.pending, self.wanted, self.depth = (self.table[name] for name in ("pending", "wanted", "depth"))
        self.not_before, self._generation = self.table["not_before"], self.table["generation"]
        self._last, self._wasted = self.table["last"], self.table["wasted"]


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
