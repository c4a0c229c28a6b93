"""Keys as the stages pass them: what a key is for, one data key, and the roles of those who hand them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Tag:
    """A context element that is a bare label."""

    label: str


@dataclass(frozen=True, slots=True)
class Value:
    """A context element that is a named value."""

    name: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class IdentityClaim:
    """A context element whose value the key service reads from the caller's token."""

    claim: str


ContextElement = Tag | Value | IdentityClaim


@dataclass(frozen=True, slots=True)
class PolicyCondition:
    """One condition of a decryption policy; any satisfied one suffices. A None value is filled from the token."""

    claim: str
    value: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class KeySpec:
    """
    What a data key is for; two values may share a pool or a lease only under equal specs.

    Args:
        keyset: name or uuid text; None is the client's own default keyset.
        descriptor: the usage label, bound into the key.
        context: bound into the key, order kept; empty where `policy` is not.
        policy: decryption policy, empty for none.
    """

    keyset: str | None
    descriptor: str
    context: tuple[ContextElement, ...] = ()
    policy: tuple[PolicyCondition, ...] = ()


@dataclass(frozen=True, slots=True)
class RetrieveRequest:
    """What is needed to obtain an existing data key again: the envelope's public parts and the caller's context."""

    keyset: UUID | None
    iv: bytes
    tag: bytes
    descriptor: str
    context: tuple[ContextElement, ...] = ()
    policy: tuple[PolicyCondition, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyRefused:
    """
    The service's refusal of one key among many.

    Args:
        reason: its own text, shortened.
        is_whole: the identity or the keyset is refused, not this key alone.
        is_moved: it was not asked for at all, since its envelope is not of where it was found.
        is_erased: a value of its context was erased in its keyset.
    """

    reason: str
    is_whole: bool = False
    is_moved: bool = False
    is_erased: bool = False


class DataKey:
    """
    One derived data key and the public parts an envelope carries.

    Owned by whoever holds it; `wipe` overwrites it, after which it can't be used. `cipher` is a place for the object
    that the encryption stage builds from the key, so that it lives and dies with it.

    Args:
        secret: 32 writable bytes, a window on a batch's buffer; not copied.
        iv: 16 bytes that the client drew for this key.
        tag: the service's opaque tag.
        keyset: the resolved keyset.
        descriptor: the usage label the key was asked for.
        policy: the decryption policy as the service completed it.
        request_id: the request that brought the key, for the ledger.
    """

    __slots__ = ("_secret", "cipher", "descriptor", "iv", "keyset", "policy", "request_id", "tag")

    def __init__(  # noqa: PLR0913 - what a key is
        self,
        secret: memoryview,
        *,
        iv: bytes,
        tag: bytes,
        keyset: UUID,
        descriptor: str,
        policy: tuple[PolicyCondition, ...] = (),
        request_id: UUID | None = None,
    ) -> None:
        if len(secret) != 32 or len(iv) != 16:
            raise ValueError("a data key is 32 bytes and its iv 16")
        self._secret: memoryview | None = secret
        self.iv = iv
        self.tag = tag
        self.keyset = keyset
        self.descriptor = descriptor
        self.policy = policy
        self.request_id = request_id
        self.cipher: object | None = None

    @property
    def secret(self) -> memoryview:
        """The 32 bytes; raises `RuntimeError` after `wipe`."""
        if self._secret is None:
            raise RuntimeError("this data key has been wiped")
        return self._secret

    @property
    def is_wiped(self) -> bool:
        """Whether the key is gone."""
        return self._secret is None

    def wipe(self) -> None:
        """Overwrite the key's bytes, and forget or overwrite what was built from them; safe to call twice."""
        if self._secret is not None:
            self._secret[:] = bytes(32)
            self._secret = None
        if isinstance(self.cipher, bytearray):
            self.cipher[:] = bytes(len(self.cipher))
        self.cipher = None

    def __repr__(self) -> str:
        return f"DataKey(keyset={self.keyset}, descriptor={self.descriptor!r})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a data key can't be pickled or copied")


Purpose = Literal["encrypt", "decrypt", "dead", "canary"]
"""Why keys are asked for, as the audit is told."""


@dataclass(frozen=True, slots=True)
class Audit:
    """
    What every request tells the authority's audit, unverified there.

    Args:
        worker: the instance that asks.
        route: the route it asks for; empty in the SDK.
        purpose: `encrypt`, `decrypt`, `dead` or `canary`.
        reason: the SDK user's own words, where given.
    """

    worker: str
    route: str = ""
    purpose: Purpose = "encrypt"
    reason: str | None = None

    def as_context(self, request_id: UUID) -> dict[str, str]:
        """The JSON object of one request (docs/contracts.md, 10)."""
        context = {
            "request_id": str(request_id),
            "worker": self.worker,
            "route": self.route,
            "purpose": self.purpose,
        }
        if self.reason is not None:
            context["reason"] = self.reason
        return context


class KeyService(Protocol):
    """The authority as the worker sees it: two calls, order kept, any number of items a call."""

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> Sequence[DataKey]:
        """
        Return one fresh data key per request.

        Raises:
            KeyServiceUnavailable: no answer, 429 or 5xx; asking again is safe.
            KeyAccessDenied: this identity may not.
            KeyMaterialError: the answer is hostile or malformed.
        """
        ...

    def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> Sequence[DataKey | KeyRefused]:
        """Return the data key of each request, or why that one was refused; raises as `generate` does."""
        ...


class DecryptionKeys(Protocol):
    """Where decryption gets its keys: deduplicated, fetched in batches, cached for a while."""

    def keys(self, requests: Sequence[RetrieveRequest]) -> Sequence[DataKey | KeyRefused]:
        """Return one answer per request, in order; the keys stay the cache's own. Raises `KeyServiceUnavailable`."""
        ...
