"""Keys for encryption: pools of single-use keys and leases over one key service."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Self

from worker.errors import FatalError, WorkerError
from worker.metrics import Metrics
from worker.model import Audit, DataKey, KeyService, KeySpec, LeasePortion
from worker.zerokms.keys.gather import Gatherer
from worker.zerokms.keys.lease import Leases
from worker.zerokms.keys.options import KeyOptions
from worker.zerokms.keys.pool import KeyPool
from worker.zerokms.keys.upkeep import Clock, Gauge, Sweeper, on_fork


class KeyCache:
    """
    `EncryptionKeys` that are fetched ahead in full requests; thread-safe.

    A key of a pool is handed out once; a lease serves values of one spec up to its bounds. Nothing is served across
    specs, so keyset, descriptor, context and policy each separate. No key survives a fork, `rotate` or `close`.

    Args:
        service: where keys come from; retries and the breaker are its own.
        options: the bounds.
        audit: what every request tells the authority.
        metrics: where hits, waits and the life of keys are counted.
        clock: monotonic seconds, by which keys age.
    """

    def __init__(
        self,
        service: KeyService,
        *,
        options: KeyOptions | None = None,
        audit: Audit,
        metrics: Metrics | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.options = KeyOptions() if options is None else options
        self._service, self._audit, self._clock = service, audit, clock
        self._gauge = Gauge(metrics)
        self._gauge.bound(self.options.max_age_s)
        self._reset()
        on_fork(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._pools: OrderedDict[KeySpec, KeyPool] = OrderedDict()
        self._gatherer = Gatherer(
            lambda specs: self._service.generate(specs, self._audit),
            threads=self.options.fetches,
            size=self.options.keys_per_request,
        )
        self._leases = Leases(self._gatherer.ask, self.options, self._gauge, self._clock)
        self._sweeper = Sweeper(self, self.options.max_age_s)

    def take(self, spec: KeySpec, count: int) -> list[DataKey]:
        """Return `count` keys that nobody else gets; see `EncryptionKeys.take`."""
        if count == 0:
            return []
        if self.options.max_age_s == 0:
            return self._ask(spec, count)
        return self._pool(spec).take(count)

    def lease(self, spec: KeySpec, sizes: Sequence[int]) -> list[LeasePortion]:
        """Return portions of leases for values of the given sizes; see `EncryptionKeys.lease`."""
        return self._leases.lease(spec, sizes)

    def prepare(self, takes: Mapping[KeySpec, int], leases: Collection[KeySpec]) -> None:
        """Begin to fetch all that a batch is about to need; see `EncryptionKeys.prepare`."""
        if self.options.max_age_s == 0:
            return
        # A batch of more specs than are held would evict its own: the rest are fetched as they come.
        for spec, count in islice(takes.items(), self.options.max_pools):
            self._pool(spec).expect(count)
        self._leases.prepare(leases)

    def rotate(self) -> None:
        """Drop every pool and lease; the next batch asks anew, and answers under way are wiped."""
        with self._lock:
            pools = list(self._pools.values())
            self._pools.clear()
        for pool in pools:
            pool.drop()
        self._leases.drop()

    def expire(self) -> None:
        """Wipe what is past its age and export the oldest key's age; a thread of the cache's own calls it."""
        with self._lock:
            pools = list(self._pools.values())
        for pool in pools:
            pool.expire()
        self._leases.expire()
        born = [b for b in (*(pool.born for pool in pools), self._leases.born) if b is not None]
        self._gauge.oldest(self._clock() - min(born) if born else 0.0)

    def close(self) -> None:
        """Wipe every key and end the threads; safe to call twice."""
        self._sweeper.stop()
        self.rotate()
        self._gatherer.close()
        self.rotate()
        self._leases.wipe()

    def after_fork(self) -> None:
        """Start afresh in a child process: keys of the parent would be used twice."""
        for pool in self._pools.values():
            pool.after_fork()
        self._leases.after_fork()
        self._reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, spec: KeySpec, count: int) -> list[DataKey]:
        self._gauge.request("pool", "miss")
        started = time.perf_counter()
        keys = self._service.generate([spec] * count, self._audit)
        self._gauge.waited("pool", started)
        self._gauge.keys("used", count)
        return keys

    def _pool(self, spec: KeySpec) -> KeyPool:
        with self._lock:
            pool = self._pools.get(spec)
            if pool is None:
                pool = self._pools[spec] = KeyPool(partial(self._fetch, spec), self.options, self._gauge, self._clock)
                if len(self._pools) > self.options.max_pools:
                    self._pools.popitem(last=False)[1].drop()
            else:
                self._pools.move_to_end(spec)
        return pool

    def _fetch(self, spec: KeySpec, pool: KeyPool, count: int, born: float, generation: int) -> None:
        asked = self._gatherer.ask([spec] * count)
        asked.add_done_callback(lambda done: _settle(done, pool, count, born, generation))


def _settle(done: Future[list[DataKey]], pool: KeyPool, count: int, born: float, generation: int) -> None:
    error = FatalError("the key cache is closed") if done.cancelled() else done.exception()
    if error is None:
        pool.arrived(done.result(), born, generation)
    elif isinstance(error, WorkerError):
        pool.failed(count, error)
    else:
        pool.failed(count, FatalError(f"keys could not be fetched: {type(error).__name__}"))
