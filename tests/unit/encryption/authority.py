"""The suite's key service in memory, serving both sides of encryption without a cache."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

from tests.fakes.hold import hold
from tests.fakes.keyservice import DEFAULT as KEYSET
from tests.fakes.keyservice import FakeKeyService
from worker.model import Audit, DataKey, KeyHold, KeyNeed, KeyRefused, KeySpec, LeasePortion, RetrieveRequest

__all__ = ["KEYSET", "InMemoryAuthority"]


class InMemoryAuthority(FakeKeyService):
    """A key service that is its own `EncryptionKeys` and `DecryptionKeys`, and remembers what it gave."""

    def __init__(self, *, lease_values: int = 1_000_000) -> None:
        super().__init__()
        self._lease_values = lease_values
        self.generated: list[DataKey] = []
        self.specs: list[KeySpec] = []

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        """One fresh key per request."""
        keys = super().generate(requests, audit)
        self.specs += requests
        self.generated += keys
        return keys

    def take(self, spec: KeySpec, count: int) -> list[DataKey]:
        """Single-use keys."""
        return self.generate([spec] * count, Audit("test"))

    def take_one(self) -> DataKey:
        """One key of the client's default keyset."""
        return self.take(KeySpec(None, "acme.crm.Customer/email"), 1)[0]

    def hold(self, needs: Iterable[KeyNeed]) -> AbstractContextManager[KeyHold]:
        """Keys of a batch."""
        return hold(self, needs)

    def lease(self, spec: KeySpec, sizes: Sequence[int]) -> list[LeasePortion]:
        """Leases of at most `lease_values` values."""
        counts = [min(self._lease_values, len(sizes) - i) for i in range(0, len(sizes), self._lease_values)]
        return [LeasePortion(key, n) for key, n in zip(self.take(spec, len(counts)), counts, strict=True)]

    def keys(self, requests: Sequence[RetrieveRequest]) -> list[DataKey | KeyRefused]:
        """Keys for decryption."""
        return self.retrieve(requests, Audit("test", purpose="decrypt"))
