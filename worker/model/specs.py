"""What many keys are for, told once for those that are alike."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, chain, groupby, repeat
from typing import NamedTuple, SupportsIndex, overload

from worker.model.holds import spec_of
from worker.model.keys import KeySpec


class SpecRuns(NamedTuple):
    """
    Runs of keys whose specs differ in the texts of their contexts alone.

    Args:
        common: what they have in common; its own context is empty where there are names.
        names: of a context's texts, in order.
        contexts: n contexts, each its texts; one without texts where there are no names.
        counts: n numbers of keys, none 0.
    """

    common: KeySpec
    names: Sequence[str]
    contexts: Sequence[Sequence[str]]
    counts: Sequence[int]

    def cut(self, start: int, stop: int) -> SpecRuns:
        """Return the runs of a stretch of the keys, which is not empty."""
        ends = list(accumulate(self.counts))
        first, last = bisect_right(ends, start), bisect_left(ends, stop)
        counts = [*self.counts[first : last + 1]]
        counts[-1] -= ends[last] - stop
        counts[0] -= start - (ends[first - 1] if first else 0)
        return self._replace(contexts=self.contexts[first : last + 1], counts=counts)

    def each(self) -> Iterator[tuple[KeySpec, int]]:
        """Yield every spec, and how many keys in a row are for it."""
        for texts, count in zip(self.contexts, self.counts, strict=True):
            yield spec_of(self.common, self.names, texts), count


class Specs(Sequence[KeySpec]):
    """
    Runs of equal specs: of many keys none becomes an object.

    Args:
        runs: a spec, and how many keys in a row are for it.
    """

    def __init__(self, runs: Iterable[tuple[KeySpec, int]]) -> None:
        self._take([SpecRuns(spec, (), ((),), (count,)) for spec, count in runs if count > 0])

    @classmethod
    def of(cls, specs: Sequence[KeySpec]) -> Specs:
        """Return any specs as runs."""
        if isinstance(specs, cls):
            return specs
        return cls((spec, sum(1 for _ in same)) for spec, same in groupby(specs))

    @classmethod
    def of_parts(cls, parts: Iterable[SpecRuns]) -> Specs:
        """Return the specs of several runs, one after the other; none is made before somebody asks."""
        specs = cls(())
        specs._take(list(parts))
        return specs

    @classmethod
    def joined(cls, several: Iterable[Specs]) -> Specs:
        """Return the specs of several, one after the other."""
        each = list(several)
        return each[0] if len(each) == 1 else cls.of_parts(part for specs in each for part in specs.parts)

    def _take(self, parts: list[SpecRuns]) -> None:
        self.parts = parts
        self._ends = list(accumulate(sum(part.counts) for part in parts))

    @cached_property
    def runs(self) -> list[tuple[KeySpec, int]]:
        """Each spec, and how many keys in a row are for it."""
        return list(chain.from_iterable(part.each() for part in self.parts))

    @property
    def totals(self) -> list[int]:
        """How many keys each part is for."""
        return [end - start for start, end in zip([0, *self._ends], self._ends, strict=False)]

    @property
    def keysets(self) -> list[str | None]:
        """The distinct keysets, in the order of their first appearance."""
        return list(dict.fromkeys(part.common.keyset for part in self.parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> KeySpec: ...
    @overload
    def __getitem__(self, index: slice, /) -> Specs: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> KeySpec | Specs:
        """Return a spec, or those of a slice without a step."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError("specs are cut without a step")
            return Specs.of_parts(self._cut(start, stop))
        at = index.__index__()
        at = at + len(self) if at < 0 else at
        for part in self._cut(at, at + 1) if at >= 0 else ():
            return next(part.each())[0]
        raise IndexError("no such spec")

    def __iter__(self) -> Iterator[KeySpec]:
        return (spec for run in self.runs for spec in repeat(*run))

    def __repr__(self) -> str:
        return f"Specs({self.runs!r})"

    def _cut(self, start: int, stop: int) -> Iterator[SpecRuns]:
        begun = 0
        for part, end in zip(self.parts, self._ends, strict=True):
            if stop <= begun:
                return
            first, last = max(start - begun, 0), min(stop, end) - begun
            if first == 0 and last == end - begun:
                yield part
            elif first < last:
                yield part.cut(first, last)
            begun = end
