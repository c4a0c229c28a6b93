"""Data keys that stay in native memory: runs of them, handed on without an object for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, cast, overload
from uuid import UUID

import numpy as np

from worker.model import DataKey, PolicyCondition

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from worker import _native

_T = TypeVar("_T")
Label = tuple[str, tuple[PolicyCondition, ...]]
"""A key's descriptor and policy."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """
    The keys of one answer.

    Args:
        batch: the keys themselves.
        keyset: of all of them.
        request_id: what brought them.
        label: descriptor and policy of a key, by its place.
    """

    batch: _native.KeyBatch
    keyset: UUID
    request_id: UUID
    label: Callable[[int], Label]


class HeldKey(DataKey):
    """One key of an answer; its bytes are copied out only for whoever asks for `secret`."""

    __slots__ = ("_answer", "_at", "_gone")

    def __init__(self, answer: Answer, at: int) -> None:
        self._answer, self._at, self._gone = answer, at, False
        self._secret = self.cipher = None
        self.keyset, self.request_id = answer.keyset, answer.request_id

    def __getattr__(self, name: str) -> Any:
        """Copy what an envelope carries out where somebody asks: of most keys nobody does."""
        if name in ("iv", "tag"):
            self.iv, self.tag = self._answer.batch.label(self._at)
        elif name in ("descriptor", "policy"):
            self.descriptor, self.policy = self._answer.label(self._at)
        else:
            raise AttributeError(name)
        return getattr(self, name)

    @property
    def secret(self) -> memoryview:
        """The 32 bytes; raises `RuntimeError` after `wipe`."""
        if self._secret is None:
            self._secret = memoryview(self._answer.batch.secret(self._at))
        return self._secret

    @property
    def is_wiped(self) -> bool:
        """Whether the key is gone."""
        return self._gone

    @property
    def part(self) -> tuple[_native.KeyBatch, int, int]:
        """Where the key is: the batch, its place, and 1."""
        return self._answer.batch, self._at, 1

    def lease(self) -> _native.Lease:
        """Return the key as a lease's; raises `RuntimeError` after `wipe`."""
        return self._answer.batch.lease(self._at)

    def wipe(self) -> None:
        """Overwrite the key, its copies and what was built from it; safe to call twice."""
        self._gone = True
        self._answer.batch.wipe(self._at, self._at + 1)
        super().wipe()


class KeyRun(Sequence[DataKey]):
    """Keys one after the other, stretches of answers; each becomes an object when it is asked for."""

    __slots__ = ("_drawn", "_length", "_parts")

    def __init__(self, parts: Iterable[tuple[Answer, int, int]]) -> None:
        self._parts = [(answer, start, stop) for answer, start, stop in parts if start < stop]
        self._length = sum(stop - start for _, start, stop in self._parts)
        self._drawn: _native.Drawn | None = None

    @classmethod
    def of(cls, drawn: _native.Drawn) -> KeyRun:
        """Return the keys that were drawn from a cache; their stretches too are made when they are asked for."""
        run = cls(())
        run._drawn, run._length = drawn, len(drawn)
        return run

    @property
    def parts(self) -> list[tuple[Answer, int, int]]:
        """The stretches: an answer, the first of its keys that is meant, and the end."""
        if self._drawn is not None and not self._parts:
            self._parts = self._drawn.parts
        return self._parts

    @property
    def first(self) -> DataKey:
        """The first key."""
        return self[0] if self._drawn is None else HeldKey(*self._drawn.first)

    @property
    def request_ids(self) -> set[UUID | None]:
        """Which requests brought them."""
        answers = [answer for answer, _, _ in self.parts] if self._drawn is None else self._drawn.answers
        return {answer.request_id for answer in answers}

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> DataKey: ...
    @overload
    def __getitem__(self, index: slice, /) -> KeyRun: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> DataKey | KeyRun:
        """Return a key, or the run of a slice without a step."""
        if isinstance(index, slice):
            start, stop, step = index.indices(self._length)
            if step != 1:
                raise ValueError("a run of keys is cut without a step")
            if len(self.parts) == 1:
                answer, first, _ = self.parts[0]
                return KeyRun([(answer, first + start, first + stop)])
            return KeyRun(self._stretch(start, stop))
        at = index.__index__()
        for answer, start, stop in self._stretch(at + self._length if at < 0 else at, self._length):
            if start < stop:
                return HeldKey(answer, start)
        raise IndexError("no such key")

    def __iter__(self) -> Iterator[DataKey]:
        return (HeldKey(answer, at) for answer, start, stop in self.parts for at in range(start, stop))

    def __repr__(self) -> str:
        return f"KeyRun({self._length} keys)"

    @property
    def portions(self) -> list[tuple[_native.KeyBatch, int, int]]:
        """Batches, the first of their keys that is meant, and how many."""
        return [(answer.batch, start, stop - start) for answer, start, stop in self.parts]

    @property
    def supply(self) -> _native.Drawn | list[tuple[_native.KeyBatch, int, int]]:
        """The keys as a batch in native memory takes them."""
        return self.portions if self._drawn is None else self._drawn

    def wipe(self) -> None:
        """Overwrite every key."""
        if self._drawn is not None:
            self._drawn.wipe()
            return
        for answer, start, stop in self.parts:
            answer.batch.wipe(start, stop)

    def _stretch(self, start: int, stop: int) -> Iterator[tuple[Answer, int, int]]:
        for answer, first, last in self.parts:
            length = last - first
            yield answer, first + min(max(start, 0), length), first + min(max(stop, 0), length)
            start, stop = start - length, stop - length


def placed(keys: Sequence[DataKey]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return the n keys as objects: of a run the answer that brought each, with its place there."""
    column, at = np.empty(len(keys), object), np.full(len(keys), -1)
    if not isinstance(keys, KeyRun):
        column[:] = list(keys)
        return column, at
    start = 0
    for answer, first, last in keys.parts:
        end = start + last - first
        column[start:end].fill(answer)
        at[start:end] = np.arange(first, last)
        start = end
    return column, at


def key_of(held: DataKey | Answer, at: int) -> DataKey:
    """Return one of the keys that `placed` told."""
    return HeldKey(held, int(at)) if isinstance(held, Answer) else held


def joined(runs: Iterable[Sequence[_T]]) -> Sequence[_T]:
    """Return the items of several sequences, one after the other; runs of keys stay one."""
    several = list(runs)
    if len(several) == 1:
        return several[0]
    native = [run for run in several if isinstance(run, KeyRun)]
    if native and len(native) == len(several):
        whole: Any = KeyRun(chain.from_iterable(run.parts for run in native))
        return cast("Sequence[_T]", whole)
    return list(chain.from_iterable(several))


def wipe(keys: Iterable[DataKey]) -> None:
    """Overwrite every key."""
    if isinstance(keys, KeyRun):
        keys.wipe()
        return
    for key in keys:
        key.wipe()


def request_ids(keys: Sequence[DataKey]) -> set[UUID | None]:
    """Return which requests brought some keys."""
    if isinstance(keys, KeyRun):
        return keys.request_ids
    return {key.request_id for key in keys}
