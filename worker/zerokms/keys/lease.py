"""Leases: one data key for many values of one spec, bounded in values, bytes and age."""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field

from worker.errors import FatalError, KeyServiceUnavailable, WorkerError
from worker.model import DataKey, KeySpec, LeasePortion
from worker.zerokms.keys.options import KeyOptions
from worker.zerokms.keys.upkeep import Clock, Gauge, Retired

_RENEW_AT = 0.8
"""The next lease is fetched when this share of the present one's values, bytes or age is used."""


@dataclass(slots=True)
class _Lease:
    """`renew_age_s` differs from lease to lease, so that leases of one moment are not renewed at one moment."""

    key: DataKey
    born: float
    values: int
    bytes: int
    renew_age_s: float
    used: bool = field(default=False)


class Leases:
    """
    The leases of many specs in a bounded LRU; thread-safe.

    Args:
        fetch: asks for one key per spec on another thread.
    """

    def __init__(
        self,
        fetch: Callable[[Sequence[KeySpec]], Future[list[DataKey]]],
        options: KeyOptions,
        gauge: Gauge,
        clock: Clock,
    ) -> None:
        self._fetch, self._options, self._gauge, self._clock = fetch, options, gauge, clock
        # Reentrant: a fetch that is done at once settles on the thread that asked.
        self._lock = threading.RLock()
        self._leases: OrderedDict[KeySpec, _Lease] = OrderedDict()
        self._next: dict[KeySpec, _Lease] = {}
        self._pending: dict[KeySpec, Future[list[DataKey]]] = {}
        self._not_before: dict[KeySpec, float] = {}
        self._retired = Retired(options.grace_s)
        self._generation = 0

    def __len__(self) -> int:
        return len(self._leases)

    @property
    def born(self) -> float | None:
        """When the oldest lease was asked for."""
        with self._lock:
            return min((lease.born for lease in self._leases.values()), default=None)

    def lease(self, spec: KeySpec, sizes: Sequence[int]) -> list[LeasePortion]:
        """Return portions for values of the given sizes, in order; raises as `EncryptionKeys.lease`."""
        total, count, at = sum(sizes), len(sizes), 0
        portions: list[LeasePortion] = []
        while at < count:
            lease = self._hold(spec)
            with self._lock:
                if lease.values >= count - at and lease.bytes >= total:
                    taken, used = count - at, total
                else:
                    taken, used = _fit(lease, sizes, at)
                lease.values -= taken
                lease.bytes -= used
                if taken:
                    lease.used = True
                    portions.append(LeasePortion(lease.key, taken))
            at, total = at + taken, total - used
        return portions

    def prepare(self, specs: Iterable[KeySpec]) -> None:
        """Ask for the leases that are missing in as few requests as possible; `lease` waits for them."""
        with self._lock:
            now = self._clock()
            missing = [s for s in dict.fromkeys(specs) if s not in self._pending and not self._usable(s, now)]
            # A batch of more specs than the LRU holds would evict its own leases: the rest are fetched as they come.
            missing = missing[: self._options.max_leases]
            if missing:
                self._ask(missing, now)

    def _hold(self, spec: KeySpec) -> _Lease:
        """Return a lease with room, waiting for one where there is none."""
        missed = False
        deadline = time.perf_counter() + self._options.wait_s
        while True:
            with self._lock:
                now = self._clock()
                self._retired.sweep(now)
                lease = self._usable(spec, now)
                if lease is not None:
                    self._leases.move_to_end(spec)
                    self._renew(spec, lease, now)
                    if not missed:
                        self._gauge.request("lease", "hit")
                    return lease
                future = self._pending.get(spec) or self._ask([spec], now)
            if not missed:
                missed, started = True, time.perf_counter()
                self._gauge.request("lease", "miss")
            elif time.perf_counter() > deadline:
                raise KeyServiceUnavailable(f"no lease arrived within {self._options.wait_s:g} s")
            try:
                self._result(future)
            finally:
                self._gauge.waited("lease", started)

    def _result(self, future: Future[list[DataKey]]) -> None:
        try:
            future.result(self._options.wait_s)
        except FutureTimeout as exc:
            raise KeyServiceUnavailable(f"no lease arrived within {self._options.wait_s:g} s") from exc

    def _usable(self, spec: KeySpec, now: float) -> _Lease | None:
        lease = self._leases.get(spec)
        if lease is not None and not self._is_spent(lease, now):
            return lease
        if lease is not None:
            self._retire(spec, now)
        following = self._next.pop(spec, None)
        if following is None:
            return None
        if self._is_spent(following, now):
            self._gauge.keys("expired", 1)
            following.key.wipe()
            return None
        self._leases[spec] = following
        return following

    def _is_spent(self, lease: _Lease, now: float) -> bool:
        # At max_age_s = 0 a lease serves the one batch that asked for it.
        aged = now - lease.born >= self._options.max_age_s and (lease.used or self._options.max_age_s > 0)
        return aged or lease.values <= 0 or lease.bytes <= 0

    def _renew(self, spec: KeySpec, lease: _Lease, now: float) -> None:
        options = self._options
        near = (
            now - lease.born > lease.renew_age_s
            or lease.values < options.max_values * (1 - _RENEW_AT)
            or lease.bytes < options.max_bytes * (1 - _RENEW_AT)
        )
        wanted = near and options.max_age_s > 0 and spec not in self._pending and spec not in self._next
        if wanted and now >= self._not_before.get(spec, 0.0):
            self._ask([spec], now)

    def _ask(self, specs: Sequence[KeySpec], now: float) -> Future[list[DataKey]]:
        """Fetch leases for specs; the lock is held. The future is done when they are installed."""
        installed: Future[list[DataKey]] = Future()
        for spec in specs:
            self._pending[spec] = installed
        generation = self._generation
        fetched = self._fetch(specs)
        fetched.add_done_callback(lambda done: self._settle(done, installed, specs, now, generation))
        return installed

    def _settle(
        self,
        done: Future[list[DataKey]],
        installed: Future[list[DataKey]],
        specs: Sequence[KeySpec],
        born: float,
        generation: int,
    ) -> None:
        error = FatalError("the key cache is closed") if done.cancelled() else done.exception()
        with self._lock:
            for spec in specs:
                if self._pending.get(spec) is installed:
                    del self._pending[spec]
            if error is not None:
                self._failed(specs, error)
            elif generation != self._generation:
                for key in done.result():
                    key.wipe()
                self._gauge.keys("wasted", len(specs))
            else:
                for spec, key in zip(specs, done.result(), strict=True):
                    self._install(spec, key, born)
        if error is not None:
            installed.set_exception(error)
        else:
            installed.set_result([])

    def _failed(self, specs: Sequence[KeySpec], error: BaseException) -> None:
        now = self._clock()
        for spec in specs:
            if isinstance(error, WorkerError) and not isinstance(error, KeyServiceUnavailable):
                self._retire(spec, now)
                self._not_before.pop(spec, None)
            elif spec in self._leases:
                # Full jitter: after an outage the renewals of many specs do not fall on one instant.
                self._not_before[spec] = now + random.uniform(0.1, 1.0) * self._options.backoff_s  # noqa: S311

    def _install(self, spec: KeySpec, key: DataKey, born: float) -> None:
        o = self._options
        # Drawn once per lease, so that leases fetched together are not renewed together.
        renew = o.max_age_s * (_RENEW_AT - random.uniform(0.0, 0.2))  # noqa: S311
        lease = _Lease(key, born, o.max_values, o.max_bytes, renew)
        self._not_before.pop(spec, None)
        if spec in self._leases:
            self._next[spec] = lease
            return
        self._leases[spec] = lease
        while len(self._leases) > o.max_leases:
            self._retire(next(iter(self._leases)), self._clock())

    def _retire(self, spec: KeySpec, now: float) -> None:
        lease = self._leases.pop(spec, None)
        if lease is not None:
            self._retired.add(lease.key, now)
            self._gauge.keys("used" if lease.used else "wasted", 1)
        if spec not in self._leases:
            self._not_before.pop(spec, None)

    def drop(self) -> None:
        """Stop using every lease; those a batch holds are wiped after their grace."""
        with self._lock:
            now = self._clock()
            self._generation += 1
            for spec in list(self._leases):
                self._retire(spec, now)
            for lease in self._next.values():
                lease.key.wipe()
            self._gauge.keys("wasted", len(self._next))
            self._next.clear()
            self._pending.clear()

    def expire(self) -> None:
        """Retire the leases that are past their age and wipe those past their grace."""
        with self._lock:
            now = self._clock()
            limit = now - self._options.max_age_s
            for spec in [s for s, lease in self._leases.items() if lease.born <= limit]:
                self._retire(spec, now)
            self._retired.sweep(now)

    def after_fork(self) -> None:
        """Wipe the child's copies, without the lock: its holder may no longer exist."""
        for lease in (*self._leases.values(), *self._next.values()):
            lease.key.wipe()
        self._retired.wipe()

    def wipe(self) -> None:
        """Drop everything and overwrite it at once."""
        self.drop()
        with self._lock:
            self._retired.wipe()


def _fit(lease: _Lease, sizes: Sequence[int], at: int) -> tuple[int, int]:
    """Return how many of the values from `at` on fit, and their bytes; a fresh lease takes one of any size."""
    taken = used = 0
    for size in sizes[at:]:
        if taken == lease.values or (used + size > lease.bytes and (taken or lease.used)):
            break
        taken, used = taken + 1, used + size
    if not taken:
        lease.values = 0
    return taken, used
