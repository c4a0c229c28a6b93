"""A store that replicas share: every request is judged by what was written before it began."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from worker.authority.refusal import Refusal
from worker.authority.store import Store


class Freshness:
    """
    Looks at the store's head before a request is answered; one look serves all that wait for it to begin.

    Args:
        store: one that a single process owns is never looked at, for nobody else writes it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looking = asyncio.Lock()
        # One of its own: whatever else takes long, requests for keys wait for none of it.
        self._thread = ThreadPoolExecutor(1, "look")
        self._next: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        """Return once the store is as new as this call; raises a 503 where it can't be believed or reached."""
        await self.look()
        self._check()

    def now(self) -> None:
        """Do the same on a thread that may wait."""
        if self._store.is_shared:
            self._store.refresh()
        self._check()

    async def look(self) -> None:
        """Return once the store is as new as this call, whatever is to be said of it."""
        if self._store.is_shared:
            if self._next is None:
                self._next = asyncio.create_task(self._look())
            await asyncio.shield(self._next)

    def _check(self) -> None:
        if self._store.broken is not None:
            raise Refusal(503, f"the authority has stopped: {self._store.broken}")
        if self._store.head.lock:
            raise Refusal(503, "the authority was restored and is locked: worker authority unlock")

    async def _look(self) -> None:
        async with self._looking:
            # Whoever comes from now on may have seen a write that this look is too early for.
            self._next = None
            await asyncio.get_running_loop().run_in_executor(self._thread, self._store.refresh)
