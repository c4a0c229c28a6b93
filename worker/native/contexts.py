"""The contexts of a field that was taken apart in native memory, and where a key cache has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from worker.model import Texts
from worker.native import extension

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from worker import _native

    Ints = NDArray[np.int64]


class SpanContexts(Sequence[Texts]):
    """
    The distinct contexts of a field, as texts only where somebody asks.

    Args:
        spans: what was taken apart.
        slot: the field's number.
        numbers: n numbers of contexts.
    """

    def __init__(self, spans: _native.Split, slot: int, numbers: NDArray[np.uint32]) -> None:
        self.spans, self.slot, self.numbers = spans, slot, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Texts: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Texts]: ...

    def __getitem__(self, index: int | slice) -> Texts | Sequence[Texts]:
        if isinstance(index, slice):
            return SpanContexts(self.spans, self.slot, self.numbers[index])
        return tuple(self.spans.texts(self.slot, int(self.numbers[index])))

    def picked(self, at: Ints) -> SpanContexts:
        """Return those at some places."""
        return SpanContexts(self.spans, self.slot, self.numbers[at])


class NativeFamily:
    """The places of contexts that differ in their texts alone; see `worker.zerokms.keys.family.Family`."""

    def __init__(self, directory: _native.Directory, number: int, names: Sequence[str]) -> None:
        self._directory, self.number, self._names = directory, number, list(names)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, contexts: Sequence[Texts]) -> Ints:
        """Return each context's place, -1 for none."""
        if isinstance(contexts, SpanContexts):
            found = self._directory.find(contexts.spans, contexts.slot, contexts.numbers, self.number)
        else:
            found = self._directory.find_texts(self._names, list(contexts), self.number)
        return np.frombuffer(found, np.int64)

    def add(self, contexts: Sequence[Texts], places: Ints | Sequence[int]) -> Ints:
        """Give new contexts places, and return each one's mark; raises `ValueError` where one comes twice."""
        places = np.asarray(places, np.int64)
        if isinstance(contexts, SpanContexts):
            marks = self._directory.put(contexts.spans, contexts.slot, contexts.numbers, self.number, places)
        else:
            marks = self._directory.put_texts(self._names, contexts, self.number, places)
        if marks is None:
            raise ValueError("the contexts of a need are distinct")
        self._count += len(places)
        return np.frombuffer(marks, np.int64)

    def mark(self, place: int) -> int:
        """Return the mark of a place's context."""
        return self._directory.hash_of(place)

    def remove(self, place: int) -> None:
        """Take a place away."""
        self._directory.remove(place)
        self._count -= 1

    def texts(self, places: Ints | Sequence[int]) -> Sequence[Sequence[str]]:
        """Return the contexts of some places."""
        return self._directory.texts(np.asarray(places, np.int64))


class NativeDirectory:
    """Makes families whose contexts are found in native memory, all of a batch's in one call."""

    def __init__(self) -> None:
        self._directory = extension.Directory()
        self._free: list[int] = []
        self._next = 0

    def family(self, names: Sequence[str]) -> NativeFamily:
        """Return a new family of contexts with these names."""
        if self._free:
            return NativeFamily(self._directory, self._free.pop(), names)
        self._next += 1
        return NativeFamily(self._directory, self._next - 1, names)

    def drop(self, family: NativeFamily) -> None:
        """Forget a family that holds nothing."""
        self._free.append(family.number)
