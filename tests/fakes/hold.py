"""The keys of a batch from whoever gives keys one spec at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import numpy as np

from worker.errors import WorkerError
from worker.model import DataKey, Grant, KeyHold, KeyNeed, KeySpec, LeasePortion


class OneByOne(Protocol):
    """Gives keys for one spec at a time."""

    def take(self, spec: KeySpec, count: int) -> list[DataKey]: ...

    def lease(self, spec: KeySpec, sizes: Sequence[int]) -> list[LeasePortion]: ...


def hold(keys: OneByOne, needs: Iterable[KeyNeed]) -> AbstractContextManager[KeyHold]:
    """Ask for one context after the other."""
    return nullcontext(_Hold(keys, tuple(needs)))


class _Hold:
    def __init__(self, keys: OneByOne, needs: Sequence[KeyNeed]) -> None:
        self._keys, self._needs = keys, needs
        self.refused: dict[tuple[int, int], WorkerError] = {}

    def __iter__(self) -> Iterator[Grant]:
        for i, need in enumerate(self._needs):
            for at, count in enumerate(need.counts.tolist()):
                spec = need.spec_of(at)
                if need.format == "record":
                    yield Grant(i, np.array([at]), np.array([count]), self._keys.take(spec, count))
                    continue
                portions = self._keys.lease(spec, need.sizes_of(at))
                counts = np.array([portion.count for portion in portions], np.int64)
                yield Grant(i, np.full(len(portions), at), counts, [portion.key for portion in portions])
