"""Slots for contexts, counted in bytes; which of them goes first is decided by S3-FIFO."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.errors import ContextDenied, KeyServiceUnavailable, WorkerError
from worker.model import DataKey, Grant, KeySpec, SpecRuns, Texts
from worker.zerokms.keys import passes
from worker.zerokms.keys.family import Families, Family, picked
from worker.zerokms.keys.part import Ints, Part
from worker.zerokms.keys.passes import IN_MAIN, IN_SMALL, NO_QUEUE

Wanted = tuple[Ints, Ints]
"""Slots, and how many keys for each."""

_SMALL = 0.1
"""Share of the bytes that contexts seen once may have; as in the paper."""
_FIRST, _GROWTH = 1_024, 4
"""Rows of a table, and how many times as many it gets: numbers that nobody has written to yet take no memory."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why contexts got no keys, when, and the how manieth failed fetch it was."""

    number: int
    at: float
    error: WorkerError

    @property
    def is_refusal(self) -> bool:
        """Whether the service answered, and asking again is of no use."""
        return not isinstance(self.error, KeyServiceUnavailable)

    @property
    def is_of_context(self) -> bool:
        """Whether the context alone was refused."""
        return isinstance(self.error, ContextDenied)


class _Kin:
    """Contexts that differ in their texts alone."""

    __slots__ = ("family", "names", "seed", "spec")

    def __init__(self, spec: KeySpec, names: tuple[str, ...], family: Family) -> None:
        self.spec, self.names, self.family = spec, names, family
        self.seed = hash((spec, names))


