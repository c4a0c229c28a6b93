"""Leases: one data key for many values of one context, bounded in values, bytes and age."""

from __future__ import annotations

import random

import numpy as np

from worker.model import DataKey, Grant
from worker.zerokms.keys.options import KeyOptions
from worker.zerokms.keys.part import Part
from worker.zerokms.keys.shelf import Failure, Ints, Shelf
from worker.zerokms.keys.upkeep import Gauge, Retired, wipe

_RENEW_AT = 0.8
"""The next lease is fetched when this share of the present one's values, bytes or age is used."""
_OFTEN = 1 / 5
"""A context that comes more often than this share of the age will surely use its next lease."""
_WASTED = 0.05
"""Where more than this share of the leases was never used, only those get one ahead of need."""
_LEASE_BYTES = 700
"""What a lease takes with its context: measured, see docs/keys.md."""
_RARELY = 1e9
"""Seconds between the uses of a context that has been used once."""
_AT_ONCE = 2_000
"""Leases that are retired before other threads have their turn."""


class Leases(Shelf):
    """The leases of many contexts, one column for each of their properties; not thread-safe."""

    def __init__(self, options: KeyOptions, gauge: Gauge, retired: Retired) -> None:
        super().__init__(_LEASE_BYTES, options.max_leases)
        self._options, self._gauge, self._retired = options, gauge, retired
        self._generation = self._lost = self._spent = 0
        size = len(self.pins)
        self._key = np.empty(size, object)
        self._next = np.empty(size, object)
        self._born = np.zeros(size)
        self._next_born = np.zeros(size)
        self._renew = np.zeros(size)
        self._values = np.zeros(size, np.int64)
        self._bytes = np.zeros(size, np.int64)
        self._held = np.zeros(size, np.bool_)
        self._followed = np.zeros(size, np.bool_)
        self._used = np.zeros(size, np.bool_)
        self._loose = np.zeros(size, np.bool_)
        self._asked = np.zeros(size, np.bool_)
        self._not_before = np.zeros(size)
        self._seen = np.zeros(size)
        self._gap = np.zeros(size)

    def serve(self, part: Part, now: float) -> list[Grant]:
        """Grant what is at hand; what stays open has no lease with room."""
        slots = part.slots[part.open]
        fresh = self._fresh(slots, now)
        if not fresh.all():
            self._replace(slots[~fresh], now)
            fresh = self._fresh(slots, now)
        left, size = part.left[part.open], part.bytes[part.open]
        whole = fresh & (self._values[slots] >= left) & (self._bytes[slots] >= size)
        at, grants = part.open[whole], []
        split = part.open[fresh & ~whole]
        if len(at):
            chosen = slots[whole]
            self._values[chosen] -= left[whole]
            self._bytes[chosen] -= size[whole]
            self._used[chosen] = True
            grants.append(Grant(part.at, at, left[whole], self._key[chosen].tolist()))
            part.close(at)
        if len(split):
            grants.append(self._split(part, split, now))
        return grants

    def begin(self, part: Part, now: float) -> None:
        """Note that a batch uses these contexts."""
        slots = part.slots
        last, known = self._seen[slots], self._gap[slots]
        gap = now - last
        self._gap[slots] = np.where(known >= _RARELY, gap, known + 0.3 * (gap - known))
        self._seen[slots] = now

    def lacking(self, part: Part, now: float) -> list[tuple[int, int]]:
        """Return the slots, and one key for each, that a batch waits for and nobody has asked for."""
        slots = part.slots[part.open]
        slots = slots[~self._asked[slots]]
        stale = slots[~self._fresh(slots, now)]
        if len(stale):
            self._replace(stale, now)
            stale = stale[~self._fresh(stale, now)]
        return [(slot, 1) for slot in stale.tolist()]

    def ahead(self, part: Part, now: float) -> list[tuple[int, int]]:
        """Return the slots, and one key for each, whose next lease should be fetched now."""
        o, slots = self._options, part.slots
        if not o.max_age_s:
            return []
        near = (
            (now - self._born[slots] > self._renew[slots])
            | (self._values[slots] < o.max_values * (1 - _RENEW_AT))
            | (self._bytes[slots] < o.max_bytes * (1 - _RENEW_AT))
        )
        if not near.any():
            return []
        gap = o.max_age_s * (1 if self._lost <= _WASTED * self._spent else _OFTEN)
        near &= self._fresh(slots, now) & (self._gap[slots] <= gap) & ~self._asked[slots]
        near &= ~self._followed[slots] & (now >= self._not_before[slots])
        return [(slot, 1) for slot in slots[near].tolist()]

    def ask(self, slot: int, count: int) -> int:
        """Note that a lease is under way; its slot stays until it comes or fails. Returns the generation."""
        self._asked[slot] = True
        self.pins[slot] += count
        return self._generation

    def arrived(self, slot: int, keys: list[DataKey], born: float, generation: int) -> None:
        """Take a lease over; wiped where all were dropped since it was asked for."""
        self.pins[slot] -= 1
        if generation != self._generation:
            wipe(keys)
            self._gauge.keys("wasted", 1)
            return
        self._asked[slot], self._not_before[slot] = False, 0.0
        self.failures.pop(slot, None)
        if not self._held[slot]:
            self._install(slot, keys[0], born)
        else:
            self._next[slot], self._next_born[slot], self._followed[slot] = keys[0], born, True

    def failed(self, slot: int, count: int, now: float, generation: int, failure: Failure) -> None:
        """Note a failed fetch; a refusal drops what is held, an outage leaves it to be used to its age."""
        self.pins[slot] -= count
        if generation == self._generation:
            self._asked[slot] = False
        self.failures[slot] = failure
        if failure.is_refusal:
            self._give_up(slot, now)
        else:
            # Full jitter: after an outage the renewals of many contexts do not fall on one instant.
            self._not_before[slot] = now + random.uniform(0.1, 1.0) * self._options.backoff_s  # noqa: S311

    def loosen(self, slots: Ints) -> None:
        """Note that these leases are handed out without a hold: they may be in use for the grace."""
        self._loose[slots] = True

    def drop(self, now: float) -> None:
        """Stop using every lease, and refuse those under way; what a batch holds is wiped after it."""
        self._generation += 1
        for slot in list(self.slots()):
            self._give_up(slot, now)
            self._asked[slot] = False
            if not self.pins[slot]:
                self.remove(slot)

    def expire(self, now: float) -> bool:
        """Retire some of the leases that are past their age; returns whether there may be more."""
        aged = np.flatnonzero((self._values > 0) & (self._born <= now - self._options.max_age_s))[:_AT_ONCE]
        self._replace(aged, now)
        self.tidy(aged)
        return len(aged) == _AT_ONCE

    def tidy(self, slots: Ints) -> None:
        """Free those of the slots that hold nothing and that nobody waits for."""
        empty = (self.pins[slots] == 0) & ~self._held[slots] & ~self._followed[slots]
        for slot in slots[empty].tolist():
            self.remove(slot)

    @property
    def born(self) -> float | None:
        """When the oldest lease was asked for."""
        born = self._born[self._values > 0]
        return float(born.min()) if len(born) else None

    def keys(self) -> list[DataKey]:
        """Every key that is held."""
        return [key for column in (self._key, self._next) for key in column if key is not None]

    def _fresh(self, slots: Ints, now: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        # At max_age_s = 0 a lease serves the one batch that asked for it.
        o = self._options
        aged = now - self._born[slots] >= o.max_age_s if o.max_age_s else self._used[slots]
        fresh: np.ndarray[tuple[int], np.dtype[np.bool_]] = ~aged & (self._values[slots] > 0) & (self._bytes[slots] > 0)
        return fresh

    def _replace(self, slots: Ints, now: float) -> None:
        """Retire leases that are spent and let the next ones follow."""
        for slot in slots.tolist():
            self._retire(slot, now)
            if not self._followed[slot]:
                continue
            following, born = self._next[slot], float(self._next_born[slot])
            if now - born >= self._options.max_age_s:
                self._drop_next(slot, "expired")
            else:
                self._next[slot], self._followed[slot] = None, False
                self._install(slot, following, born)

    def _split(self, part: Part, places: Ints, now: float) -> Grant:
        """Grant what fits, context by context, over the end of one lease and on under the next."""
        at: list[int] = []
        counts: list[int] = []
        keys: list[DataKey] = []
        for i in places.tolist():
            slot = int(part.slots[i])
            while part.left[i] and self._fresh(part.slots[i : i + 1], now)[0]:
                taken = self._fit(slot, part.sizes(i)[: self._values[slot]])
                if taken:
                    used = int(part.sizes(i)[:taken].sum())
                    self._values[slot] -= taken
                    self._bytes[slot] -= used
                    self._used[slot] = True
                    at.append(i)
                    counts.append(taken)
                    keys.append(self._key[slot])
                    part.left[i] -= taken
                    part.bytes[i] -= used
                else:
                    self._values[slot] = 0
                if part.left[i]:
                    self._replace(part.slots[i : i + 1], now)
        part.close(places[part.left[places] == 0])
        return Grant(part.at, np.array(at, np.int64), np.array(counts, np.int64), keys)

    def _fit(self, slot: int, sizes: Ints) -> int:
        """Return how many of the first values fit; a fresh lease takes one of any size."""
        fit = int(np.searchsorted(np.cumsum(sizes), self._bytes[slot], side="right"))
        return fit or int(not self._used[slot])

    def _install(self, slot: int, key: DataKey, born: float) -> None:
        o = self._options
        self._key[slot], self._born[slot], self._held[slot] = key, born, True
        self._values[slot], self._bytes[slot], self._used[slot] = o.max_values, o.max_bytes, False
        # Drawn once per lease, so that leases fetched together are not renewed together.
        self._renew[slot] = o.max_age_s * (_RENEW_AT - random.uniform(0.0, 0.2))  # noqa: S311

    def _retire(self, slot: int, now: float) -> None:
        if not self._held[slot]:
            return
        key: DataKey = self._key[slot]
        self._key[slot], self._values[slot], self._held[slot] = None, 0, False
        self._spent += 1
        self._lost += not self._used[slot]
        self._gauge.keys("used" if self._used[slot] else "wasted", 1)
        if self._loose[slot]:
            self._retired.add(key, now)
        else:
            self._retired.leave(key)

    def _drop_next(self, slot: int, event: str) -> None:
        if self._followed[slot]:
            self._lost += 1
            self._gauge.keys(event, 1)
            self._next[slot].wipe()
            self._next[slot], self._followed[slot] = None, False

    def _give_up(self, slot: int, now: float) -> None:
        self._retire(slot, now)
        self._drop_next(slot, "wasted")

    def _let_go(self, slot: int) -> None:
        self._give_up(slot, self._seen[slot])

    def _clear(self, slot: int) -> None:
        self._key[slot] = self._next[slot] = None
        self._values[slot] = 0
        self._gap[slot], self._seen[slot], self._not_before[slot] = _RARELY, -_RARELY, 0.0
        self._asked[slot] = self._loose[slot] = self._held[slot] = self._followed[slot] = False
        self.failures.pop(slot, None)
