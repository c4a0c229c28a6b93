"""What a key cache holds, under one lock, and how it asks for more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from worker.errors import FatalError, WorkerError
from worker.model import DataKey, Grant, KeyNeed, Specs
from worker.native.keys import KeyRun
from worker.zerokms.keys.budget import Budget
from worker.zerokms.keys.gather import Gatherer
from worker.zerokms.keys.lease import Leases
from worker.zerokms.keys.narrow import Answer, Generate
from worker.zerokms.keys.options import KeyOptions
from worker.zerokms.keys.part import Ints, Part
from worker.zerokms.keys.pool import Pools
from worker.zerokms.keys.shelf import Failure, Shelf, Wanted
from worker.zerokms.keys.upkeep import Clock, Gauge, Retired, wipe


@dataclass(frozen=True, slots=True)
class _Piece:
    """Keys that one request asks for slots of one shelf: how many for each, and for which generation of it."""

    shelf: Shelf
    slots: Ints
    counts: Ints
    generations: Ints

    def cut(self, start: int, stop: int) -> _Piece:
        """Return a stretch of the slots."""
        return _Piece(self.shelf, self.slots[start:stop], self.counts[start:stop], self.generations[start:stop])

    def parted(self) -> list[_Piece]:
        """Return the slots of contexts that have been used before, and then those of new ones."""
        known = self.shelf.are_known(self.slots)
        if known.all() or not known.any():
            return [self]
        return [_Piece(self.shelf, self.slots[p], self.counts[p], self.generations[p]) for p in (known, ~known)]

    def is_new(self) -> bool:
        """Whether none of the contexts has been used before."""
        return not self.shelf.are_known(self.slots).any()

    def specs(self) -> Specs:
        """Return what each key is for."""
        return self.shelf.specs(self.slots.tolist(), self.counts.tolist())


class Stock:
    """
    Leases and pools within one count of bytes.

    Whoever calls holds `changed`, which is notified when keys come or fail; `expire` takes it itself, a little at a
    time.

    Args:
        generate: asks the key service.
        full: says how many keys fill a request.
    """

    def __init__(
        self,
        generate: Generate,
        full: Callable[[], int],
        options: KeyOptions,
        budget: Budget,
        gauge: Gauge,
        clock: Clock,
    ) -> None:
        self._full, self._budget = full, budget
        self._options, self._gauge, self._clock = options, gauge, clock
        # Reentrant: a fetch that is done at once settles on the thread that asked.
        self.changed = threading.Condition(threading.RLock())
        self.retired = Retired(options.grace_s)
        self.leases = Leases(options, gauge, self.retired)
        self.pools = Pools(options, gauge, full)
        self.gatherer = Gatherer(generate, threads=options.fetches, size=full)
        self._failed = self._under_way = 0
        self.settled = 0
        """How many requests have ended."""

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
            parts.append(Part(i, need, slots, self._failed))
            shelf.begin(parts[-1], now)
        return parts

    def end(self, parts: Sequence[Part]) -> None:
        """Let go of what a batch pinned."""
        for part in parts:
            self._shelf(part.need).end(part)
        self.trim()

    def serve(self, parts: Sequence[Part]) -> list[Grant]:
        """Grant what is at hand."""
        now = self._clock()
        grants = []
        for part in parts:
            ready, part.ready = part.ready, []
            grants += ready
            if len(part.open):
                grants += self._shelf(part.need).serve(part, now)
        return grants

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

    def ask(self, parts: Sequence[Part], *, ahead: bool = False) -> None:
        """
        Ask for what batches lack, in full requests of one keyset each.

        Args:
            parts: what the batches need.
            ahead: ask on the way for what their contexts will lack soon.
        """
        now = self._clock()
        wanted: dict[str | None, list[_Piece]] = {}
        for part in parts:
            if len(part.open):
                shelf = self._shelf(part.need)
                self._note(part, shelf, shelf.lacking(part, now), wanted)
        if ahead and (wanted or self._under_way < self._options.fetches):
            for part in parts:
                shelf = self._shelf(part.need)
                self._note(part, shelf, shelf.ahead(part, now), wanted)
        for found in wanted.values():
            pieces = sorted((part for piece in found for part in piece.parted()), key=_Piece.is_new)
            for request in _requests(pieces, self._full()):
                self._send(request, now)

    def trim(self) -> None:
        """Give up contexts until all are within the bounds."""
        for shelf in (self.leases, self.pools):
            if shelf.is_over:
                shelf.evict(shelf.bytes)
        excess = self._budget.excess(self, self.bytes)
        if not excess:
            return
        # Whoever has more gives up first, and each keeps half of the budget before it gives up more than the other.
        less, more = sorted((self.leases, self.pools), key=lambda shelf: shelf.bytes)
        target = self.bytes - excess
        if not more.evict(max(target - less.bytes, target // 2)) or self.bytes > target:
            less.evict(max(0, target - more.bytes))
        self._budget.excess(self, self.bytes)

    def drop(self) -> None:
        """Stop using every key; answers under way are wiped when they arrive."""
        for shelf in (self.leases, self.pools):
            shelf.drop(self._clock())
        self.changed.notify_all()

    def expire(self) -> None:
        """Wipe what is past its age, and export how many keys are held and the oldest one's age."""
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
            self._gauge.oldest(max(0.0, now - min(self.leases.oldest(), self.pools.oldest())))
            self._gauge.held("lease", self.leases.count, self.leases.keys)
            self._gauge.held("pool", self.pools.count, self.pools.keys)

    def keys(self) -> list[DataKey]:
        """Every key that is held."""
        return self.leases.keys() + self.pools.keys()

    def _shelf(self, need: KeyNeed) -> Shelf:
        return self.leases if need.format == "leased" else self.pools

    @staticmethod
    def _note(part: Part, shelf: Shelf, lacking: Wanted, wanted: dict[str | None, list[_Piece]]) -> None:
        slots, counts = lacking
        if len(slots):
            piece = _Piece(shelf, slots, counts, shelf.ask(slots, counts))
            wanted.setdefault(part.need.spec.keyset, []).append(piece)

    def _send(self, request: Sequence[_Piece], now: float) -> None:
        self._under_way += 1
        specs = Specs.joined(piece.specs() for piece in request)
        asked = self.gatherer.ask(specs, is_new=all(piece.is_new() for piece in request))
        asked.add_done_callback(partial(self._settle, request, now))

    def _settle(self, request: Sequence[_Piece], born: float, done: Future[Sequence[Answer]]) -> None:
        error = FatalError("the key cache is closed") if done.cancelled() else done.exception()
        with self.changed:
            self._under_way -= 1
            self.settled += 1
            if error is None:
                self._deliver(request, born, done.result())
            else:
                failed = error if isinstance(error, WorkerError) else FatalError(_unexpected(error))
                for piece in request:
                    self._refuse(piece, failed)
            if not self.retired.is_needed:
                self.trim()
            self.changed.notify_all()

    def _deliver(self, request: Sequence[_Piece], born: float, answers: Sequence[Answer]) -> None:
        start = 0
        for piece in request:
            end = start + int(piece.counts.sum())
            got = answers[start:end]
            start = end
            keys = got if isinstance(got, KeyRun) else [answer for answer in got if isinstance(answer, DataKey)]
            if len(keys) == len(got):
                piece.shelf.arrived(piece.slots, piece.counts, keys, born, piece.generations)
            elif len(piece.slots) > 1:
                self._deliver([piece.cut(i, i + 1) for i in range(len(piece.slots))], born, got)
            else:
                wipe(keys)
                self._refuse(piece, next(answer for answer in got if isinstance(answer, WorkerError)))

    def _refuse(self, piece: _Piece, error: WorkerError) -> None:
        self._failed += 1
        now = self._clock()
        piece.shelf.failed(piece.slots, piece.counts, now, piece.generations, Failure(self._failed, now, error))


def _requests(pieces: Sequence[_Piece], size: int) -> list[list[_Piece]]:
    """Part pieces into full requests; only the last is not full."""
    requests: list[list[_Piece]] = []
    room = 0
    for piece in pieces:
        rest = piece
        while len(rest.slots):
            if not room:
                requests.append([])
                room = size
            ends = np.cumsum(rest.counts)
            whole = int(np.searchsorted(ends, room, side="right"))
            if whole:
                requests[-1].append(rest.cut(0, whole))
                room -= int(ends[whole - 1])
                rest = rest.cut(whole, len(rest.slots))
            else:
                first, rest = _split(rest, room)
                requests[-1].append(first)
                room = 0
    return requests


def _split(piece: _Piece, count: int) -> tuple[_Piece, _Piece]:
    """Cut so many of the first slot's keys off; each part comes or fails by itself, and until then the slot stays."""
    counts = piece.counts.copy()
    counts[0] -= count
    piece.shelf.pins[piece.slots[0]] += 1
    first = replace(piece.cut(0, 1), counts=np.array([count]))
    return first, replace(piece, counts=counts)


def _unexpected(error: BaseException) -> str:
    return f"keys could not be fetched: {type(error).__name__}"
