"""The keys of many pools, in native memory where they came there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from worker.model import DataKey
from worker.native import IS_LOADED, extension
from worker.native.keys import KeyRun, joined
from worker.zerokms.keys import pool_passes
from worker.zerokms.keys.part import Ints
from worker.zerokms.keys.passes import Rows
from worker.zerokms.keys.upkeep import wipe


@dataclass(slots=True)
class Batch:
    """Keys of one answer; `born` is when they were asked for, on the cache's clock."""

    born: float
    keys: Sequence[DataKey] = field(repr=False)


class Held:
    """
    Keys by slot, in the order in which they came; not thread-safe.

    Those that are in native memory stay there, so that the keys of thousands of slots come and go in one call each. A
    slot that has any other is a list here until it is empty again.

    `available` is how many keys each slot has, `born` when the oldest of them was asked for, infinite where there is
    none.
    """

    def __init__(self) -> None:
        self._native = extension.Stretches() if IS_LOADED else None
        self._plain: dict[int, list[Batch]] = {}

    def bind(self, table: Rows) -> None:
        """Note what slots have in these rows, `pool_passes.POOL` each, from now on."""
        self._table = table
        self.available, self.born = table["available"], table["born"]

    def put(self, slots: Ints, counts: Ints, keys: Sequence[DataKey], born: float) -> None:
        """Add keys, slot after slot, so many each."""
        if self._native is not None and isinstance(keys, KeyRun) and not self._plain:
            self._native.put(slots, counts, keys.parts, born)
        else:
            ends = np.cumsum(counts).tolist()
            for slot, start, end in zip(slots.tolist(), [0, *ends], ends, strict=False):
                self._plain[slot] = [*self._listed(slot), Batch(born, keys[start:end])]
        pool_passes.put(self._table, slots, counts, born)

    def take(self, slots: Ints, counts: Ints) -> Sequence[DataKey]:
        """Return keys, slot after slot, the oldest answer's first; each slot has as many."""
        pool_passes.take(self._table, slots, counts)
        if self._native is not None and not self._plain:
            drawn, born = self._native.draw(slots, counts)
            self.born[slots] = np.frombuffer(born)
            return KeyRun.of(drawn)
        each = zip(slots.tolist(), counts.tolist(), strict=True)
        return joined(chain.from_iterable(self._popped(slot, count) for slot, count in each))

    def batches(self, slot: int) -> list[Batch]:
        """Return what a slot has."""
        if slot in self._plain or self._native is None:
            return self._plain.get(slot, [])
        return [Batch(born, KeyRun([part])) for born, part in self._native.held(slot)]

    def lose(self, slot: int, limit: float = np.inf) -> int:
        """Wipe what a slot has that was asked for until `limit`; returns how many keys that were."""
        if slot not in self._plain and self._native is not None:
            drawn, self.born[slot] = self._native.lose(slot, limit)
            drawn.wipe()
            lost = len(drawn)
        else:
            old = [batch.keys for batch in self.batches(slot) if batch.born <= limit]
            for keys in old:
                wipe(keys)
            self._set(slot, [batch for batch in self.batches(slot) if batch.born > limit])
            lost = sum(map(len, old))
        self.available[slot] -= lost
        return lost

    def _listed(self, slot: int) -> list[Batch]:
        """Return what a slot has, which native memory forgets."""
        held = self.batches(slot)
        if slot not in self._plain and self._native is not None:
            self._native.lose(slot, np.inf)
        return held

    def _popped(self, slot: int, count: int) -> Iterator[Sequence[DataKey]]:
        """Take keys out of several answers of a slot."""
        batches = self._listed(slot)
        while count:
            first = batches[0]
            if len(first.keys) <= count:
                yield first.keys
                batches = batches[1:]
            else:
                yield first.keys[:count]
                batches = [Batch(first.born, first.keys[count:]), *batches[1:]]
            count -= min(count, len(first.keys))
        self._set(slot, batches)

    def _set(self, slot: int, batches: list[Batch]) -> None:
        self.born[slot] = min((batch.born for batch in batches), default=np.inf)
        if batches:
            self._plain[slot] = batches
        else:
            self._plain.pop(slot, None)
