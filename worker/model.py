"""
The nouns that two stages share.

A stage passes columns of bytes and a plan, never an object of its own making. Nothing here shows a plaintext, a
ciphertext or a key in its repr.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol
from uuid import UUID

Format = Literal["record", "leased"]
Header = tuple[str, bytes | None]


class Position(NamedTuple):
    """A record's coordinates in its source; a tuple, since every record makes one and every stage hashes it."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class TopicPartition(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


@dataclass(slots=True)
class SourceRecord:
    """
    One record as the source gave it.

    `timestamp_type` is Kafka's: 0 not available, 1 CreateTime, 2 LogAppendTime; `timestamp_ms` is in ms since 1970.
    """

    position: Position
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: Sequence[Header] = field(default=(), repr=False)
    timestamp_type: int = 0
    timestamp_ms: int = -1


@dataclass(slots=True)
class SinkRecord:
    """
    One record as a sink writes it.

    `value` is the framed output (schema id in front), `row` the same record's top-level values for a table, encrypted
    fields as envelopes; `row` is None for a tombstone and for sinks that take bytes. `schema_id` is the output's.
    `topic` names the target where it is not the sink's own: a record forwarded for another region.
    """

    position: Position
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: Sequence[Header] = field(default=(), repr=False)
    timestamp_type: int = 0
    timestamp_ms: int = -1
    row: Mapping[str, object] | None = field(default=None, repr=False)
    key_row: Mapping[str, object] | None = field(default=None, repr=False)
    schema_id: str = ""
    topic: str | None = None


class PlaintextKind(StrEnum):
    """How the `record` format carries a field's value (docs/contracts.md, 4)."""

    BOOLEAN = "boolean"
    INT = "int"
    LONG = "long"
    FLOAT = "float"
    DOUBLE = "double"
    STRING = "string"
    ENUM = "enum"
    DATE = "date"
    TIMESTAMP_MS = "timestamp-millis"
    AVRO = "avro"


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """
    One declared field: which key, which format, what is bound.

    Args:
        identity: `<record full name>/<path>`, computed from the writer's schema.
        descriptor: what the envelope carries: the declared one or the identity, 1-255 bytes of UTF-8.
        descriptor_is_explicit: whether the schema named it.
        keyset: name or uuid as declared, None for the client's own default.
        format: `record` or `leased`.
        context: names of the siblings sent in the key's context, in declared order.
        bind: names of the siblings (or `$key`) in the associated data, in declared order.
        null: `keep` leaves a null visible, `encrypt` hides it.
        index: search terms to write beside the value in `eql` columns.
        kind: typed plaintext of the non-null branch, `AVRO` where only the fallback is exact.
        null_branch: index of the null branch where the type is a union of null and one other, else None.
        symbols: an enum's symbols in order, else empty.
        fingerprint: 8 bytes, CRC-64-AVRO of the field type's parsing canonical form, little-endian.
        schema: the field's own type as self-contained JSON text.
    """

    identity: str
    descriptor: str
    descriptor_is_explicit: bool
    keyset: str | None
    format: Format
    context: tuple[str, ...]
    bind: tuple[str, ...]
    null: Literal["keep", "encrypt"]
    index: tuple[str, ...]
    kind: PlaintextKind
    null_branch: int | None
    symbols: tuple[str, ...]
    fingerprint: bytes
    schema: str


@dataclass(frozen=True, slots=True)
class EncryptionPlan:
    """
    What a schema says about encryption, compiled once per schema id.

    Args:
        name: the root's full name, or `a|b` for a root that is a union of records.
        fields: every declared field, in the order in which the walk meets them.
        input_schema: the writer's schema, JSON text.
        output_schema: the derived one, JSON text (docs/contracts.md, 3).
    """

    name: str
    fields: tuple[FieldPlan, ...]
    input_schema: str = field(repr=False)
    output_schema: str = field(repr=False)


@dataclass(slots=True)
class ValueColumn:
    """
    All values of one declared field within a batch.

    Encrypting, `values` are the fields' whole Avro binary (union index included); decrypting, they are envelopes. A
    null that the plan keeps visible is not in the column.

    Args:
        plan: what is declared of the field.
        values: n byte strings.
        records: n indexes into the batch, ascending, for errors.
        contexts: n tuples of context texts in the order of `plan.context`; None where the field has no context.
        binds: n tuples of bound bytes in the order of `plan.bind`; None where it binds nothing.
    """

    plan: FieldPlan
    values: list[bytes] = field(default_factory=list, repr=False)
    records: list[int] = field(default_factory=list, repr=False)
    contexts: list[tuple[str, ...]] | None = field(default=None, repr=False)
    binds: list[tuple[bytes, ...]] | None = field(default=None, repr=False)


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
    """The service's refusal of one key among many; `reason` is its own text, shortened."""

    reason: str


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

    def __init__(
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
        """Overwrite the key's bytes and forget the cipher built from them; safe to call twice."""
        if self._secret is not None:
            self._secret[:] = bytes(32)
            self._secret = None
        self.cipher = None

    def __repr__(self) -> str:
        return f"DataKey(keyset={self.keyset}, descriptor={self.descriptor!r})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a data key can't be pickled or copied")


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
    purpose: Literal["encrypt", "decrypt", "dead", "canary"] = "encrypt"
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

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        """
        Return one fresh data key per request.

        Raises:
            KeyServiceUnavailable: no answer, 429 or 5xx; asking again is safe.
            KeyAccessDenied: this identity may not.
            KeyMaterialError: the answer is hostile or malformed.
        """
        ...

    def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> list[DataKey | KeyRefused]:
        """Return the data key of each request, or why that one was refused; raises as `generate` does."""
        ...


@dataclass(slots=True)
class LeasePortion:
    """`count` values that may be sealed under `key`, in order; a batch may span the end of one lease."""

    key: DataKey
    count: int


class EncryptionKeys(Protocol):
    """Where encryption gets its keys: pools of single-use keys and leases, filled ahead."""

    def prepare(self, takes: Mapping[KeySpec, int], leases: Collection[KeySpec]) -> None:
        """
        Begin to fetch what a batch is about to `take` (how many keys of each spec) and `lease`, in full requests.

        Without it many contexts that are met for the first time cost a request each. Does not wait and raises nothing.
        """
        ...

    def take(self, spec: KeySpec, count: int) -> list[DataKey]:
        """
        Return `count` keys that nobody else gets; the caller wipes each after its one value.

        Raises:
            KeyServiceUnavailable: the pool is empty and the service does not answer within the wait's bound.
            KeyAccessDenied: the identity has been refused.
        """
        ...

    def lease(self, spec: KeySpec, sizes: Sequence[int]) -> list[LeasePortion]:
        """
        Return portions of leases for values of the given sizes in bytes, in order; counts add up to `len(sizes)`.

        The keys stay the lease's own: the caller neither wipes nor keeps them beyond the batch. Raises as `take`.
        """
        ...


class DecryptionKeys(Protocol):
    """Where decryption gets its keys: deduplicated, fetched in batches, cached for a while."""

    def keys(self, requests: Sequence[RetrieveRequest]) -> list[DataKey | KeyRefused]:
        """Return one answer per request, in order; the keys stay the cache's own. Raises `KeyServiceUnavailable`."""
        ...
