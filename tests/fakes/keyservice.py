"""A key service in memory that keeps the protocol's rules: fresh keys, bound contexts, grants, disabled keysets."""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID, uuid4

from worker.errors import KeyAccessDenied, KeyServiceThrottled, WorkerError
from worker.model import (
    Audit,
    ContextElement,
    DataKey,
    IdentityClaim,
    KeyRefused,
    KeySpec,
    PolicyCondition,
    RetrieveRequest,
)

DEFAULT = UUID("00000000-0000-4000-8000-000000000001")
OTHER = UUID("00000000-0000-4000-8000-000000000002")


class Clock:
    """Monotonic seconds that only a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeKeyService:
    """
    As the authority answers: tag and key depend on keyset, iv, descriptor and the resolved context or policy.

    Args:
        claims: the caller's token, from which identity claims and policies are filled.
    """

    def __init__(self, claims: dict[str, str] | None = None) -> None:
        self.claims = {"sub": "CS|fake"} if claims is None else claims
        self.keysets: dict[str, UUID] = {"default": DEFAULT, "other": OTHER}
        self.disabled: set[UUID] = set()
        self.granted: set[UUID] = {DEFAULT, OTHER}
        self.deleted = False
        self.error: WorkerError | None = None
        self.quota: int | None = None
        self.before: Callable[[], None] = lambda: None
        self.calls: list[tuple[str, int]] = []
        self._lock = threading.Lock()
        self._secret = os.urandom(32)

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        self._enter("generate", len(requests))
        if self.quota is not None:
            if self.quota < len(requests):
                raise KeyServiceThrottled("the quota of keys a minute is used up", retry_after_s=30)
            self.quota -= len(requests)
        request_id = uuid4()
        return [self._new(spec, request_id) for spec in requests]

    def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> list[DataKey | KeyRefused]:
        self._enter("retrieve", len(requests))
        return [self._again(request) for request in requests]

    def _enter(self, call: str, count: int) -> None:
        with self._lock:
            self.calls.append((call, count))
        self.before()
        if self.error is not None:
            raise self.error

    def _admit(self, ref: str | UUID | None) -> UUID:
        try:
            keyset = DEFAULT if ref is None else ref if isinstance(ref, UUID) else UUID(ref)
        except ValueError:
            keyset = self.keysets.get(str(ref), UUID(int=0))
        if self.deleted or keyset not in self.granted:
            raise KeyAccessDenied(f"no grant for keyset {keyset}")
        if keyset in self.disabled:
            raise KeyAccessDenied(f"Keyset disabled: {keyset}")
        return keyset

    def _new(self, spec: KeySpec, request_id: UUID) -> DataKey:
        keyset = self._admit(spec.keyset)
        policy = tuple(replace(c, value=self._claim(c.claim) if c.value is None else c.value) for c in spec.policy)
        iv, nonce = os.urandom(16), os.urandom(16)
        tag = self._tag(keyset, iv, spec.descriptor, nonce, spec.context, policy)
        return self._key(keyset, iv, tag, spec.descriptor, policy, request_id)

    def _again(self, r: RetrieveRequest) -> DataKey | KeyRefused:
        try:
            keyset = self._admit(r.keyset)
            expected = self._tag(keyset, r.iv, r.descriptor, r.tag[:16], r.context, r.policy)
            satisfied = not r.policy or any(self.claims.get(c.claim) == c.value for c in r.policy)
        except KeyAccessDenied as exc:
            return KeyRefused(str(exc))
        if not satisfied or not hmac.compare_digest(expected, r.tag):
            return KeyRefused("Context did not satisfy lock requirements")
        return self._key(keyset, r.iv, r.tag, r.descriptor, r.policy, uuid4())

    def _claim(self, name: str) -> str:
        if name not in self.claims:
            raise KeyAccessDenied(f"the token has no claim {name}")
        return self.claims[name]

    def _tag(
        self,
        keyset: UUID,
        iv: bytes,
        descriptor: str,
        nonce: bytes,
        context: Sequence[ContextElement],
        policy: Sequence[PolicyCondition],
    ) -> bytes:
        resolved = [(c.claim, self._claim(c.claim)) if isinstance(c, IdentityClaim) else repr_of(c) for c in context]
        bound = repr((keyset.bytes, iv, descriptor, nonce, resolved, [(c.claim, c.value) for c in policy]))
        return nonce + hmac.digest(self._secret, bound.encode(), "sha256")[:16]

    def _key(
        self,
        keyset: UUID,
        iv: bytes,
        tag: bytes,
        descriptor: str,
        policy: tuple[PolicyCondition, ...],
        request_id: UUID,
    ) -> DataKey:
        secret = bytearray(hashlib.sha256(self._secret + keyset.bytes + iv + tag).digest())
        return DataKey(
            memoryview(secret),
            iv=iv,
            tag=tag,
            keyset=keyset,
            descriptor=descriptor,
            policy=policy,
            request_id=request_id,
        )


def repr_of(element: ContextElement) -> tuple[str, ...]:
    """A context element with its value, which its own repr hides."""
    return (
        type(element).__name__,
        *(str(getattr(element, name)) for name in ("label", "name", "value") if hasattr(element, name)),
    )
