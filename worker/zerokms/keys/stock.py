"""What a key cache holds, under one lock, and how it asks for more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from worker.errors import FatalError, WorkerError
from worker.model import DataKey, Grant, KeyNeed, Specs
from worker.native.keys import KeyRun
from worker.zerokms.keys.budget import Budget
from worker.zerokms.keys.gather import Gatherer
from worker.zerokms.keys.lease import Leases
from worker.zerokms.keys.narrow import Answer, Generate
from worker.zerokms.keys.options import KeyOptions
from worker.zerokms.keys.part import Part
from worker.zerokms.keys.piece import Piece, merged, ordered, requests
from worker.zerokms.keys.pool import Pools
from worker.zerokms.keys.shelf import Failure, Shelf, Wanted
from worker.zerokms.keys.upkeep import Clock, Gauge, Retired, wipe


@dataclass(slots=True)
class Asked:
    """How many requests are under way for what a batch lacks, and with how many left it looks at what has come."""

    left: int = 0
    enough: int = 0


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
        self._failed = self._under_way = self._bystanders = 0
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

    def ask(self, parts: Sequence[Part], asked: Asked, *, ahead: bool = False) -> None:
        """
        Ask for what a batch lacks, in full requests of one keyset each.

        Args:
            parts: what the batch needs.
            asked: counts the requests for it.
            ahead: ask on the way for what its contexts will lack soon.
        """
        now = self._clock()
        wanted: dict[str | None, list[Piece]] = {}
        for part in parts:
            if len(part.open):
                shelf = self._shelf(part.need)
                self._note(part, shelf.lacking(part, now), wanted, is_needed=True)
        if ahead and (wanted or self._under_way < self._options.fetches):
            for part in parts:
                shelf = self._shelf(part.need)
                self._note(part, shelf.ahead(part, now), wanted, is_needed=False)
        for found in wanted.values():
            full = self._full()
            for request in requests(ordered(found, full), full):
                self._send(request, now, asked if any(piece.is_needed for piece in request) else Asked())

    def wait(self, asked: Asked, timeout_s: float) -> bool:
        """
        Wait until half of the requests for what a batch lacks have ended, or one has failed; whether any has.

        At each wake-up all that a batch lacks is looked at: by halves, that is twice as much in all as at once.
        """
        failed, settled = self._failed, self.settled
        is_own, asked.enough = asked.left > 0, asked.left // 2

        def is_due() -> bool:
            return self._failed != failed or (asked.left <= asked.enough if is_own else self.settled != settled)

        self._bystanders += not is_own
        try:
            self.changed.wait_for(is_due, timeout_s)
        finally:
            self._bystanders -= not is_own
        return self.settled != settled

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

    def _note(self, part: Part, lacking: Wanted, wanted: dict[str | None, list[Piece]], *, is_needed: bool) -> None:
        slots, counts = lacking
        if len(slots):
            shelf = self._shelf(part.need)
            piece = Piece(shelf, part.places(slots), slots, counts, shelf.ask(slots, counts), is_needed)
            wanted.setdefault(part.need.spec.keyset, []).append(piece)

    def _send(self, request: Sequence[Piece], now: float, waiting: Asked) -> None:
        self._under_way += 1
        waiting.left += 1
        specs = Specs.of_parts(piece.runs() for piece in request)
        asked = self.gatherer.ask(specs, is_new=all(piece.is_new for piece in request))
        asked.add_done_callback(partial(self._settle, merged(request), now, waiting))

    def _settle(self, request: Sequence[Piece], born: float, waiting: Asked, done: Future[Sequence[Answer]]) -> None:
        error = FatalError("the key cache is closed") if done.cancelled() else done.exception()
        with self.changed:
            before = self._failed
            self._under_way -= 1
            waiting.left -= 1
            self.settled += 1
            try:
                if error is None:
                    self._deliver(request, born, done.result())
                else:
                    failed = error if isinstance(error, WorkerError) else FatalError(_unexpected(error))
                    for piece in request:
                        self._refuse(piece, failed)
                if not self.retired.is_needed:
                    self.trim()
            finally:
                # Not at each answer: who is woken in vain stands in the way of those that fetch.
                if self._bystanders or self._failed != before or waiting.left <= waiting.enough:
                    self.changed.notify_all()

    def _deliver(self, request: Sequence[Piece], born: float, answers: Sequence[Answer]) -> None:
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

    def _refuse(self, piece: Piece, error: WorkerError) -> None:
        self._failed += 1
        now = self._clock()
        piece.shelf.failed(piece.slots, piece.counts, now, piece.generations, Failure(self._failed, now, error))


def _unexpected(error: BaseException) -> str:
    return f"keys could not be fetched: {type(error).__name__}"
