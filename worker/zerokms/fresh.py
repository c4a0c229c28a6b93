"""A request for fresh keys and its answer, in native memory where that can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from typing import TYPE_CHECKING
from uuid import UUID

import orjson

from worker.model import KeySpec, PolicyCondition, SpecRuns, Specs
from worker.native import IS_LOADED, extension
from worker.native.keys import Answer, KeyRun, Label
from worker.zerokms import wire
from worker.zerokms.derive import IV_BYTES, ClientKey

if TYPE_CHECKING:
    from worker import _native


def native_key(client_key: ClientKey) -> _native.ClientKey | None:
    """Return a client key as the extension holds it; None without the extension."""
    if not IS_LOADED:
        return None
    parts = (client_key.p1, client_key.p2_from, client_key.p2_to, client_key.p3)
    return extension.ClientKey(*(part.tobytes() for part in parts))


@dataclass(frozen=True)
class FreshKeys:
    """
    What is asked for.

    Args:
        specs: of one keyset.
        ivs: n × 16 bytes, drawn for these keys alone.
    """

    specs: Sequence[KeySpec]
    ivs: bytes

    @cached_property
    def each(self) -> list[bytes]:
        """Each key's iv."""
        return [self.ivs[i : i + IV_BYTES] for i in range(0, len(self.ivs), IV_BYTES)]

    @cached_property
    def _runs(self) -> Specs:
        return Specs.of(self.specs)

    def items(self) -> bytes:
        """Return the request's items, JSON with commas between."""
        return b",".join(map(orjson.dumps, wire.generate_items(self.specs, self.each)))

    def native_items(self) -> bytes:
        """Return the same, written natively."""
        heads: dict[str, bytes] = {}
        return extension.generate_items(
            self.ivs, [(_head(part, heads), part.names, part.contexts, part.counts) for part in self._runs.parts]
        )

    def native_keys(self, client_key: _native.ClientKey, keyset: UUID, request_id: UUID, reply: bytes) -> KeyRun | None:
        """Return the keys that a reply brings; None for one that the twin has to judge."""
        # Without their contexts: the answer lives as long as one of its keys is held.
        each = zip(self._runs.parts, self._runs.totals, strict=True)
        named = groupby(each, key=lambda part: part[0].common.descriptor)
        descriptors = [(descriptor, sum(total for _, total in same)) for descriptor, same in named]
        try:
            batch, told = client_key.generate(self.ivs, keyset.bytes, descriptors, reply)
        except ValueError:
            return None
        policies = None if told is None else [_conditions(policy) for policy in told]
        answer = Answer(batch, keyset, request_id, partial(_label, descriptors, policies))
        return KeyRun([(answer, 0, len(batch))])


def _head(part: SpecRuns, heads: dict[str, bytes]) -> bytes:
    """
    What of an item stands behind its iv: all of it, or where there are names what stands before its context.

    `heads` keeps by descriptor what stands before a context.
    """
    spec = part.common
    if spec.policy or spec.descriptor not in heads:
        item = wire.generate_item(spec, b"")
        del item["iv"]
        if spec.policy:
            return orjson.dumps(item)[1:]
        del item["context"]
        heads[spec.descriptor] = orjson.dumps(item)[1:-1] + b',"context":'
    head = heads[spec.descriptor]
    return head if part.names else b"%b%b}" % (head, orjson.dumps(wire.context(spec.context)))


def _conditions(policy: list[tuple[str, str | None]] | None) -> tuple[PolicyCondition, ...]:
    return tuple(PolicyCondition(claim, value) for claim, value in policy or ())


def _label(
    descriptors: Sequence[tuple[str, int]], policies: Sequence[tuple[PolicyCondition, ...]] | None, at: int
) -> Label:
    policy = () if policies is None else policies[at]
    for descriptor, count in descriptors:
        if at < count:
            return descriptor, policy
        at -= count
    raise IndexError("no such key")
