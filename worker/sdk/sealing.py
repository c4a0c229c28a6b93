"""Python values to envelopes, under keys from whichever source."""

from __future__ import annotations

from collections.abc import Sequence

from worker.avro import encode_value
from worker.encryption import leased
from worker.encryption.handles import seal_singles
from worker.encryption.plaintext import to_typed
from worker.encryption.values import typed_of_value
from worker.model import EncryptionKeys, KeySpec
from worker.sdk.values import Bind, plan, schema_of


def seal_each(source: EncryptionKeys, spec: KeySpec, values: Sequence[object], schema: str | None) -> list[bytes]:
    """Seal each value under a key of its own, in the `record` format; raises `RecordError` before any key is asked."""
    if schema is None:
        typed = [typed_of_value(value) for value in values]
    else:
        to_plaintext = to_typed(plan(schema))
        typed = [to_plaintext(encode_value(schema, value)) for value in values]
    return seal_singles(source.take(spec, len(values)), typed)


def seal_leased(
    source: EncryptionKeys,
    spec: KeySpec,
    values: Sequence[object],
    schema: str | None,
    context: Sequence[tuple[str, str]],
    bind: Bind,
) -> list[bytes]:
    """Seal values under a lease, in the `leased` format; raises `RecordError` before any key is asked."""
    chosen = schema_of(values) if schema is None else schema
    fingerprint = plan(chosen).fingerprint
    plain = [encode_value(chosen, value) for value in values]
    bound = tuple(bind.values())
    out: list[bytes] = []
    for portion in source.lease(spec, [len(value) for value in plain]):
        part = plain[len(out) : len(out) + portion.count]
        out += leased.seal(
            portion.key,
            fingerprint,
            part,
            context=context,
            bind_names=tuple(bind),
            binds=[bound] * len(part) if bind else None,
        )
    return out
