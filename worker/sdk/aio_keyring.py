"""Where asynchronous calls get their keys: as `worker.sdk.keyring`, with requests that tasks share."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar

import anyio
import anyio.lowlevel

from worker.errors import SubjectErased, WorkerError
from worker.model import DataKey, KeySpec, LeasePortion, RetrieveRequest
from worker.sdk.kept import KeptKeys
from worker.sdk.keyring import Answer, Ownership, told_closed
from worker.sdk.scope import Identity, Scope, identity_of
from worker.zerokms.asynchronous import AsyncKeyService
from worker.zerokms.joining import FULL, Joined
from worker.zerokms.keys.narrow import names
from worker.zerokms.loops import PerLoop

_TURN_S = 0.001
T = TypeVar("T")
R = TypeVar("R")


class AsyncKeyring:
    """
    Hands the keys of one key service to tasks.

    Args:
        service: where keys come from.
        kept: keys of earlier calls; None keeps none.
        window_s: as `Keyring`.
    """

    def __init__(self, service: AsyncKeyService, *, kept: KeptKeys | None, window_s: float) -> None:
        self._service, self.kept = service, kept
        self.is_closed = False
        self._identity = identity_of(service)
        self._fresh: PerLoop[AsyncJoiner[KeySpec, DataKey]] = PerLoop(lambda: AsyncJoiner(window_s))
        self._again: PerLoop[AsyncJoiner[RetrieveRequest, Answer]] = PerLoop(lambda: AsyncJoiner(window_s))
        self._turned = 0.0

    @property
    def identity(self) -> Identity:
        """Whom the key service takes us for."""
        return self._identity()

    def call(self, scope: Scope) -> AsyncKeyCall:
        """Return the keys of one call."""
        return AsyncKeyCall(self, scope.of(self.identity.subject))

    async def turn(self) -> None:
        """Let the loop go on now and then where calls find all they need: none waits, nor could be cancelled."""
        now = time.monotonic()
        if now - self._turned > _TURN_S:
            self._turned = now
            await anyio.lowlevel.checkpoint()

    async def fresh(self, scope: Scope, specs: list[KeySpec]) -> Sequence[DataKey]:
        """Return a fresh key for each spec of one keyset."""
        place = (scope, specs[0].keyset, specs[0].policy)
        try:
            return await self._fresh.get().ask(place, specs, lambda joined: self._service.generate(joined, scope.audit))
        except SubjectErased as exc:
            if any(names(spec, exc) for spec in specs):
                raise
            # It was another call of the same request that was meant.
            return await self._service.generate(specs, scope.audit)

    async def again(self, scope: Scope, requests: list[RetrieveRequest]) -> Sequence[Answer]:
        """Return each request's key or its refusal, past what is kept."""
        return await self._again.get().ask(scope, requests, lambda joined: self._service.retrieve(joined, scope.audit))


class AsyncKeyCall(Ownership):
    """The keys of one call of a task; at its end every key is wiped that is not kept."""

    def __init__(self, keyring: AsyncKeyring, scope: Scope) -> None:
        super().__init__(keyring.kept, keyring.identity, scope)
        self._keyring = keyring

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.wipe()
        told_closed(self._keyring.is_closed, exc)

    async def take(self, spec: KeySpec, count: int) -> Sequence[DataKey]:
        """Return `count` fresh keys."""
        return self.taken(await self._keyring.fresh(self._scope, [spec] * count))

    async def lease(self, spec: KeySpec, count: int) -> list[LeasePortion]:
        """Return leases for `count` values, a kept one first."""
        kept, counts = self.kept_lease(spec, count)
        if not counts:
            await self._keyring.turn()
            return kept
        specs, born = [spec] * len(counts), self.now()
        return kept + self.leased(specs, await self._keyring.fresh(self._scope, specs), counts, born)

    async def keys(self, requests: Sequence[RetrieveRequest]) -> list[Answer]:
        """Return each request's key or refusal."""
        found, missing = self.found(requests)
        if missing:
            born = self.now()
            found |= self.answered(missing, await self._keyring.again(self._scope, missing), born)
        else:
            await self._keyring.turn()
        return [found[request] for request in requests]


class AsyncJoiner(Generic[T, R]):
    """
    Joins calls of one place into requests, as `worker.zerokms.joining.Joiner` does for threads.

    Args:
        window_s: how long a call waits at most while an earlier request is under way; 0 joins none.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._open: dict[Hashable, _Group[T, R]] = {}
        self._under_way: dict[Hashable, int] = {}
        self._ended: dict[Hashable, anyio.Event] = {}

    async def ask(
        self, place: Hashable, items: list[T], send: Callable[[list[T]], Awaitable[Sequence[R]]]
    ) -> Sequence[R]:
        """Return the answers to some items, in order; see `Joiner.ask`."""
        if self._window_s <= 0:
            return await send(items)
        while True:
            group = self._open.get(place)
            if group is None or len(group.joined.items) + len(items) > FULL:
                break
            mine = group.joined.add(items)
            await group.done.wait()
            if not group.is_abandoned:
                return group.joined.result(mine)
        group = self._open[place] = _Group()
        mine = group.joined.add(items)
        await self._lead(place, group, send)
        return group.joined.result(mine)

    async def _lead(
        self, place: Hashable, group: _Group[T, R], send: Callable[[list[T]], Awaitable[Sequence[R]]]
    ) -> None:
        try:
            await self._gather(place, group)
            self._under_way[place] = self._under_way.get(place, 0) + 1
            try:
                group.joined.settle(await send(group.joined.items), None)
            except WorkerError as exc:
                group.joined.settle(None, exc)
            finally:
                self._end(place)
        except BaseException:
            # Cancelled, or worse: whoever had joined asks again.
            group.is_abandoned = True
            raise
        finally:
            if self._open.get(place) is group:
                del self._open[place]
            group.done.set()

    async def _gather(self, place: Hashable, group: _Group[T, R]) -> None:
        # One turn of the loop, so that tasks that are ready now come along.
        await anyio.lowlevel.checkpoint()
        until = time.monotonic() + self._window_s
        while self._under_way.get(place) and self._open.get(place) is group and len(group.joined.items) < FULL:
            left = until - time.monotonic()
            if left <= 0:
                break
            with anyio.move_on_after(left):
                await self._ended.setdefault(place, anyio.Event()).wait()
        if self._open.get(place) is group:
            del self._open[place]

    def _end(self, place: Hashable) -> None:
        self._under_way[place] -= 1
        if not self._under_way[place]:
            del self._under_way[place]
        ended = self._ended.pop(place, None)
        if ended is not None:
            ended.set()


class _Group(Generic[T, R]):
    def __init__(self) -> None:
        self.joined: Joined[T, R] = Joined()
        self.done = anyio.Event()
        self.is_abandoned = False
