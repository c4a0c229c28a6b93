"""What a key cache holds, under one lock, and how it asks for more."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial

from worker.errors import FatalError, WorkerError
from worker.model import DataKey, Grant, KeyNeed, KeySpec
from worker.zerokms.keys.budget import Budget
from worker.zerokms.keys.gather import Gatherer
from worker.zerokms.keys.lease import Leases
from worker.zerokms.keys.narrow import Answer, Generate
from worker.zerokms.keys.options import KeyOptions
from worker.zerokms.keys.part import Part
from worker.zerokms.keys.pool import Pools
from worker.zerokms.keys.shelf import Failure, Shelf
from worker.zerokms.keys.upkeep import Clock, Gauge, Retired, wipe


@dataclass(frozen=True, slots=True)
class _Item:
    """Keys that one request asks for one slot."""

    shelf: Shelf
    slot: int
    count: int
    generation: int
    spec: KeySpec


class Stock:
    """
    Leases and pools within one count of bytes.

    Whoever calls holds `changed`, which is notified when keys come or fail; `expire` takes it itself, a little at a
    time.

    Args:
        generate: asks the key service.
    """

    def __init__(self, generate: Generate, options: KeyOptions, budget: Budget, gauge: Gauge, clock: Clock) -> None:
        self._budget = budget
        self._options, self._gauge, self._clock = options, gauge, clock
        # Reentrant: a fetch that is done at once settles on the thread that asked.
        self.changed = threading.Condition(threading.RLock())
        self.retired = Retired(options.grace_s)
        self.leases = Leases(options, gauge, self.retired)
        self.pools = Pools(options, gauge, self.changed)
        self.gatherer = Gatherer(generate, threads=options.fetches, size=options.keys_per_request)
        self._failed = self._under_way = 0

    @property
    def bytes(self) -> int:
        """What is held, in bytes."""
        return self.leases.bytes + self.pools.bytes

    def begin(self, needs: Iterable[KeyNeed]) -> list[Part]:
        """Pin what a batch needs, note its demand, and begin to fetch what is missing."""
        now = self._clock()
        self.retired.sweep(now)
        parts = []
        for i, need in enumerate(needs):
            shelf = self._shelf(need)
            slots = shelf.find(need.spec, need.names, need.contexts)
            shelf.pins[slots] += 1
            parts.append(Part(i, need, slots, self._failed))
            shelf.begin(parts[-1], now)
        return parts

    def end(self, parts: Sequence[Part]) -> None:
        """Let go of what a batch pinned."""
        for part in parts:
            shelf = self._shelf(part.need)
            shelf.pins[part.slots] -= 1
            shelf.end(part)
        self.trim()

    def serve(self, parts: Sequence[Part]) -> list[Grant]:
        """Grant what is at hand."""
        now = self._clock()
        return [grant for part in parts if len(part.open) for grant in self._shelf(part.need).serve(part, now)]

    def refuse(self, part: Part, i: int) -> None:
        """Note that a context of a batch gets no keys."""
        self._shelf(part.need).refuse(part, i)

    def loosen(self, parts: Sequence[Part]) -> None:
        """Note that the leases of a batch may be in use for the grace after it."""
        for part in parts:
            if part.need.format == "leased":
                self.leases.loosen(part.slots)

    def failures(self, part: Part) -> list[tuple[int, Failure]]:
        """Return the places within a need that get no keys, and why."""
        shelf = self._shelf(part.need)
        if not shelf.failures:
            return []
        recent = self._clock() - self._options.negative_s
        found = []
        for i in part.open.tolist():
            failure = shelf.failures.get(int(part.slots[i]))
            if failure is None:
                continue
            if failure.number > part.failures or (failure.is_of_context and failure.at > recent):
                found.append((i, failure))
        return found

    def ask(self, parts: Sequence[Part], *, ahead: bool = False, whole: bool = False) -> None:
        """
        Ask for what batches lack, in full requests of one keyset each.

        Args:
            parts: what the batches need.
            ahead: ask on the way for what their contexts will lack soon.
            whole: leave the splitting to the service, where nobody waits for the first of many requests.
        """
        now = self._clock()
        wanted: dict[str | None, list[_Item]] = {}
        for part in parts:
            if len(part.open):
                self._note(self._shelf(part.need), self._shelf(part.need).lacking(part, now), wanted)
        if ahead and (wanted or self._under_way < self._options.fetches):
            for part in parts:
                self._note(self._shelf(part.need), self._shelf(part.need).ahead(part, now), wanted)
        for items in wanted.values():
            for request in [items] if whole else _requests(items, self._options.keys_per_request):
                self._send(request, now)

    def trim(self) -> None:
        """Give up contexts until all are within the bounds."""
        for shelf in (self.leases, self.pools):
            while shelf.is_over and shelf.evict():
                pass
        excess = self._budget.excess(self, self.bytes)
        target = self.bytes - excess
        while self.bytes > target:
            less, more = sorted((self.leases, self.pools), key=lambda shelf: shelf.bytes)
            if not (more.evict() or less.evict()):
                break
        if excess:
            self._budget.excess(self, self.bytes)

    def drop(self) -> None:
        """Stop using every key; answers under way are wiped when they arrive."""
        for shelf in (self.leases, self.pools):
            shelf.drop(self._clock())
        self.changed.notify_all()

    def expire(self) -> None:
        """Wipe what is past its age, and export the oldest key's age."""
        more = True
        while more:
            with self.changed:
                more = self.leases.expire(self._clock())
        start: int | None = 0
        while start is not None:
            with self.changed:
                start = self.pools.expire(self._clock(), start)
        with self.changed:
            now = self._clock()
            self.retired.sweep(now)
            born = [b for b in (self.leases.born, self.pools.born) if b is not None]
            self._gauge.oldest(now - min(born) if born else 0.0)

    def keys(self) -> list[DataKey]:
        """Every key that is held."""
        return self.leases.keys() + self.pools.keys()

    def _shelf(self, need: KeyNeed) -> Shelf:
        return self.leases if need.format == "leased" else self.pools

    def _note(self, shelf: Shelf, slots: list[tuple[int, int]], wanted: dict[str | None, list[_Item]]) -> None:
        for slot, count in slots:
            spec = shelf.spec(slot)
            item = _Item(shelf, slot, count, shelf.ask(slot, count), spec)
            wanted.setdefault(spec.keyset, []).append(item)

    def _send(self, items: list[_Item], now: float) -> None:
        self._under_way += 1
        asked = self.gatherer.ask([spec for item in items for spec in [item.spec] * item.count])
        asked.add_done_callback(partial(self._settle, items, now))

    def _settle(self, items: list[_Item], born: float, done: Future[list[Answer]]) -> None:
        error = FatalError("the key cache is closed") if done.cancelled() else done.exception()
        with self.changed:
            self._under_way -= 1
            if error is None:
                self._deliver(items, born, done.result())
            else:
                failed = error if isinstance(error, WorkerError) else FatalError(_unexpected(error))
                self._deliver(items, born, [failed] * sum(item.count for item in items))
            if not self.retired.is_needed:
                self.trim()
            self.changed.notify_all()

    def _deliver(self, items: list[_Item], born: float, answers: Sequence[Answer]) -> None:
        start, now = 0, self._clock()
        for item in items:
            got = answers[start : start + item.count]
            start += item.count
            keys = [answer for answer in got if isinstance(answer, DataKey)]
            refused = next((answer for answer in got if not isinstance(answer, DataKey)), None)
            if refused is None:
                item.shelf.arrived(item.slot, keys, born, item.generation)
            else:
                wipe(keys)
                self._failed += 1
                failure = Failure(self._failed, now, refused)
                item.shelf.failed(item.slot, item.count, now, item.generation, failure)


def _requests(items: Sequence[_Item], size: int) -> list[list[_Item]]:
    """Part items into full requests; only the last is not full."""
    requests: list[list[_Item]] = []
    room = 0
    for item in items:
        left = item.count
        while left:
            if not room:
                requests.append([])
                room = size
            count = min(left, room)
            requests[-1].append(item if count == item.count else replace(item, count=count))
            left, room = left - count, room - count
            if left:
                # Each piece comes or fails by itself, and until then the slot stays.
                item.shelf.pins[item.slot] += 1
    return requests


def _unexpected(error: BaseException) -> str:
    return f"keys could not be fetched: {type(error).__name__}"
