"""Keys asked for one call at a time, and wiped when it ends."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Self

from worker.model import Audit, DataKey, KeyRefused, KeyService, KeySpec, LeasePortion, RetrieveRequest

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
        self._given: list[DataKey] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        for key in self._given:
            key.wipe()
        self._given.clear()

    def prepare(self, takes: Mapping[KeySpec, int], leases: Collection[KeySpec]) -> None:
        """Nothing is fetched ahead; see `EncryptionKeys.prepare`."""

    def take(self, spec: KeySpec, count: int) -> list[DataKey]:
        """Return `count` fresh keys; see `EncryptionKeys.take`."""
        keys = self._service.generate([spec] * count, self._audit)
        self._given += keys
        return keys

    def lease(self, spec: KeySpec, sizes: Sequence[int]) -> list[LeasePortion]:
        """Return one lease for every million values; see `EncryptionKeys.lease`."""
        counts = [min(_LEASE_VALUES, len(sizes) - i) for i in range(0, len(sizes), _LEASE_VALUES)]
        return [LeasePortion(key, count) for key, count in zip(self.take(spec, len(counts)), counts, strict=True)]

    def keys(self, requests: Sequence[RetrieveRequest]) -> list[DataKey | KeyRefused]:
        """Return each request's key or refusal, asking once for equal requests; see `DecryptionKeys.keys`."""
        distinct = list(dict.fromkeys(requests))
        answers = self._service.retrieve(distinct, self._audit) if distinct else []
        self._given += [answer for answer in answers if isinstance(answer, DataKey)]
        found = dict(zip(distinct, answers, strict=True))
        return [found[request] for request in requests]
