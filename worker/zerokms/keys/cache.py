"""Keys for encryption: pools of single-use keys and leases over one key service."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from worker.errors import WorkerError
from worker.interpreter import on_fork
from worker.metrics import Metrics
from worker.model import Audit, DataKey, Format, KeyNeed, KeyService, KeySpec, LeasePortion, Texts, Value
from worker.native.keys import joined
from worker.zerokms.keys.budget import Budget
from worker.zerokms.keys.gather import Gatherer
from worker.zerokms.keys.hold import Hold
from worker.zerokms.keys.lease import Leases
from worker.zerokms.keys.options import KeyOptions
from worker.zerokms.keys.pool import KeyPool, by_spec
from worker.zerokms.keys.stock import Stock
from worker.zerokms.keys.upkeep import Clock, Gauge, Sweeper, wipe
from worker.zerokms.options import FULL


class KeyCache:
    """
    `EncryptionKeys` that are fetched ahead in full requests; thread-safe.

    A key of a pool is handed out once; a lease serves values of one spec up to its bounds. Nothing is served across
    specs, so keyset, descriptor, context and policy each separate. No key survives a fork, `rotate` or `close`.

    Args:
        service: where keys come from; retries and the breaker are its own. It may say how many `keys_per_request` it
            takes.
        options: the bounds.
        audit: what every request tells the authority.
        metrics: where hits, waits and the life of keys are counted.
        clock: monotonic seconds, by which keys age.
        budget: shared with other caches; None: one of its own, by `options`.
    """

    def __init__(
        self,
        service: KeyService,
        *,
        options: KeyOptions | None = None,
        audit: Audit,
        metrics: Metrics | None = None,
        clock: Clock = time.monotonic,
        budget: Budget | None = None,
    ) -> None:
        self.options = KeyOptions() if options is None else options
        self._service, self._audit, self._clock = service, audit, clock
        self._gauge = Gauge(metrics)
        self._gauge.bound(self.options.max_age_s)
        self._budget = Budget(self.options.budget_bytes, metrics) if budget is None else budget
        self._reset()
        on_fork(self)

    def _reset(self) -> None:
        self._stock = Stock(
            lambda specs: self._service.generate(specs, self._audit),
            self._full,
            self.options,
            self._budget,
            self._gauge,
            self._clock,
        )
        self._sweeper = Sweeper(self, self.options.max_age_s)

    def _full(self) -> int:
        its: int | None = getattr(self._service, "keys_per_request", None)
        return min(most for most in (self.options.keys_per_request, its or FULL) if most)

    def hold(self, needs: Iterable[KeyNeed]) -> Hold:
        """Begin to fetch what a whole batch lacks, and give it as it arrives; see `EncryptionKeys.hold`."""
        return Hold(self._stock, tuple(needs), self.options, self._gauge)

    def take(self, spec: KeySpec, count: int) -> Sequence[DataKey]:
        """Return `count` keys that nobody else gets; see `EncryptionKeys.take`."""
        if count == 0:
            return []
        with self.hold(_needs("record", {spec: count})) as hold:
            keys = joined(grant.keys for grant in hold)
            _raise(hold.refused)
        return keys

    def lease(self, spec: KeySpec, sizes: Sequence[int]) -> list[LeasePortion]:
        """Return portions of leases for values of the given sizes; see `EncryptionKeys.lease`."""
        if not sizes:
            return []
        needs = _needs("leased", {spec: len(sizes)}, sizes)
        with Hold(self._stock, needs, self.options, self._gauge, is_loose=True) as hold:
            portions = [
                LeasePortion(key, count)
                for grant in hold
                for key, count in zip(grant.keys, grant.counts.tolist(), strict=True)
            ]
            _raise(hold.refused)
        return portions

    def rotate(self) -> None:
        """Drop every pool and lease; the next batch asks anew, and answers under way are wiped."""
        with self._stock.changed:
            self._stock.drop()

    def expire(self) -> None:
        """Wipe what is past its age and export the oldest key's age; a thread of the cache's own calls it."""
        self._stock.expire()

    def close(self) -> None:
        """Wipe every key and end the threads; safe to call twice."""
        self._sweeper.stop()
        self.rotate()
        self._gatherer.close()
        with self._stock.changed:
            self._stock.drop()
            self._stock.retired.wipe()

    def after_fork(self) -> None:
        """Start afresh in a child process, without the lock: its holder may no longer exist."""
        wipe(self._stock.keys())
        self._stock.retired.wipe()
        self._reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _gatherer(self) -> Gatherer:
        return self._stock.gatherer

    @property
    def _leases(self) -> Leases:
        return self._stock.leases

    @property
    def _pools(self) -> Mapping[KeySpec, KeyPool]:
        return by_spec(self._stock.pools, self._stock.changed)


def _needs(kind: Format, counts: Mapping[KeySpec, int], sizes: Sequence[int] = ()) -> list[KeyNeed]:
    """Return what specs need, those that differ in their texts alone together."""
    together: dict[tuple[KeySpec, tuple[str, ...]], dict[Texts, int]] = {}
    for spec, count in counts.items():
        common, names, texts = _parted(spec)
        together.setdefault((common, names), {})[texts] = count
    return [
        KeyNeed(
            kind,
            common,
            names,
            list(each),
            np.fromiter(each.values(), np.int64, len(each)),
            np.full(len(each), sum(sizes)),
            lambda _: sizes,
        )
        for (common, names), each in together.items()
    ]


def _parted(spec: KeySpec) -> tuple[KeySpec, tuple[str, ...], Texts]:
    """Part a context of named values from the rest, as a batch has it."""
    values = [element for element in spec.context if isinstance(element, Value)]
    if not values or len(values) < len(spec.context) or spec.policy:
        return spec, (), ()
    return KeySpec(spec.keyset, spec.descriptor), tuple(v.name for v in values), tuple(v.value for v in values)


def _raise(refused: Mapping[tuple[int, int], WorkerError]) -> None:
    for error in refused.values():
        raise error
