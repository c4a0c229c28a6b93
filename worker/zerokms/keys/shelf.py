"""Slots for contexts, counted in bytes; which of them goes first is decided by S3-FIFO."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from worker.errors import ContextDenied, KeyServiceUnavailable, WorkerError
from worker.model import DataKey, Grant, KeySpec, Texts, spec_of
from worker.zerokms.keys.part import Part

Ints = NDArray[np.int64]

_SMALL = 0.1
"""Share of the bytes that contexts seen once may have; as in the paper."""
_OFTEN = 3
"""Uses are counted up to here; as in the paper."""
_FIRST = 1_024
_NONE, _IN_SMALL, _IN_MAIN = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a context got no keys, when, and the how manieth failed fetch it was."""

    number: int
    at: float
    error: WorkerError

    @property
    def is_refusal(self) -> bool:
        """Whether the service answered, and asking again is of no use."""
        return not isinstance(self.error, KeyServiceUnavailable)

    @property
    def is_of_context(self) -> bool:
        """Whether this context alone was refused."""
        return isinstance(self.error, ContextDenied)


class Family:
    """Contexts that differ in their texts alone."""

    __slots__ = ("names", "seed", "slots", "spec")

    def __init__(self, spec: KeySpec, names: tuple[str, ...]) -> None:
        self.spec, self.names, self.seed = spec, names, hash((spec, names))
        self.slots: dict[Texts, int] = {}


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
    """

    def __init__(self, slot_bytes: int, limit: int | None) -> None:
        self._slot_bytes, self._limit = slot_bytes, limit
        self._families: dict[tuple[KeySpec, tuple[str, ...]], Family] = {}
        self._family: list[Family | None] = []
        self._texts: list[Texts] = []
        self._free: list[int] = []
        self._small: deque[int] = deque()
        self._main: deque[int] = deque()
        self._small_bytes = self._gone = 0
        self.bytes = 0
        self.failures: dict[int, Failure] = {}
        self.pins = np.zeros(_FIRST, np.int32)
        self._uses = np.zeros(_FIRST, np.uint8)
        self._queue = np.zeros(_FIRST, np.uint8)
        self._weight = np.zeros(_FIRST, np.int64)
        self._left = np.zeros(_FIRST, np.int64)

    def __len__(self) -> int:
        return len(self._family) - len(self._free) - self._gone

    def find(self, spec: KeySpec, names: tuple[str, ...], contexts: Sequence[Texts]) -> Ints:
        """Return each context's slot, counting the use; a new one where there is none. The caller pins them."""
        family = self._families.get((spec, names))
        if family is None:
            family = self._families[spec, names] = Family(spec, names)
        slots = np.fromiter(map(family.slots.get, contexts, repeat(-1)), np.int64, len(contexts))
        new = np.flatnonzero(slots < 0)
        if len(new):
            found = slots[slots >= 0]
            for i in new.tolist():
                slots[i] = self._new(family, contexts[i])
        else:
            found = slots
        self._uses[found] = np.minimum(self._uses[found] + 1, _OFTEN)
        return slots

    def spec(self, slot: int) -> KeySpec:
        """Return the whole spec of a slot's context."""
        family = self._family[slot]
        assert family is not None
        return spec_of(family.spec, family.names, self._texts[slot])

    def keyset(self, slot: int) -> str | None:
        """Return the keyset of a slot's context."""
        family = self._family[slot]
        assert family is not None
        return family.spec.keyset

    def slots(self) -> Iterator[int]:
        """Every slot in use."""
        return (slot for slot, family in enumerate(self._family) if family is not None)

    def weigh(self, slot: int, extra: int) -> None:
        """State what a slot holds beyond itself, in bytes."""
        change = self._slot_bytes + extra - int(self._weight[slot])
        self._weight[slot] += change
        self.bytes += change
        if self._queue[slot] == _IN_SMALL:
            self._small_bytes += change

    def evict(self) -> bool:
        """Give up one context that nobody pins; returns whether there was one."""
        # Each look takes a use away or moves an entry on, so this ends; where all is pinned it ends here.
        for _ in range((_OFTEN + 1) * (len(self._small) + len(self._main))):
            from_small = bool(self._small) and (self._small_bytes > _SMALL * self.bytes or not self._main)
            queue = self._small if from_small else self._main
            slot = queue.popleft()
            if self._family[slot] is None:
                self._recycle(slot)
            elif self.pins[slot]:
                queue.append(slot)
            elif from_small and self._uses[slot] > 1:
                self._enter(slot, _IN_MAIN)
            elif not from_small and self._uses[slot]:
                self._uses[slot] -= 1
                queue.append(slot)
            else:
                if from_small:
                    self._remember(slot)
                self.remove(slot, queued=False)
                return True
        return False

    @property
    def is_over(self) -> bool:
        """Whether there are more contexts than the limit."""
        return self._limit is not None and len(self) > self._limit

    def remove(self, slot: int, *, queued: bool = True) -> None:
        """Free a slot that nobody pins; `queued`: it still stands in its queue, and is free when it leaves that."""
        family = self._family[slot]
        assert family is not None
        self._let_go(slot)
        del family.slots[self._texts[slot]]
        if not family.slots:
            del self._families[family.spec, family.names]
        self._family[slot], self._texts[slot] = None, ()
        self.weigh(slot, -self._slot_bytes)
        self._gone += 1
        if not queued:
            self._recycle(slot)
        elif self._gone > _FIRST and self._gone > len(self):
            self._compact()

    def begin(self, part: Part, now: float) -> None:
        """Note what a batch wants."""
        raise NotImplementedError

    def end(self, part: Part) -> None:
        """Note that a batch is over."""

    def refuse(self, part: Part, i: int) -> None:
        """Note that a context of a batch gets no keys."""
        part.close(np.array([i]))

    def serve(self, part: Part, now: float) -> list[Grant]:
        """Grant what is at hand."""
        raise NotImplementedError

    def lacking(self, part: Part, now: float) -> list[tuple[int, int]]:
        """Return the slots, and how many keys for each, that a batch waits for and nobody has asked for."""
        raise NotImplementedError

    def ahead(self, part: Part, now: float) -> list[tuple[int, int]]:
        """Return the slots, and how many keys for each, that should be fetched ahead of need."""
        raise NotImplementedError

    def ask(self, slot: int, count: int) -> int:
        """Note that keys are under way, and pin their slot; returns the generation that they are for."""
        raise NotImplementedError

    def arrived(self, slot: int, keys: list[DataKey], born: float, generation: int) -> None:
        """Take over keys that were under way."""
        raise NotImplementedError

    def failed(self, slot: int, count: int, now: float, generation: int, failure: Failure) -> None:
        """Note that keys under way do not come."""
        raise NotImplementedError

    def drop(self, now: float) -> None:
        """Stop using every key held or under way."""
        raise NotImplementedError

    def _let_go(self, slot: int) -> None:
        """What a slot holds is given up."""
        raise NotImplementedError

    def _clear(self, slot: int) -> None:
        """A slot begins anew."""
        raise NotImplementedError

    def _grow(self, size: int) -> None:
        """Make every column as long as `size`."""
        for name, column in vars(self).items():
            if isinstance(column, np.ndarray):
                longer = np.empty(size, object) if column.dtype == object else np.zeros(size, column.dtype)
                longer[: len(column)] = column
                setattr(self, name, longer)

    def _new(self, family: Family, texts: Texts) -> int:
        if self._free:
            slot = self._free.pop()
            self._family[slot], self._texts[slot] = family, texts
        else:
            slot = len(self._family)
            self._family.append(family)
            self._texts.append(texts)
            if slot == len(self.pins):
                self._grow(2 * slot)
        family.slots[texts] = slot
        self._clear(slot)
        self.weigh(slot, 0)
        mark = self._mark(family, texts)
        self._enter(slot, _IN_MAIN if self._left[mark % len(self._left)] == mark else _IN_SMALL)
        return slot

    def _enter(self, slot: int, queue: int) -> None:
        weight = int(self._weight[slot])
        self._small_bytes += weight * ((queue == _IN_SMALL) - int(self._queue[slot] == _IN_SMALL))
        self._queue[slot], self._uses[slot] = queue, 0
        (self._small if queue == _IN_SMALL else self._main).append(slot)

    def _mark(self, family: Family, texts: Texts) -> int:
        return hash((family.seed, texts))

    def _remember(self, slot: int) -> None:
        family = self._family[slot]
        assert family is not None
        mark = self._mark(family, self._texts[slot])
        self._left[mark % len(self._left)] = mark

    def _recycle(self, slot: int) -> None:
        self._queue[slot] = _NONE
        self._gone -= 1
        self._free.append(slot)

    def _compact(self) -> None:
        for queue in (self._small, self._main):
            for _ in range(len(queue)):
                slot = queue.popleft()
                if self._family[slot] is None:
                    self._recycle(slot)
                else:
                    queue.append(slot)
