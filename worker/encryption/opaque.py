"""The plan of bytes that are sealed whole and belong to no field: dead letters and canaries."""

from __future__ import annotations

from worker.model import FieldPlan, PlaintextKind

# CRC-64-AVRO of the parsing canonical form "bytes", little-endian: what the value is to a reader of envelopes.
_BYTES_FINGERPRINT = bytes.fromhex("651920c3da16c04f")


def opaque_plan(descriptor: str, keyset: str | None, *, bind: tuple[str, ...] = ()) -> FieldPlan:
    """Return the plan under which opaque bytes are sealed, `leased`, under a descriptor of their own."""
    return FieldPlan(
        identity=descriptor,
        descriptor=descriptor,
        descriptor_is_explicit=True,
        keyset=keyset,
        format="leased",
        context=(),
        bind=bind,
        null="keep",
        index=(),
        kind=PlaintextKind.AVRO,
        null_branch=None,
        symbols=(),
        fingerprint=_BYTES_FINGERPRINT,
        schema='"bytes"',
    )
