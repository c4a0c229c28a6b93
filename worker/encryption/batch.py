"""Columns of values to columns of envelopes, and back: the loops that run once per value."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgpack
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from worker.encryption import leased
from worker.encryption.plaintext import to_typed
from worker.encryption.record import policy_array
from worker.encryption.spans import seal_spans
from worker.encryption.tally import Tally
from worker.errors import ConfigError
from worker.model import (
    DataKey,
    EncryptionKeys,
    FieldPlan,
    FieldUsage,
    KeySpec,
    KeyUsage,
    PlainSealed,
    Sealed,
    Split,
    Value,
    ValueColumn,
)
from worker.native.split import SpanSplit

Texts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Share:
    """The values of a column under one key spec: their places, None for all, and how many they are."""

    plan: FieldPlan
    spec: KeySpec
    texts: Texts
    at: list[int] | None
    count: int


@dataclass(slots=True)
class Encrypted:
    """Envelopes aligned with the columns and their values, and what they took."""

    envelopes: list[list[bytes]] = field(repr=False)
    usage: list[KeyUsage]


class BatchEncryptor:
    """
    Seals all values of a batch; nothing of it is usable unless the whole call returned.

    Thread-safe where its keys are. Each data key of the `record` format is wiped after its one value.

    Args:
        keys: where data keys come from.
        default_keyset: for plans that name none; None leaves it to the client's own.
    """

    def __init__(self, keys: EncryptionKeys, *, default_keyset: str | None = None) -> None:
        self._keys = keys
        self._default_keyset = default_keyset

    def seal(self, split: Split, prefix: bytes) -> Sealed:
        """Seal every value of a split and put its records together behind `prefix`; raises as `encrypt`."""
        tally = Tally()
        if not isinstance(split, SpanSplit):
            return self._seal_columns(split, prefix, tally)
        rest = None if split.rest is None else self._seal_columns(split.rest, prefix, tally)
        return seal_spans(split, prefix, self._keys, self._spec, tally, rest)

    def _seal_columns(self, split: Split, prefix: bytes, tally: Tally) -> PlainSealed:
        columns = split.columns
        encrypted = self._encrypt(columns, tally)
        fields = [
            FieldUsage(c.plan, len(c.values), sum(map(len, c.values)), sum(map(len, sealed)))
            for c, sealed in zip(columns, encrypted.envelopes, strict=True)
        ]
        return PlainSealed(split.join(encrypted.envelopes, prefix), encrypted.usage, fields, encrypted.envelopes)

    def encrypt(self, columns: Sequence[ValueColumn]) -> Encrypted:
        """
        Return one envelope per value.

        Raises:
            KeyServiceUnavailable: no keys now; the batch as a whole may be tried again.
            KeyAccessDenied: this identity may not.
            ConfigError: a plan asks for what its format can't do.
        """
        return self._encrypt(columns, Tally())

    def _encrypt(self, columns: Sequence[ValueColumn], tally: Tally) -> Encrypted:
        shares = [self._shares(column) for column in columns]
        self._prepare(shares)
        envelopes = [self._column(column, each, tally) for column, each in zip(columns, shares, strict=True)]
        return Encrypted(envelopes, tally.usage())

    def _shares(self, column: ValueColumn) -> list[_Share]:
        """Part a column by its contexts: one share, one key spec."""
        plan, contexts = column.plan, column.contexts
        if plan.format == "record" and (plan.bind or column.binds is not None):
            raise ConfigError(f"{plan.identity}: bound values need the format `leased`")
        if not column.values:
            return []
        if contexts is None:
            if plan.context:
                raise ConfigError(f"{plan.identity}: the plan names a context and the column has none")
            return [_Share(plan, self._spec(plan, ()), (), None, len(column.values))]
        return [_Share(plan, self._spec(plan, texts), texts, at, len(at)) for texts, at in _groups(contexts).items()]

    def _prepare(self, shares: Sequence[Sequence[_Share]]) -> None:
        takes: dict[KeySpec, int] = {}
        leases: dict[KeySpec, None] = {}
        for share in itertools.chain.from_iterable(shares):
            if share.plan.format == "leased":
                leases[share.spec] = None
            else:
                takes[share.spec] = takes.get(share.spec, 0) + share.count
        self._keys.prepare(takes, leases)

    def _column(self, column: ValueColumn, shares: Sequence[_Share], tally: Tally) -> list[bytes]:
        plan = column.plan
        seal = self._seal_records if plan.format == "record" else self._seal_leased
        out: list[bytes] = [b""] * len(column.values)
        for share in shares:
            if share.at is None:
                return seal(plan, share, column.values, column.binds, tally)
            at = share.at
            binds = None if column.binds is None else [column.binds[i] for i in at]
            sealed = seal(plan, share, [column.values[i] for i in at], binds, tally)
            for i, envelope in zip(at, sealed, strict=True):
                out[i] = envelope
        return out

    def _spec(self, plan: FieldPlan, texts: Texts) -> KeySpec:
        keyset = self._default_keyset if plan.keyset is None else plan.keyset
        context = tuple(Value(name, text) for name, text in zip(plan.context, texts, strict=True))
        return KeySpec(keyset, plan.descriptor, context)

    def _seal_records(
        self, plan: FieldPlan, share: _Share, values: list[bytes], binds: list[tuple[bytes, ...]] | None, tally: Tally
    ) -> list[bytes]:
        typed = to_typed(plan)
        # Before the keys are taken: nothing may fail once they are.
        plaintexts = [typed(value) for value in values]
        keys = self._keys.take(share.spec, len(values))
        try:
            sealed = seal_records(keys, plaintexts)
        finally:
            for key in keys:
                key.wipe()
        for key in keys:
            tally.add(key, "record", 1)
        return sealed

    def _seal_leased(
        self, plan: FieldPlan, share: _Share, values: list[bytes], binds: list[tuple[bytes, ...]] | None, tally: Tally
    ) -> list[bytes]:
        if plan.bind and binds is None:
            raise ConfigError(f"{plan.identity}: the plan binds values and the column has none")
        context = tuple(zip(plan.context, share.texts, strict=True))
        out: list[bytes] = []
        for portion in self._keys.lease(share.spec, [len(value) for value in values]):
            start, end = len(out), len(out) + portion.count
            out += leased.seal(
                portion.key,
                plan.fingerprint,
                values[start:end],
                context=context,
                bind_names=plan.bind,
                binds=None if binds is None else binds[start:end],
            )
            tally.add(portion.key, "leased", portion.count)
        if len(out) != len(values):
            raise RuntimeError("the leases do not add up to the values")
        return out


def seal_records(keys: Sequence[DataKey], typed: Sequence[bytes]) -> list[bytes]:
    """Seal each typed plaintext under its own key, as MessagePack; the caller wipes the keys."""
    out = []
    pack = msgpack.Packer().pack
    descriptor, label, keyset, keyset_bytes = None, b"", None, b""
    for key, plaintext in zip(keys, typed, strict=True):
        if key.descriptor is not descriptor:
            descriptor = key.descriptor
            label = descriptor.encode()
        if key.keyset is not keyset:
            keyset = key.keyset
            keyset_bytes = keyset.bytes
        iv, tag = key.iv, key.tag
        ciphertext = AESGCMSIV(key.secret).encrypt(iv[:12], plaintext, label + tag)
        items = [iv, ciphertext, tag, descriptor, keyset_bytes]
        if key.policy:
            items.append(policy_array(key.policy))
        out.append(pack(items))
    return out


def _groups(contexts: Sequence[Texts]) -> dict[Texts, list[int]]:
    groups: dict[Texts, list[int]] = {}
    for i, texts in enumerate(contexts):
        groups.setdefault(texts, []).append(i)
    return groups
