"""The keys of one batch, from what it needs to what it has used."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from worker.errors import KeyServiceUnavailable, WorkerError
from worker.model import Grant, KeyNeed
from worker.turn import given_way
from worker.zerokms.keys.options import KeyOptions
from worker.zerokms.keys.part import Part
from worker.zerokms.keys.stock import Asked, Stock
from worker.zerokms.keys.upkeep import Gauge

_CACHES = {"leased": "lease", "record": "pool"}


class Hold:
    """
    A `KeyHold` over a cache's stock, for one thread.

    What the batch lacks is asked for when the hold begins. While it lasts none of its contexts is evicted and no key
    that it was given is wiped.

    Args:
        is_loose: leases stay in use for the grace after the hold has ended.
    """

    def __init__(
        self,
        stock: Stock,
        needs: Sequence[KeyNeed],
        options: KeyOptions,
        gauge: Gauge,
        *,
        is_loose: bool = False,
    ) -> None:
        self._stock, self._needs, self._options, self._gauge = stock, needs, options, gauge
        self._is_loose = is_loose
        self._parts: list[Part] = []
        self._asked = Asked()
        self._number = 0
        self.refused: dict[tuple[int, int], WorkerError] = {}

    def __enter__(self) -> Self:
        with self._stock.changed:
            self._number = self._stock.retired.begin()
            self._parts = self._stock.begin(self._needs)
            if self._is_loose:
                self._stock.loosen(self._parts)
            self._judge()
            self._stock.ask(self._parts, self._asked, ahead=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stock.changed:
            self._stock.end(self._parts)
            self._stock.retired.end(self._number)

    def __iter__(self) -> Iterator[Grant]:
        """Yield keys as they arrive; see `KeyHold`."""
        started = time.perf_counter()
        grants = self._first()
        if not self._is_open():
            self._gauge.got(started)
        yield from grants
        if not self._is_open():
            return
        started = time.perf_counter()
        waiting = {_CACHES[part.need.format] for part in self._parts if len(part.open)}
        waited_s = 0.0
        try:
            while self._is_open():
                with given_way():
                    # Without what it takes to have the turn again, and what the batch does with the keys that came.
                    began = time.perf_counter()
                    try:
                        grants = self._next()
                    finally:
                        waited_s += time.perf_counter() - began
                    if not self._is_open():
                        self._gauge.got(started)
                yield from grants
        finally:
            for cache in waiting:
                self._gauge.waited(cache, waited_s)

    def _first(self) -> list[Grant]:
        with self._stock.changed:
            grants = self._stock.serve(self._parts)
        for part in self._parts:
            cache, missed = _CACHES[part.need.format], len(part.open)
            self._gauge.request(cache, "hit", len(part.slots) - missed)
            self._gauge.request(cache, "miss", missed)
        return grants

    def _next(self) -> list[Grant]:
        """Wait for keys to come; raises where the wait is in vain."""
        deadline = time.perf_counter() + self._options.wait_s
        with self._stock.changed:
            while True:
                # Whatever else has failed: what was taken is given, or nobody wiped it.
                if grants := self._stock.serve(self._parts):
                    return grants
                self._judge()
                if not self._is_open():
                    return []
                settled = self._stock.settled
                self._stock.ask(self._parts, self._asked)
                if self._stock.settled != settled:
                    # An answer that came before anybody could wait for it settled within `ask`; it notifies nobody.
                    continue
                left = deadline - time.perf_counter()
                if left <= 0 or not self._stock.wait(self._asked, left):
                    raise KeyServiceUnavailable(f"no data key arrived within {self._options.wait_s:g} s")

    def _judge(self) -> None:
        for part in self._parts:
            for i, failure in self._stock.failures(part):
                if not failure.is_of_context:
                    raise failure.error
                self.refused[part.at, i] = failure.error
                self._stock.refuse(part, i)

    def _is_open(self) -> bool:
        return any(len(part.open) for part in self._parts)
