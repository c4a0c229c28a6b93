"""Contexts that differ in their texts alone, and the slot that each has."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Protocol

import numpy as np

from worker.model import Texts
from worker.native import IS_LOADED
from worker.native.contexts import NativeDirectory, NativeFamily, SpanContexts
from worker.zerokms.keys.part import Ints


class Family(Protocol):
    """Finds the slots of contexts."""

    def __len__(self) -> int:
        """How many contexts there are."""
        ...

    def find(self, contexts: Sequence[Texts]) -> Ints:
        """Return each context's slot, -1 for one that has none."""
        ...

    def add(self, contexts: Sequence[Texts], slots: Ints | Sequence[int], /) -> Ints:
        """Give new contexts slots, and return each one's mark; raises `ValueError` where one comes twice."""
        ...

    def mark(self, slot: int, /) -> int:
        """Return a number of 64 bits that tells a slot's context from most others, and is the same when it returns."""
        ...

    def remove(self, slot: int, /) -> None:
        """Take a slot away from its context."""
        ...

    def texts(self, slots: Ints | Sequence[int], /) -> Sequence[Sequence[str]]:
        """Return the contexts of some slots."""
        ...


class PlainFamily:
    """A `Family` in dictionaries."""

    def __init__(self) -> None:
        self._slots: dict[Texts, int] = {}
        self._texts: dict[int, Texts] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def find(self, contexts: Sequence[Texts]) -> Ints:
        """Return each context's slot, -1 for one that has none."""
        return np.fromiter(map(self._slots.get, contexts, repeat(-1)), np.int64, len(contexts))

    def add(self, contexts: Sequence[Texts], slots: Ints | Sequence[int]) -> Ints:
        """Give new contexts slots, and return each one's mark; raises `ValueError` where one comes twice."""
        for texts, slot in zip(contexts, np.asarray(slots).tolist(), strict=True):
            if self._slots.setdefault(texts, slot) != slot:
                raise ValueError("the contexts of a need are distinct")
            self._texts[slot] = texts
        return np.fromiter(map(hash, contexts), np.int64, len(contexts))

    def mark(self, slot: int) -> int:
        """Return the mark of a slot's context."""
        return hash(self._texts[slot])

    def remove(self, slot: int) -> None:
        """Take a slot away from its context."""
        del self._slots[self._texts.pop(slot)]

    def texts(self, slots: Ints | Sequence[int]) -> Sequence[Texts]:
        """Return the contexts of some slots."""
        return [self._texts[slot] for slot in np.asarray(slots).tolist()]


def picked(contexts: Sequence[Texts], at: Ints) -> Sequence[Texts]:
    """Return the contexts at some places."""
    return contexts.picked(at) if isinstance(contexts, SpanContexts) else [contexts[i] for i in at.tolist()]


class Families:
    """Makes families: in native memory where it is there, but for those of one context."""

    def __init__(self) -> None:
        self._directory = NativeDirectory() if IS_LOADED else None

    def make(self, names: Sequence[str]) -> Family:
        """Return a new family of contexts with these names."""
        return PlainFamily() if self._directory is None or not names else self._directory.family(names)

    def drop(self, family: Family) -> None:
        """Forget a family that holds nothing."""
        if self._directory is not None and isinstance(family, NativeFamily):
            self._directory.drop(family)
