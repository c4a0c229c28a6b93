"""Keys asked for one call at a time, and wiped when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Self

import numpy as np

from worker.encryption.given import GivenKeys
from worker.errors import WorkerError
from worker.model import (
    Audit,
    DataKey,
    Grant,
    KeyHold,
    KeyNeed,
    KeyRefused,
    KeyService,
    KeySpec,
    LeasePortion,
    RetrieveRequest,
)
from worker.native.requests import NativeRequests

_LEASE_VALUES = 1_000_000


class OnDemandKeys:
    """
    Asks a key service for exactly what one call needs: nothing is fetched ahead, nothing kept.

    It serves encryption and decryption. As a context manager it wipes every key that it gave, so a revocation takes
    effect at the next call. Not for sharing between threads.

    Args:
        service: where keys come from.
        audit: what the service's audit is told.
    """

    def __init__(self, service: KeyService, audit: Audit) -> None:
        self._service = service
        self._audit = audit
        self._given = GivenKeys()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._given.wipe()

    def hold(self, needs: Iterable[KeyNeed]) -> AbstractContextManager[KeyHold]:
        """Ask once for what a whole batch needs; see `EncryptionKeys.hold`."""
        return nullcontext(_Held(self._ask, tuple(needs)))

    def take(self, spec: KeySpec, count: int) -> Sequence[DataKey]:
        """Return `count` fresh keys; see `EncryptionKeys.take`."""
        return self._ask([spec] * count)

    def lease(self, spec: KeySpec, sizes: Sequence[int]) -> list[LeasePortion]:
        """Return one lease for every million values; see `EncryptionKeys.lease`."""
        counts = _leases(len(sizes))
        return [LeasePortion(key, count) for key, count in zip(self.take(spec, len(counts)), counts, strict=True)]

    def _ask(self, specs: Sequence[KeySpec]) -> Sequence[DataKey]:
        keys = self._service.generate(specs, self._audit)
        self._given.keep(keys)
        return keys

    def keys(self, requests: Sequence[RetrieveRequest]) -> Sequence[DataKey | KeyRefused]:
        """Return each request's key or refusal, asking once for equal requests; see `DecryptionKeys.keys`."""
        if isinstance(requests, NativeRequests):
            given = self._service.retrieve(requests, self._audit)
            self._given.keep_answers(given)
            return given
        distinct = list(dict.fromkeys(requests))
        answers = self._service.retrieve(distinct, self._audit) if distinct else []
        self._given.keep_answers(answers)
        found = dict(zip(distinct, answers, strict=True))
        return [found[request] for request in requests]


class _Held:
    """A `KeyHold` that is filled by one request, as soon as it is iterated."""

    def __init__(self, ask: Callable[[Sequence[KeySpec]], Sequence[DataKey]], needs: Sequence[KeyNeed]) -> None:
        self._ask, self._needs = ask, needs
        self.refused: dict[tuple[int, int], WorkerError] = {}

    def __iter__(self) -> Iterator[Grant]:
        specs: list[KeySpec] = []
        shares: list[list[tuple[int, int]]] = []
        for need in self._needs:
            each = [
                (at, count)
                for at, values in enumerate(need.counts.tolist())
                for count in (_leases(values) if need.format == "leased" else [values])
            ]
            specs += [need.spec_of(at) for at, n in each for _ in range(1 if need.format == "leased" else n)]
            shares.append(each)
        keys: Sequence[DataKey] = self._ask(specs) if specs else []
        start = 0
        for i, (need, each) in enumerate(zip(self._needs, shares, strict=True)):
            counts = np.array([count for _, count in each], np.int64)
            stop = start + (len(each) if need.format == "leased" else int(counts.sum()))
            given, start = keys[start:stop], stop
            # A lease's cipher is kept on its key.
            kept = list(given) if need.format == "leased" else given
            yield Grant(i, np.array([at for at, _ in each], np.int64), counts, kept)


def _leases(values: int) -> list[int]:
    """Return how many values each lease serves."""
    return [min(_LEASE_VALUES, values - i) for i in range(0, values, _LEASE_VALUES)]
