"""Spans of a batch's way, for who collects traces; nothing where nobody asks for them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol
from uuid import UUID


class BatchTrace(Protocol):
    """The spans of one batch, on the thread that began it and delivers it."""

    def end(self, outcome: str, error: BaseException | None) -> None:
        """The batch is over; an error stands there by its kind, never in its words."""
        ...


class Traces(Protocol):
    """
    Where the time of a batch went, and whom it waited for; attributes are names and numbers, never content.

    A batch is one trace: a span for each stage, with a link from `keys` to the requests that brought its keys. These
    are traces of their own, since keys are fetched ahead and serve many batches; the authority goes on with them.
    """

    def batch(self, route: str, *, waited_s: float, records: int, positions: Iterable[str]) -> BatchTrace:
        """Begin a batch's trace on this thread, its `poll` having taken `waited_s` until now."""
        ...

    def stage(self, stage: str, seconds: float) -> None:
        """Note a stage of this thread's batch that has just ended; without a batch nothing."""
        ...

    def keys(self, seconds: float) -> None:
        """Note that this thread's batch has its keys now, after so long."""
        ...

    def brought(self, request_ids: Iterable[UUID]) -> None:
        """Note which requests brought the keys of this thread's batch."""
        ...

    def retried(self, reason: str) -> None:
        """Note that this thread's batch waits for what is away."""
        ...

    def request(self, endpoint: str, request_id: UUID | None) -> contextlib.AbstractContextManager[Mapping[str, str]]:
        """Trace one request to the authority, within a block; gives the headers that let the authority go on."""
        ...

    def served(self, endpoint: str, headers: Mapping[str, str], *, status: int, seconds: float) -> None:
        """Note a request that was answered here; it goes on with the trace that its headers name."""
        ...

    def close(self) -> None:
        """Send what is left, for a moment; safe to call twice."""
        ...


class NoTraces:
    """Traces that nobody collects; also one batch's."""

    def batch(self, route: str, *, waited_s: float, records: int, positions: Iterable[str]) -> BatchTrace:
        """Do nothing."""
        return self

    def end(self, outcome: str, error: BaseException | None) -> None:
        """Do nothing."""

    def stage(self, stage: str, seconds: float) -> None:
        """Do nothing."""

    def keys(self, seconds: float) -> None:
        """Do nothing."""

    def brought(self, request_ids: Iterable[UUID]) -> None:
        """Do nothing."""

    def retried(self, reason: str) -> None:
        """Do nothing."""

    @contextlib.contextmanager
    def request(self, endpoint: str, request_id: UUID | None) -> Iterator[Mapping[str, str]]:
        """Do nothing."""
        yield {}

    def served(self, endpoint: str, headers: Mapping[str, str], *, status: int, seconds: float) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


OFF = NoTraces()
