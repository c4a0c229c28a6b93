"""Leases: one data key for many values of one context, bounded in values, bytes and age."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.model import DataKey, Grant
from worker.native import IS_LOADED, extension
from worker.native.keys import key_of, placed
from worker.zerokms.keys import passes
from worker.zerokms.keys.options import KeyOptions
from worker.zerokms.keys.part import Ints, Part
from worker.zerokms.keys.passes import ASKED, FRESH, HOLDS
from worker.zerokms.keys.shelf import Failure, Shelf, Wanted
from worker.zerokms.keys.upkeep import Gauge, Retired, wipe

_RENEW_AT = 0.8
"""The next lease is fetched when this share of the present one's values, bytes or age is used."""
_OFTEN = 1 / 5
"""A context that comes more often than this share of the age will surely use its next lease."""
_WASTED = 0.05
"""Where more than this share of the leases was never used, only those get one ahead of need."""
_LEASE_BYTES = 850
"""What a lease is counted as with its context: an estimate, on the high side."""
_AT_ONCE = 2_000
"""Leases that are retired before other threads have their turn."""


class Leases(Shelf):
    """The leases of many contexts, one column for each of their properties; not thread-safe."""

    def __init__(self, options: KeyOptions, gauge: Gauge, retired: Retired) -> None:
        super().__init__(_LEASE_BYTES, options.max_leases, passes.EMPTY)
        self._options, self._gauge, self._retired = options, gauge, retired
        self._generation = self._lost = self._spent = 0
        self._random = np.random.default_rng()
        self._vault = extension.Vault() if IS_LOADED else None
        size = len(self.pins)
        # A key, or the answer that brought it and its place there: of most keys nobody wants the object.
        self._key, self._at = np.empty(size, object), np.zeros(size, np.int64)
        self._next, self._next_at = np.empty(size, object), np.zeros(size, np.int64)
        self._next_born, self._not_before = np.zeros(size), np.zeros(size)

    def _bind(self) -> None:
        super()._bind()
        table = self.table
        self._born, self._renew = table["born"], table["renew"]
        self._seen, self._gap = table["seen"], table["gap"]
        self._values, self._bytes, self._number = table["values"], table["bytes"], table["key"]
        self._held, self._used, self._loose = table["held"], table["used"], table["loose"]
        self._followed, self._asked = table["followed"], table["asked"]

    def begin(self, part: Part, now: float) -> None:
        """Note the use, grant what has room for all that is wanted of it, and pin the rest."""
        slots, vault = part.slots, self._vault if part.need.is_native else None
        begun = passes.begin(self.table, slots, part.left, part.bytes, self._due(now), vault)
        whole, part.is_fresh, part.is_near, native = begun
        part.pinned = slots[~whole] if self._options.max_age_s else slots
        part.ready = self._granted(part, part.open, whole, native)

    def serve(self, part: Part, now: float) -> list[Grant]:
        """Grant what is at hand; what stays open has no lease with room."""
        at, vault = part.open, self._vault if part.need.is_native else None
        slots = part.slots[at]
        whole, native = passes.take(self.table, slots, part.left[at], part.bytes[at], self._due(now), vault)
        part.is_fresh = bool(whole.all())
        grants = self._granted(part, at, whole, native)
        if part.is_fresh:
            return grants
        at, slots = at[~whole], slots[~whole]
        states = self._states(slots, now)
        if len(spent := slots[states & (FRESH | HOLDS) == HOLDS]):
            self._replace(spent, now)
            return grants + self.serve(part, now)
        if len(split := at[states & FRESH > 0]):
            grants.append(self._split(part, split, now))
        return grants

    def _granted(self, part: Part, at: Ints, whole: NDArray[np.bool_], native: object | None) -> list[Grant]:
        """Return the grant of those contexts whose leases had room for all."""
        if not whole.all():
            at = at[whole]
        if not len(at):
            return []
        keys = [self._handed(slot) for slot in part.slots[at].tolist()] if native is None else []
        grant = Grant(part.at, at, part.left[at], keys, native)
        part.close(at)
        return [grant]

    def end(self, part: Part) -> None:
        """Let go of what a batch pinned; a lease without an age was for this one alone."""
        passes.end(self.table, part.pinned)
        if not self._options.max_age_s:
            for slot in part.slots.tolist():
                self._let_go(slot)

    def lacking(self, part: Part, now: float) -> Wanted:
        """Return the slots, and one key for each, that a batch waits for and nobody has asked for."""
        if part.is_fresh:
            return part.slots[:0], part.slots[:0]
        slots = part.slots[part.open]
        states = self._states(slots, now)
        stale = slots[states & (FRESH | ASKED) == 0]
        if len(spent := slots[states == HOLDS]):
            self._replace(spent, now)
            stale = stale[self._states(stale, now) & FRESH == 0]
        return stale, np.ones(len(stale), np.int64)

    def ahead(self, part: Part, now: float) -> Wanted:
        """Return the slots, and one key for each, whose next lease should be fetched now."""
        if not part.is_near or not self._options.max_age_s:
            return part.slots[:0], part.slots[:0]
        due = passes.ahead(self.table, part.slots, self._due(now))
        due = due[now >= self._not_before[due]]
        return due, np.ones(len(due), np.int64)

    def _due(self, now: float) -> passes.Due:
        o = self._options
        gap = o.max_age_s * (1 if self._lost <= _WASTED * self._spent else _OFTEN)
        left = 1 - _RENEW_AT
        return passes.Due(now, o.max_age_s, gap, o.max_values * left, o.max_bytes * left)

    def ask(self, slots: Ints, counts: Ints) -> Ints:
        """Note that leases are under way; their slots stay until these come or fail. Returns the generation."""
        self._asked[slots] = True
        self.pins[slots] += 1
        return np.full(len(slots), self._generation)

    def arrived(self, slots: Ints, counts: Ints, keys: Sequence[DataKey], born: float, generations: Ints) -> None:
        """Take leases over; wiped where all were dropped since they were asked for."""
        self.pins[slots] -= 1
        if generations[0] != self._generation:
            wipe(keys)
            self._gauge.keys("wasted", len(keys))
            return
        self._asked[slots], self._not_before[slots] = False, 0.0
        self.forgive(slots)
        column, at = placed(keys)
        held = self._held[slots]
        if held.any():
            behind = slots[held]
            self._next[behind], self._next_at[behind], self._next_born[behind] = column[held], at[held], born
            self._followed[behind] = True
            slots, column, at = slots[~held], column[~held], at[~held]
        self._install(slots, column, at, born)

    def failed(self, slots: Ints, counts: Ints, now: float, generations: Ints, failure: Failure) -> None:
        """Note a failed fetch; a refusal drops what is held, an outage leaves it to be used to its age."""
        self.pins[slots] -= 1
        if generations[0] == self._generation:
            self._asked[slots] = False
        for slot in slots.tolist():
            self.failures[slot] = failure
            # Full jitter: after an outage the renewals of many contexts do not fall on one instant.
            self._not_before[slot] = now + random.uniform(0.1, 1.0) * self._options.backoff_s  # noqa: S311
            if failure.is_refusal:
                self._give_up(slot, now)

    def loosen(self, slots: Ints) -> None:
        """Note that these leases are handed out without a hold: they may be in use for the grace."""
        self._loose[slots] = True

    def drop(self, now: float) -> None:
        """Stop using every lease, and refuse those under way; what a batch holds is wiped after it."""
        self._generation += 1
        for slot in self.slots():
            self._give_up(slot, now)
            self._asked[slot] = False
            if not self.pins[slot]:
                self.remove(slot)

    def expire(self, now: float) -> bool:
        """Retire some of the leases that are past their age; returns whether there may be more."""
        held, born = self._held[: self._size], self._born[: self._size]
        aged = np.flatnonzero(held & (born <= now - self._options.max_age_s))[:_AT_ONCE]
        self._replace(aged, now)
        self.tidy(aged)
        return len(aged) == _AT_ONCE

    def tidy(self, slots: Ints) -> None:
        """Free those of the slots that hold nothing and that nobody waits for."""
        empty = (self.pins[slots] == 0) & ~self._held[slots] & ~self._followed[slots]
        for slot in slots[empty].tolist():
            self.remove(slot)

    def oldest(self) -> float:
        """When the oldest lease was asked for; infinite where there is none."""
        return float(self._born[: self._size].min(initial=np.inf, where=self._held[: self._size]))

    @property
    def count(self) -> int:
        """How many keys are held."""
        return int(self._held[: self._size].sum()) + int(self._followed[: self._size].sum())

    def keys(self) -> list[DataKey]:
        """Every key that is held."""
        held, followed = np.flatnonzero(self._held[: self._size]), np.flatnonzero(self._followed[: self._size])
        columns = ((self._key[held], self._at[held]), (self._next[followed], self._next_at[followed]))
        return [key_of(key, at) for keys, places in columns for key, at in zip(keys, places, strict=True)]

    def _states(self, slots: Ints, now: float) -> NDArray[np.uint8]:
        return passes.states(self.table, slots, now, self._options.max_age_s)

    def _replace(self, slots: Ints, now: float) -> None:
        """Retire leases that are spent and let the next ones follow."""
        for slot in slots[self._held[slots]].tolist():
            self._retire(slot, now)
        slots = slots[self._followed[slots]]
        aged = now - self._next_born[slots] >= self._options.max_age_s
        for slot in slots[aged].tolist():
            self._drop_next(slot, "expired")
        slots = slots[~aged]
        following = self._next[slots]
        self._next[slots], self._followed[slots] = None, False
        self._install(slots, following, self._next_at[slots], self._next_born[slots])

    def _split(self, part: Part, places: Ints, now: float) -> Grant:
        """Grant what fits, context by context, over the end of one lease and on under the next."""
        at: list[int] = []
        counts: list[int] = []
        keys: list[DataKey] = []
        for i in places.tolist():
            slot = int(part.slots[i])
            while part.left[i] and self._states(part.slots[i : i + 1], now)[0] & FRESH:
                taken = self._fit(slot, part.sizes(i)[: self._values[slot]])
                if taken:
                    used = int(part.sizes(i)[:taken].sum())
                    self._values[slot] -= taken
                    self._bytes[slot] -= used
                    self._used[slot] = True
                    at.append(i)
                    counts.append(taken)
                    keys.append(self._handed(slot))
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

    def _handed(self, slot: int) -> DataKey:
        """Return a slot's key as the object that its holder may have, and that is wiped with what it copied out."""
        key = self._key[slot] = key_of(self._key[slot], self._at[slot])
        return key

    def _install(self, slots: Ints, keys: NDArray[np.object_], at: Ints, born: float | NDArray[np.float64]) -> None:
        o = self._options
        if self._vault is not None and len(slots):
            # Before anything says that they are there: it may refuse them.
            self._number[slots] = np.frombuffer(self._vault.put(keys.tolist(), at), np.int64)
        self._key[slots], self._at[slots], self._born[slots], self._held[slots] = keys, at, born, True
        self._values[slots], self._bytes[slots], self._used[slots] = o.max_values, o.max_bytes, False
        # Drawn once per lease, so that leases fetched together are not renewed together.
        self._renew[slots] = o.max_age_s * (_RENEW_AT - 0.2 * self._random.random(len(slots)))

    def _retire(self, slot: int, now: float) -> None:
        if not self._held[slot]:
            return
        key = key_of(self._key[slot], self._at[slot])
        self._key[slot], self._values[slot], self._held[slot] = None, 0, False
        if self._vault is not None:
            self._vault.free(int(self._number[slot]))
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
            key_of(self._next[slot], self._next_at[slot]).wipe()
            self._next[slot], self._followed[slot] = None, False

    def _give_up(self, slot: int, now: float) -> None:
        self._retire(slot, now)
        self._drop_next(slot, "wasted")

    def _let_go(self, slot: int) -> None:
        self._give_up(slot, self._seen[slot])

    def _clear(self, slots: Ints) -> None:
        super()._clear(slots)
        self._not_before[slots] = 0.0
