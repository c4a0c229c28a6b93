"""Seals a batch in native memory; records that the extension left to the twin, the twin seals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgpack

from worker.encryption.record import policy_array
from worker.encryption.tally import Tally
from worker.errors import ConfigError, KeyServiceUnavailable
from worker.model import DataKey, EncryptionKeys, FieldPlan, FieldUsage, KeySpec, KeyUsage, PlainSealed
from worker.native import extension
from worker.native.split import Sizes, SpanSplit

if TYPE_CHECKING:
    from worker import _native

SpecOf = Callable[[FieldPlan, tuple[str, ...]], KeySpec]
_Portions = list[tuple["_native.Lease | _native.KeyBatch", int]]


@dataclass(frozen=True, slots=True)
class _Share:
    """The values of one field under one context."""

    plan: FieldPlan
    spec: KeySpec
    slot: int
    group: int
    count: int
    total: int


@dataclass(frozen=True, slots=True)
class SpanSealed:
    """A split that was sealed in native memory; see `worker.model.Sealed`. `rest` is what the twin sealed of it."""

    split: SpanSplit
    output: _native.Output
    usage: Sequence[KeyUsage]
    fields: Sequence[FieldUsage]
    frame: int
    rest: PlainSealed | None = field(default=None, repr=False)

    @property
    def data(self) -> Sequence[bytes | None]:
        """The records, framed; still in native memory where the twin had no part in it."""
        if self.rest is None:
            return self.output
        every = list(self.output)
        for place, data in zip(self.split.refused, self.rest.data, strict=True):
            every[place] = data
        return every

    @property
    def envelopes(self) -> Sequence[Sequence[bytes]]:
        """Aligned with the split's columns and their values, made anew at each call."""
        slots = range(len(self.split.plans))
        found = (self.split.spans.envelopes(self.output, self.frame, slot) for slot in slots)
        return [each for each in found if each] + (list(self.rest.envelopes) if self.rest is not None else [])


def seal_spans(
    split: SpanSplit, prefix: bytes, keys: EncryptionKeys, spec_of: SpecOf, tally: Tally, rest: PlainSealed | None
) -> SpanSealed:
    """
    Seal every value that the extension found, each record behind `prefix`; raises as `Encryptor.seal`.

    Args:
        split: what the extension took apart.
        prefix: the output's frame.
        keys: where keys come from.
        spec_of: what a field's values under a context ask for.
        tally: the whole batch's.
        rest: what the twin sealed of it.
    """
    shares = [
        [_share(plan, slot, group, *asked, spec_of) for group, asked in enumerate(groups)]
        for slot, (plan, groups) in enumerate(zip(split.plans, split.spans.demands(), strict=True))
    ]
    wanted = [share for each in shares for share in each if share is not None]
    keys.prepare(
        {share.spec: share.count for share in wanted if share.plan.format == "record"},
        dict.fromkeys(share.spec for share in wanted if share.plan.format == "leased"),
    )
    supplies = [[_supply(split, share, keys, tally) for share in each] for each in shares]
    output = split.spans.seal(prefix, supplies)
    fields = [
        FieldUsage(plan, sum(s.count for s in each if s), sum(s.total for s in each if s), sealed)
        for plan, each, sealed in zip(split.plans, shares, output.sealed, strict=True)
        if any(each)
    ]
    if rest is not None:
        fields += rest.fields
    return SpanSealed(split, output, tally.usage(), fields, len(prefix), rest)


def _share(
    plan: FieldPlan, slot: int, group: int, texts: Sequence[str], count: int, total: int, spec_of: SpecOf
) -> _Share | None:
    return _Share(plan, spec_of(plan, tuple(texts)), slot, group, count, total) if count else None


def _supply(split: SpanSplit, share: _Share | None, keys: EncryptionKeys, tally: Tally) -> _Portions:
    if share is None:
        return []
    if share.plan.format == "record":
        if share.plan.bind:
            raise ConfigError(f"{share.plan.identity}: bound values need the format `leased`")
        return [_single(keys.take(share.spec, share.count), tally)]
    sizes = Sizes(split.spans, share.slot, share.group, share.count, share.total)
    portions: _Portions = []
    for portion in keys.lease(share.spec, sizes):
        tally.add(portion.key, "leased", portion.count)
        portions.append((_lease(portion.key), portion.count))
    return portions


def _single(keys: list[DataKey], tally: Tally) -> tuple[_native.KeyBatch, int]:
    """Copy single-use keys to native memory, which wipes its copy after the batch, and wipe these."""
    try:
        batch = extension.KeyBatch(keys, [msgpack.packb(policy_array(k.policy)) if k.policy else b"" for k in keys])
    finally:
        for key in keys:
            key.wipe()
    for key in keys:
        tally.add(key, "record", 1)
    return batch, len(keys)


def _lease(key: DataKey) -> _native.Lease:
    """The lease's cipher, built once and kept on the key, so that it goes when the key goes."""
    held = key.cipher
    if isinstance(held, extension.Lease):
        return held
    try:
        built = extension.Lease(key.secret, key.keyset.bytes, key.iv, key.tag, key.descriptor)
    except RuntimeError:
        raise KeyServiceUnavailable("a lease was dropped while it was in use; ask again") from None
    key.cipher = built
    return built
