"""Seals a batch in native memory; records that the extension left to the twin, the twin seals."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from worker.encryption.columns import PlainSealing, refusal_of
from worker.encryption.handles import leases_of, singles_of
from worker.encryption.tally import Tally
from worker.errors import ConfigError, RecordError, WorkerError
from worker.model import FieldPlan, FieldUsage, Grant, KeyNeed, KeySpec, KeyUsage, PlainSealed
from worker.native import extension
from worker.native.contexts import SpanContexts
from worker.native.split import SpanSplit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from worker import _native

    _Keys = _native.Granted | _native.Drawn | Sequence[tuple[_native.KeyBatch, int, int]]
    _Supply = tuple[_Keys, NDArray[np.uint32], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class SpanSealed:
    """A split that was sealed in native memory; see `worker.model.Sealed`. `rest` is what the twin sealed of it."""

    split: SpanSplit
    output: _native.Output
    usage: Sequence[KeyUsage]
    fields: Sequence[FieldUsage]
    frame: int
    rest: PlainSealed | None = field(default=None, repr=False)
    errors: Mapping[int, RecordError] = field(default_factory=dict)

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


@dataclass(frozen=True, slots=True)
class _Field:
    """One field's contexts that have values: their numbers in the split, and what they need."""

    plan: FieldPlan
    slot: int
    numbers: NDArray[np.uint32]
    need: KeyNeed


class SpanSealing:
    """
    A split of spans on its way; see `worker.encryption.batch.Sealing`.

    Args:
        split: what the extension took apart.
        prefix: the output's frame.
        default_keyset: for plans that name none.
    """

    def __init__(self, split: SpanSplit, prefix: bytes, default_keyset: str | None) -> None:
        self._split, self._prefix, self._default_keyset = split, prefix, default_keyset
        self._tally = Tally()
        self._rest = PlainSealing(split.rest, prefix, default_keyset, self._tally) if split.rest is not None else None
        self._errors: dict[int, RecordError] = {}
        self._begin()

    def _begin(self) -> None:
        self.is_short = False
        self._fields: list[_Field] = []
        self._supplies: list[list[_Supply]] = []
        spans = self._split.spans
        for slot, (plan, asked) in enumerate(zip(self._split.plans, spans.demands(), strict=True)):
            self._supplies.append([])
            numbers, counts = np.frombuffer(asked[0], np.uint32), np.frombuffer(asked[1], np.int64)
            if not len(numbers):
                continue
            if plan.format == "record" and plan.bind:
                raise ConfigError(f"{plan.identity}: bound values need the format `leased`")
            keyset = self._default_keyset if plan.keyset is None else plan.keyset
            need = KeyNeed(
                plan.format,
                KeySpec(keyset, plan.descriptor),
                plan.context,
                SpanContexts(spans, slot, numbers) if plan.context else [()],
                counts,
                np.frombuffer(asked[2], np.int64),
                # Of the spans alone: a bound method makes a cycle, which keeps the batch until the next collection.
                partial(_sizes, spans, slot, numbers),
                is_native=True,
            )
            self._fields.append(_Field(plan, slot, numbers, need))
        # The same lease may serve several needs: then its keys have to be told from one another.
        specs = {(each.need.spec, each.need.names) for each in self._fields}
        self._is_shared = self._rest is not None or len(specs) < len(self._fields)

    def needs(self) -> list[KeyNeed]:
        """Return which keys it needs; the twin's come last."""
        return [each.need for each in self._fields] + (self._rest.needs() if self._rest is not None else [])

    def seal(self, need: int, grant: Grant) -> None:
        """Hand keys to native memory; the sealing itself is one call at the end."""
        if need >= len(self._fields):
            assert self._rest is not None
            self._rest.seal(need - len(self._fields), grant)
            return
        each = self._fields[need]
        # One context may come twice, at the end of its lease: as many as there are contexts need not be all of them.
        self._supplies[each.slot].append((self._keys(each, grant), each.numbers[grant.at], grant.counts))

    def _keys(self, each: _Field, grant: Grant) -> _Keys:
        """Bring keys to native memory where they are not there yet."""
        if isinstance(grant.native, extension.Granted):
            self._tally.add_granted(grant.native, int(grant.counts.sum()), is_shared=self._is_shared)
            return grant.native
        self._tally.add_all(grant.keys, each.plan.format, int(grant.counts.sum()))
        return leases_of(grant.keys) if each.plan.format == "leased" else singles_of(grant.keys)

    def refuse(self, need: int, at: int, refusal: WorkerError) -> None:
        """Take the records of a context out; what is left has to be sealed anew (`is_short`)."""
        if need >= len(self._fields):
            assert self._rest is not None
            self._rest.refuse(need - len(self._fields), at, refusal)
            return
        each = self._fields[need]
        texts = each.need.contexts[at]
        _, records, contexts, _ = self._split.spans.column(each.slot)
        mine = [i for i, found in zip(records, contexts, strict=True) if tuple(found) == texts]
        self._errors.update(dict.fromkeys(mine, refusal_of(each.plan, refusal)))
        self.is_short = True

    def release(self) -> None:
        """Wipe single-use keys that were given and not used."""
        for keys, _, _ in chain.from_iterable(self._supplies):
            if isinstance(keys, extension.Drawn):
                keys.wipe()
            elif not isinstance(keys, extension.Granted):
                for holder, start, count in keys:
                    holder.wipe(start, start + count)

    def again(self) -> None:
        """Begin anew without the records that were refused."""
        self.release()
        self._split.drop(self._errors)
        self._begin()

    def sealed(self) -> SpanSealed:
        """Seal every value."""
        output = self._split.spans.seal(self._prefix, self._supplies)
        # Each key has served its value and is gone: nothing is left to be wiped.
        self._supplies = []
        fields = [
            FieldUsage(each.plan, int(each.need.counts.sum()), int(each.need.totals.sum()), output.sealed[each.slot])
            for each in self._fields
        ]
        rest, errors = None, dict(self._errors)
        if self._rest is not None:
            rest = self._rest.sealed()
            fields += rest.fields
            errors |= {self._split.refused[i]: error for i, error in rest.errors.items()}
        return SpanSealed(self._split, output, self._tally.usage(), fields, len(self._prefix), rest, errors)


def _sizes(spans: _native.Split, slot: int, numbers: NDArray[np.uint32], at: int) -> array[int]:
    return array("I", spans.sizes(slot, int(numbers[at])))
