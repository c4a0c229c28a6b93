"""Keys that are kept beyond one call, within stated bounds."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pydantic import Field

from worker.interpreter import on_fork
from worker.model import DataKey, KeyRefused, KeySpec, LeasePortion, RetrieveRequest
from worker.options import Options
from worker.sdk.scope import Scope, may_keep
from worker.zerokms.keys.upkeep import Retired, Sweeper

_GRACE_S = 60.0
"""How long a key that is kept no more may still be in a call's hands."""


class CacheOptions(Options):
    """How long and how many keys are kept; a client that is deleted reads no longer than `max_age_s` after."""

    max_age_s: float = Field(default=60.0, gt=0, le=3_600)
    """No key is used longer than this after it was asked for: the bound of a revocation."""
    max_keys: int = Field(default=10_000, ge=1)
    """Keys kept; those that were not used for longest go first."""
    max_values: int = Field(default=1_000_000, ge=1, le=2**32)
    """Values sealed under one key of the format `leased`."""


@dataclass(slots=True)
class _Lease:
    key: DataKey
    born: float
    left: int


class KeptKeys:
    """
    Keys of earlier calls: those of leases for sealing, and any that envelopes were opened with; thread-safe.

    A key is found under the scope that it was asked for in alone: another subject, reason or lock context asks anew. A
    key that depends on the value of a claim is not kept at all.

    Args:
        options: the bounds.
        clock: monotonic seconds.
    """

    def __init__(self, options: CacheOptions, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.options, self._clock = options, clock
        self._reset()
        on_fork(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._opened: OrderedDict[tuple[Scope, RetrieveRequest], tuple[float, DataKey]] = OrderedDict()
        self._leases: OrderedDict[tuple[Scope, KeySpec], _Lease] = OrderedDict()
        self._retired = Retired(_GRACE_S)
        self._sweeper = Sweeper(self, self.options.max_age_s)

    def __len__(self) -> int:
        return len(self._opened) + len(self._leases)

    def find(self, scope: Scope, requests: Iterable[RetrieveRequest]) -> dict[RetrieveRequest, DataKey]:
        """Return the keys that are kept of some requests; they stay the cache's own."""
        found: dict[RetrieveRequest, DataKey] = {}
        if not scope.is_kept:
            return found
        with self._lock:
            oldest = self._clock() - self.options.max_age_s
            for request in requests:
                held = self._opened.get((scope, request))
                if held is not None and held[0] > oldest:
                    self._opened.move_to_end((scope, request))
                    found[request] = held[1]
        return found

    def keep(self, scope: Scope, answers: Mapping[RetrieveRequest, DataKey | KeyRefused], born: float) -> set[DataKey]:
        """Keep what may be kept; returns those keys, which are the cache's own from now on."""
        taken: set[DataKey] = set()
        if not scope.is_kept:
            return taken
        with self._lock:
            now = self._clock()
            for request, answer in answers.items():
                if isinstance(answer, DataKey) and may_keep(request.context, request.policy):
                    self._drop(self._opened.pop((scope, request), (0.0, None))[1], now)
                    self._opened[scope, request] = (born, answer)
                    taken.add(answer)
            while len(self._opened) > self.options.max_keys:
                self._drop(self._opened.popitem(last=False)[1][1], now)
            self._retired.sweep(now)
        return taken

    def lease(self, scope: Scope, spec: KeySpec, count: int) -> LeasePortion | None:
        """Return a kept lease for as many of `count` values as it may still seal; None where there is none."""
        with self._lock:
            held = self._leases.get((scope, spec))
            if held is None or held.left == 0 or held.born <= self._clock() - self.options.max_age_s:
                return None
            self._leases.move_to_end((scope, spec))
            served = min(count, held.left)
            held.left -= served
            return LeasePortion(held.key, served)

    def keep_lease(self, scope: Scope, spec: KeySpec, key: DataKey, used: int, born: float) -> bool:
        """Keep a lease that has sealed some values; returns whether it is the cache's own from now on."""
        left = self.options.max_values - used
        if not scope.is_kept or not may_keep(spec.context, spec.policy) or left <= 0:
            return False
        with self._lock:
            now = self._clock()
            before = self._leases.pop((scope, spec), None)
            self._drop(None if before is None else before.key, now)
            self._leases[scope, spec] = _Lease(key, born, left)
            while len(self._leases) > self.options.max_keys:
                self._drop(self._leases.popitem(last=False)[1].key, now)
            self._retired.sweep(now)
        return True

    def now(self) -> float:
        """The clock by which keys age."""
        return self._clock()

    def expire(self) -> None:
        """Drop what is past its age and wipe what is past its grace; a thread of the cache's own calls it."""
        with self._lock:
            now = self._clock()
            oldest = now - self.options.max_age_s
            for place in [place for place, (born, _) in self._opened.items() if born <= oldest]:
                self._drop(self._opened.pop(place)[1], now)
            for spec in [spec for spec, lease in self._leases.items() if lease.born <= oldest]:
                self._drop(self._leases.pop(spec).key, now)
            self._retired.sweep(now)

    def _drop(self, key: DataKey | None, now: float) -> None:
        if key is not None:
            self._retired.add(key, now)

    def _keys(self) -> list[DataKey]:
        return [key for _, key in self._opened.values()] + [lease.key for lease in self._leases.values()]

    def close(self) -> None:
        """Wipe every key; safe to call twice."""
        self._sweeper.stop()
        with self._lock:
            for key in self._keys():
                key.wipe()
            self._opened.clear()
            self._leases.clear()
            self._retired.wipe()

    def after_fork(self) -> None:
        """Start afresh in a child process."""
        for key in self._keys():
            key.wipe()
        self._reset()
