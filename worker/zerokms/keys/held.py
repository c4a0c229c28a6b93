"""The keys of many pools: of most a stretch of one answer, which is a row of columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.model import DataKey
from worker.native.keys import Answer, KeyRun, joined
from worker.zerokms.keys.part import Ints
from worker.zerokms.keys.upkeep import wipe


@dataclass(slots=True)
class Batch:
    """Keys of one answer; `born` is when they were asked for, on the cache's clock."""

    born: float
    keys: Sequence[DataKey] = field(repr=False)


class Held:
    """
    Keys by slot, in the order in which they came; not thread-safe.

    A slot's first keys are a stretch of an answer in native memory, so that those of thousands of slots come and go by
    a few vector operations. What comes on top of them, or is no such stretch, is in a list of the slot's own.

    `available` is how many keys each slot has, `born` when the oldest of them was asked for, infinite where there is
    none.
    """

    def __init__(self, size: int) -> None:
        self.available = np.zeros(size, np.int64)
        self.born = np.full(size, np.inf)
        self._answers = np.empty(size, object)
        self._starts = np.zeros(size, np.int64)
        self._sizes = np.zeros(size, np.int64)
        self._since = np.zeros(size)
        self._more: NDArray[np.object_] = np.empty(size, object)

    def grow(self, size: int) -> None:
        """Make room for so many slots."""
        before = len(self.born)
        for name, column in vars(self).items():
            longer: NDArray[Any] = np.empty(size, object) if column.dtype == object else np.zeros(size, column.dtype)
            longer[: len(column)] = column
            setattr(self, name, longer)
        self.born[before:] = np.inf

    def clear(self, slots: Ints) -> None:
        """Begin slots anew, which have no keys."""
        self.available[slots] = self._sizes[slots] = 0
        self.born[slots] = np.inf
        self._answers[slots] = self._more[slots] = None

    def put(self, slots: Ints, counts: Ints, keys: Sequence[DataKey], born: float) -> None:
        """Add keys, slot after slot, so many each."""
        stops = np.cumsum(counts)
        starts, first = stops - counts, self.available[slots] == 0
        if isinstance(keys, KeyRun) and len(keys.parts) == 1:
            [(answer, start, _)] = keys.parts
            empty = slots[first]
            self._answers[empty] = answer
            self._starts[empty] = start + starts[first]
            self._sizes[empty] = counts[first]
            self._since[empty] = born
        else:
            first[:] = False
        for i in np.flatnonzero(~first).tolist():
            slot, batch = slots[i], Batch(born, keys[starts[i] : stops[i]])
            self._more[slot] = [*(self._more[slot] or ()), batch]
        self.available[slots] += counts
        self.born[slots] = np.minimum(self.born[slots], born)

    def take(self, slots: Ints, counts: Ints) -> Sequence[DataKey]:
        """Return keys, slot after slot, the oldest answer's first; each slot has as many."""
        quick = self._sizes[slots] >= counts
        at, taken = slots[quick], counts[quick]
        self._sizes[at] -= taken
        self.available[slots] -= counts
        starts, answers = self._starts[at] + self._sizes[at], self._answers[at]
        self._emptied(at[self._sizes[at] == 0])
        runs: list[Sequence[DataKey]] = []
        done = 0
        for passed, i in enumerate(np.flatnonzero(~quick).tolist()):
            upto = slice(done, i - passed)
            runs.append(_run(answers[upto], starts[upto], taken[upto]))
            runs += self._popped(int(slots[i]), int(counts[i]))
            done = i - passed
        runs.append(_run(answers[done:], starts[done:], taken[done:]))
        return joined(runs)

    def batches(self, slot: int) -> list[Batch]:
        """Return what a slot has."""
        size, more = int(self._sizes[slot]), self._more[slot] or []
        if not size:
            return more
        start = int(self._starts[slot])
        return [Batch(float(self._since[slot]), KeyRun([(self._answers[slot], start, start + size)])), *more]

    def lose(self, slot: int, limit: float = np.inf) -> int:
        """Wipe what a slot has that was asked for until `limit`; returns how many keys that were."""
        kept, lost = [], 0
        for batch in self.batches(slot):
            if batch.born > limit:
                kept.append(batch)
            else:
                wipe(batch.keys)
                lost += len(batch.keys)
        self._set(slot, kept)
        self.available[slot] -= lost
        return lost

    def _popped(self, slot: int, count: int) -> Iterator[Sequence[DataKey]]:
        """Take keys out of several answers of a slot."""
        batches = self.batches(slot)
        while count:
            first = batches[0].keys
            if len(first) <= count:
                yield first
                count -= len(first)
                batches = batches[1:]
            else:
                yield first[-count:]
                batches = [Batch(batches[0].born, first[:-count]), *batches[1:]]
                count = 0
        self._set(slot, batches)

    def _set(self, slot: int, batches: list[Batch]) -> None:
        self._sizes[slot], self._answers[slot], self._more[slot] = 0, None, batches
        self.born[slot] = min((batch.born for batch in batches), default=np.inf)

    def _emptied(self, slots: Ints) -> None:
        """Note that nothing is left of what came first."""
        self._answers[slots] = None
        self.born[slots] = np.inf
        for slot in slots[self.available[slots] > 0].tolist():
            self._set(slot, self._more[slot])


def _run(answers: NDArray[np.object_], starts: Ints, counts: Ints) -> KeyRun:
    """Return the keys of stretches; those that follow each other become one."""
    stops = starts + counts
    is_new = np.ones(len(starts), np.bool_)
    is_new[1:] = (starts[1:] != stops[:-1]) | (answers[1:] != answers[:-1])
    first = np.flatnonzero(is_new)
    last = np.append(first[1:], len(starts))[: len(first)] - 1
    parts: list[tuple[Answer, int, int]] = list(
        zip(answers[first].tolist(), starts[first].tolist(), stops[last].tolist(), strict=True)
    )
    return KeyRun(parts)
