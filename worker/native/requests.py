"""Requests for keys that envelopes carry, and the answers to them, in native memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, SupportsIndex, overload
from uuid import UUID

from worker.model import ContextElement, DataKey, KeyRefused, RetrieveRequest
from worker.native.keys import Answer, HeldKey

if TYPE_CHECKING:
    from worker import _native

Contexts = Sequence[Sequence[tuple[ContextElement, ...]]]
"""By field and the context's number within it."""
Sources = list[tuple["_native.KeyBatch | _native.Lease | None", int, int]]


class NativeRequests(Sequence[RetrieveRequest]):
    """
    What a batch of envelopes asks for; each becomes an object when it is asked for.

    Args:
        native: the requests.
        contexts: what each key was asked for with.
        whole: of which these are some, by their places in `span`; None for all.
    """

    def __init__(
        self, native: _native.Requests, contexts: Contexts, whole: NativeRequests | None = None, span: range = range(0)
    ) -> None:
        self.native, self.contexts, self._whole = native, contexts, whole
        self.span = range(len(native)) if whole is None else span

    def __len__(self) -> int:
        return len(self.span)

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> RetrieveRequest: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[RetrieveRequest]: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> RetrieveRequest | list[RetrieveRequest]:
        """Return one, or those of a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        keyset, iv, tag, descriptor, field, number = self.native.item(self.span[index])
        context = self.contexts[field][number] if self.contexts[field] else ()
        return RetrieveRequest(None if keyset is None else UUID(bytes=keyset), iv, tag, descriptor, context)

    def __repr__(self) -> str:
        return f"NativeRequests({len(self)})"

    @cached_property
    def keysets(self) -> list[UUID | None]:
        """The keyset of all, alone; empty where there are several. A part has its whole's."""
        if self._whole is not None:
            return self._whole.keysets
        only, keyset = self.native.keyset()
        return [None if keyset is None else UUID(bytes=keyset)] if only else []

    def fingerprint(self, index: int) -> bytes | None:
        """The type's fingerprint in a lease's header; None for a key of one value."""
        return self.native.fingerprint(self.span[index])

    def part(self, start: int, stop: int) -> NativeRequests:
        """Return some of them, in the same memory."""
        return NativeRequests(self.native, self.contexts, self._whole or self, self.span[start:stop])

    def bodies(self, start: int, stop: int, write: Callable[[Sequence[ContextElement]], bytes]) -> bytes:
        """Return some of the requests as JSON items with commas between; `write` gives a context's JSON."""
        first = self.span.start
        return self.native.items(
            first + start, first + stop, [[write(c) for c in each or [()]] for each in self.contexts]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The answer to some requests in a row: the keys, and others' refusals by place; without keys: the one of all."""

    count: int
    answer: Answer | None
    refused: Mapping[int, KeyRefused]
    denied: KeyRefused | None = None

    def item(self, at: int) -> DataKey | KeyRefused:
        """Return one answer."""
        if self.answer is None:
            assert self.denied is not None
            return self.denied
        return self.refused[at] if at in self.refused else HeldKey(self.answer, at)


class NativeAnswers(Sequence["DataKey | KeyRefused"]):
    """Answers one after the other; each becomes an object when it is asked for."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(part.count for part in self._parts)

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> DataKey | KeyRefused: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[DataKey | KeyRefused]: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> DataKey | KeyRefused | list[DataKey | KeyRefused]:
        """Return one, or those of a slice."""
        if isinstance(index, slice):
            return list(self)[index]
        at = index.__index__()
        at = at + len(self) if at < 0 else at
        for part in self._parts:
            if at < part.count:
                return part.item(at)
            at -= part.count
        raise IndexError("no such answer")

    def __iter__(self) -> Iterator[DataKey | KeyRefused]:
        return (part.item(at) for part in self._parts for at in range(part.count))

    def __repr__(self) -> str:
        return f"NativeAnswers({len(self)})"

    @property
    def sources(self) -> Sources:
        """Where the keys are, in the order of the requests; those of refusals are wiped."""
        return [(part.answer.batch if part.answer is not None else None, 0, part.count) for part in self._parts]

    def wipe(self) -> None:
        """Overwrite every key."""
        for part in self._parts:
            if part.answer is not None:
                part.answer.batch.wipe(0, part.count)
