"""What many keys are for, told once for those that are alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, repeat
from typing import SupportsIndex, overload

from worker.model.keys import KeySpec


class Specs(Sequence[KeySpec]):
    """
    Runs of equal specs: of many keys none becomes an object.

    Args:
        runs: a spec, and how many keys in a row are for it.
    """

    __slots__ = ("_length", "runs")

    def __init__(self, runs: Iterable[tuple[KeySpec, int]]) -> None:
        self.runs = [run for run in runs if run[1] > 0]
        self._length = sum(count for _, count in self.runs)

    @classmethod
    def of(cls, specs: Sequence[KeySpec]) -> Specs:
        """Return any specs as runs."""
        if isinstance(specs, cls):
            return specs
        return cls((spec, sum(1 for _ in same)) for spec, same in groupby(specs))

    @classmethod
    def joined(cls, several: Iterable[Specs]) -> Specs:
        """Return the specs of several, one after the other."""
        return cls(run for each in several for run in each.runs)

    @property
    def keysets(self) -> list[str | None]:
        """The distinct keysets, in the order of their first appearance."""
        return list(dict.fromkeys(spec.keyset for spec, _ in self.runs))

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> KeySpec: ...
    @overload
    def __getitem__(self, index: slice, /) -> Specs: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> KeySpec | Specs:
        """Return a spec, or those of a slice without a step."""
        if isinstance(index, slice):
            start, stop, step = index.indices(self._length)
            if step != 1:
                raise ValueError("specs are cut without a step")
            return Specs(self._cut(start, stop))
        at = index.__index__()
        at = at + self._length if at < 0 else at
        for spec, _ in self._cut(at, at + 1) if at >= 0 else ():
            return spec
        raise IndexError("no such spec")

    def __iter__(self) -> Iterator[KeySpec]:
        return (spec for run in self.runs for spec in repeat(*run))

    def __repr__(self) -> str:
        return f"Specs({self.runs!r})"

    def _cut(self, start: int, stop: int) -> Iterator[tuple[KeySpec, int]]:
        for spec, count in self.runs:
            if stop <= 0:
                return
            taken = min(count, stop) - max(start, 0)
            if taken > 0:
                yield spec, taken
            start, stop = start - count, stop - count