class Shelf:
    """
    A slot for every context that is held; not thread-safe.

    New contexts enter a small queue, and whoever is used again before its end comes moves on to the main one, so that
    a scan of contexts that never return passes through the small queue alone. A context that returns soon after it
    went is remembered and enters the main queue at once. A use costs no move, only a count: a batch of thousands of
    contexts is one vector operation. A slot that is pinned stays.

    Source: Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023.

    Args:
        slot_bytes: what a context takes by itself.
        limit: the most contexts; None: no bound but the bytes.
        row: what a slot has in the table that holds nothing; see `passes.SLOT`.
    """

    def __init__(self, slot_bytes: int, limit: int | None, row: passes.Rows) -> None:
        self._slot_bytes, self._limit = slot_bytes, limit
        # The batch that brings a context is no use of it yet.
        self._new = row.copy()
        self._new["weight"], self._new["queue"], self._new["uses"] = slot_bytes, IN_SMALL, -1
        self._families = Families()
        self._kin: dict[tuple[KeySpec, tuple[str, ...]], _Kin] = {}
        self._kin_of: list[_Kin | None] = []
        self._free: list[int] = []
        self._small: deque[int] = deque()
        self._main: deque[int] = deque()
        self._small_bytes = self._gone = self.bytes = 0
        self.failures: dict[int, Failure] = {}
        self.table = passes.rows(_FIRST, row.dtype)
        self._bind()
        self._left = np.zeros(_FIRST, np.int64)

    @property
    def _size(self) -> int:
        """How many slots there have ever been: beyond them no column says anything."""
        return len(self._kin_of)

    def __len__(self) -> int:
        return len(self._kin_of) - len(self._free) - self._gone

    def find(self, spec: KeySpec, names: tuple[str, ...], contexts: Sequence[Texts]) -> Ints:
        """Return each context's slot, a new one where there is none; `begin` pins them."""
        kin = self._kin.get((spec, names))
        if kin is None:
            kin = self._kin[spec, names] = _Kin(spec, names, self._families.make(names))
        slots = kin.family.find(contexts)
        if len(slots) and slots.min() < 0:
            slots, new = slots.copy(), np.flatnonzero(slots < 0)
            slots[new] = self._add(kin, picked(contexts, new))
        return slots

    def runs(self, slots: Ints, counts: Ints) -> SpecRuns:
        """Return what keys of contexts of one need are for, so many each."""
        kin = self._kin_of[slots[0]]
        assert kin is not None
        return SpecRuns(kin.spec, kin.names, kin.family.texts(slots), counts.tolist())

    def spec(self, slot: int) -> KeySpec:
        """Return what a context's keys are for."""
        return next(self.runs(np.array([slot]), np.ones(1, np.int64)).each())[0]

    def slots(self) -> list[int]:
        """Every slot in use."""
        return [slot for slot, kin in enumerate(self._kin_of) if kin is not None]

    def holds(self, slot: int) -> bool:
        """Whether a slot is in use."""
        return slot < len(self._kin_of) and self._kin_of[slot] is not None

    def are_known(self, slots: Ints) -> NDArray[np.bool_]:
        """Tell which of these contexts have been used before."""
        known: NDArray[np.bool_] = (self._uses[slots] > 0) | (self._queue[slots] == IN_MAIN)
        return known

    def forgive(self, slots: Ints) -> None:
        """Forget why these contexts once got no keys."""
        if self.failures:
            for slot in slots.tolist():
                self.failures.pop(slot, None)

    def evict(self, target: int) -> bool:
        """Give up contexts that nobody pins until no more than `target` bytes are held; returns whether that is so."""
        # Each look takes a use away or moves an entry on, so this ends; where all is pinned it ends here.
        for _ in range((passes.OFTEN + 1) * (len(self._small) + len(self._main))):
            if self.bytes <= target and not self.is_over:
                return True
            from_small = bool(self._small) and (self._small_bytes > _SMALL * self.bytes or not self._main)
            queue = self._small if from_small else self._main
            slot = queue.popleft()
            if self._kin_of[slot] is None:
                self._recycle(slot)
            elif self.pins[slot]:
                queue.append(slot)
            elif from_small and self._uses[slot] > 1:
                self._small_bytes -= int(self._weight[slot])
                self._queue[slot], self._uses[slot] = IN_MAIN, 0
                self._main.append(slot)
            elif not from_small and self._uses[slot]:
                self._uses[slot] -= 1
                queue.append(slot)
            else:
                if from_small:
                    self._remember(slot)
                self.remove(slot, queued=False)
        return self.bytes <= target and not self.is_over

    @property
    def is_over(self) -> bool:
        """Whether there are more contexts than the limit."""
        return self._limit is not None and len(self) > self._limit

    def remove(self, slot: int, *, queued: bool = True) -> None:
        """Free a slot that nobody pins; `queued`: it still stands in its queue, and is free when it leaves that."""
        kin = self._kin_of[slot]
        assert kin is not None
        self._let_go(slot)
        self.failures.pop(slot, None)
        kin.family.remove(slot)
        if not len(kin.family):
            self._families.drop(kin.family)
            del self._kin[kin.spec, kin.names]
        self._kin_of[slot] = None
        weight = int(self._weight[slot])
        self.bytes -= weight
        if self._queue[slot] == IN_SMALL:
            self._small_bytes -= weight
        self._weight[slot] = 0
        self._gone += 1
        if not queued:
            self._recycle(slot)
        elif self._gone > _FIRST and self._gone > len(self):
            self._compact()

    def begin(self, part: Part, now: float) -> None:
        """Pin what a batch needs, and note what it wants."""
        raise NotImplementedError

    def end(self, part: Part) -> None:
        """Let go of what a batch pinned."""
        raise NotImplementedError

    def refuse(self, part: Part, i: int) -> None:
        """Note that a context of a batch gets no keys."""
        part.close(np.array([i]))

    def serve(self, part: Part, now: float) -> list[Grant]:
        """Grant what is at hand."""
        raise NotImplementedError

    def lacking(self, part: Part, now: float) -> Wanted:
        """Return what a batch waits for and nobody has asked for."""
        raise NotImplementedError

    def ahead(self, part: Part, now: float) -> Wanted:
        """Return what should be fetched ahead of need."""
        raise NotImplementedError

    def ask(self, slots: Ints, counts: Ints) -> Ints:
        """Note that keys are under way, and pin their slots; returns the generations that they are for."""
        raise NotImplementedError

    def arrived(self, slots: Ints, counts: Ints, keys: Sequence[DataKey], born: float, generations: Ints) -> None:
        """Take over keys that were under way, slot after slot."""
        raise NotImplementedError

    def failed(self, slots: Ints, counts: Ints, now: float, generations: Ints, failure: Failure) -> None:
        """Note that keys under way do not come."""
        raise NotImplementedError

    def drop(self, now: float) -> None:
        """Stop using every key held or under way."""
        raise NotImplementedError

    def _let_go(self, slot: int) -> None:
        """What a slot holds is given up."""
        raise NotImplementedError

    def _clear(self, slots: Ints) -> None:
        """Slots begin anew, with what they have besides their rows."""
        self.forgive(slots)

    def _bind(self) -> None:
        """Name the table's columns, which are views on it."""
        self.pins, self._uses = self.table["pins"], self.table["uses"]
        self._weight, self._queue = self.table["weight"], self.table["queue"]

    def _grow(self, size: int) -> None:
        """Make every column as long as `size`."""
        before, left = len(self.table), np.zeros(size, np.int64)
        left[self._left % size] = self._left
        for name, column in vars(self).items():
            if isinstance(column, np.ndarray) and column.base is None and len(column) == before:
                longer = np.empty(size, object) if column.dtype == object else np.zeros(size, column.dtype)
                longer[: len(column)] = column
                setattr(self, name, longer)
        self._left = left
        self.table = passes.grown(self.table, size)
        self._bind()

    def _add(self, kin: _Kin, contexts: Sequence[Texts]) -> Ints:
        free = max(0, len(self._free) - len(contexts))
        reused, self._free[free:] = self._free[free:], ()
        for slot in reused:
            self._kin_of[slot] = kin
        first, more = self._size, len(contexts) - len(reused)
        self._kin_of += [kin] * more
        slots = np.concatenate((np.array(reused, np.int64), np.arange(first, first + more)))
        while len(self._kin_of) > len(self.pins):
            self._grow(_GROWTH * len(self.pins))
        marks = kin.family.add(contexts, slots) ^ kin.seed
        self._enter(slots, self._left[marks % len(self._left)] == marks)
        return slots

    def _enter(self, slots: Ints, known: NDArray[np.bool_]) -> None:
        """Put new contexts into their queues: those that have just gone into the main one."""
        passes.fill(self.table, slots, self._new)
        self._clear(slots)
        self._queue[slots[known]] = IN_MAIN
        self.bytes += self._slot_bytes * len(slots)
        self._small_bytes += self._slot_bytes * int((~known).sum())
        self._small.extend(slots[~known].tolist())
        self._main.extend(slots[known].tolist())

    def _remember(self, slot: int) -> None:
        if (kin := self._kin_of[slot]) is not None:
            mark = kin.family.mark(slot) ^ kin.seed
            self._left[mark % len(self._left)] = mark

    def _recycle(self, slot: int) -> None:
        self._queue[slot] = NO_QUEUE
        self._gone -= 1
        self._free.append(slot)

    def _compact(self) -> None:
        for queue in (self._small, self._main):
            for _ in range(len(queue)):
                slot = queue.popleft()
                if self._kin_of[slot] is None:
                    self._recycle(slot)
                else:
                    queue.append(slot)
