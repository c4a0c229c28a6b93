"""A key service in memory: a key is a function of everything that is bound into it, and is refused otherwise."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from dataclasses import astuple
from uuid import UUID, uuid4

from worker.model import (
    Audit,
    ContextElement,
    DataKey,
    KeyRefused,
    KeySpec,
    LeasePortion,
    PolicyCondition,
    RetrieveRequest,
)

KEYSET = UUID("0f3c1c7e-6f5b-4b9a-9a58-0b6a52d9a001")


class InMemoryAuthority:
    """Generates, retrieves, and serves both sides of encryption without a cache."""

    def __init__(self, *, lease_values: int = 1_000_000) -> None:
        self._root = os.urandom(32)
        self._lease_values = lease_values
        self.generated: list[DataKey] = []
        self.specs: list[KeySpec] = []

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        """One fresh key per request."""
        self.specs += requests
        keys = [self._generate(spec) for spec in requests]
        self.generated += keys
        return keys

    def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> list[DataKey | KeyRefused]:
        """The keys again, or why not."""
        return [self._retrieve(request) for request in requests]

    def take(self, spec: KeySpec, count: int) -> list[DataKey]:
        """Single-use keys."""
        return self.generate([spec] * count, Audit("test"))

    def take_one(self) -> DataKey:
        """One key of the client's default keyset."""
        return self.take(KeySpec(None, "acme.crm.Customer/email"), 1)[0]

    def lease(self, spec: KeySpec, sizes: Sequence[int]) -> list[LeasePortion]:
        """Leases of at most `lease_values` values."""
        counts = [min(self._lease_values, len(sizes) - i) for i in range(0, len(sizes), self._lease_values)]
        return [LeasePortion(key, n) for key, n in zip(self.take(spec, len(counts)), counts, strict=True)]

    def keys(self, requests: Sequence[RetrieveRequest]) -> list[DataKey | KeyRefused]:
        """Keys for decryption."""
        return self.retrieve(requests, Audit("test", purpose="decrypt"))

    def _generate(self, spec: KeySpec) -> DataKey:
        keyset = KEYSET if spec.keyset in (None, "default") else UUID(spec.keyset)
        iv, nonce = os.urandom(16), os.urandom(16)
        bound = _framed(keyset, iv, spec.descriptor, nonce, spec.context, spec.policy)
        tag = nonce + self._mac("tag", bound)[:16]
        secret = bytearray(self._mac("key", bound))
        return DataKey(
            memoryview(secret),
            iv=iv,
            tag=tag,
            keyset=keyset,
            descriptor=spec.descriptor,
            policy=spec.policy,
            request_id=uuid4(),
        )

    def _retrieve(self, request: RetrieveRequest) -> DataKey | KeyRefused:
        if request.keyset != KEYSET:
            return KeyRefused("no grant for this keyset")
        bound = _framed(
            request.keyset, request.iv, request.descriptor, request.tag[:16], request.context, request.policy
        )
        if not hmac.compare_digest(self._mac("tag", bound)[:16], request.tag[16:]):
            return KeyRefused("Context did not satisfy lock requirements")
        return DataKey(
            memoryview(bytearray(self._mac("key", bound))),
            iv=request.iv,
            tag=request.tag,
            keyset=KEYSET,
            descriptor=request.descriptor,
            policy=request.policy,
        )

    def _mac(self, label: str, bound: str) -> bytes:
        return hmac.digest(self._root, label.encode() + bound.encode(errors="surrogatepass"), hashlib.sha256)


def _framed(
    keyset: UUID | None,
    iv: bytes,
    descriptor: str,
    nonce: bytes,
    context: tuple[ContextElement, ...],
    policy: tuple[PolicyCondition, ...],
) -> str:
    # The nouns' own reprs leave their values out.
    elements = [(type(item).__name__, *astuple(item)) for item in (*context, *policy)]
    return repr((keyset, iv, descriptor, nonce, elements))
