"""
Whether bytes have the shape of an envelope (docs/envelopes.md), read from the format's description alone.

The encryptor's own parser is not used: a fault in it would be found by nobody. No key is needed, so nothing is proved
of the ciphertext; plaintext that happens to have this shape would need lengths that fit to the byte.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgpack

_LEASED = 0x01
_FIXED = 1 + 1 + 16 + 16
_NONCE, _FINGERPRINT, _TAG = 12, 8, 16
_RECORD_ITEMS = (5, 6)


def is_envelope(value: object) -> bool:
    """Whether a value of a sink, as its reader gets it, has the shape of an envelope."""
    if isinstance(value, Mapping):
        # EQL: a ciphertext and the version of its payload.
        return isinstance(value.get("c"), str) and "v" in value
    if not isinstance(value, bytes | bytearray | memoryview):
        return False
    data = bytes(value)
    return _is_leased(data) if data[:1] == bytes([_LEASED]) else _is_record(data)


def _is_leased(data: bytes) -> bool:
    """`01 | flags | keyset 16 | iv 16 | len | tag | len | descriptor | fingerprint 8 | nonce 12 | ciphertext | 16`."""
    if len(data) <= _FIXED or data[1] != 0:
        return False
    at = _FIXED
    for _ in range(2):
        if at >= len(data):
            return False
        at += 1 + data[at]
    return len(data) >= at + _FINGERPRINT + _NONCE + _TAG


def _is_record(data: bytes) -> bool:
    """MessagePack, an array of five or six items, nothing behind it."""
    if data[:1] not in (b"\x95", b"\x96"):
        return False
    try:
        items = msgpack.unpackb(data, raw=True, strict_map_key=False)
    except (ValueError, msgpack.exceptions.UnpackException):
        return False
    return isinstance(items, list) and len(items) in _RECORD_ITEMS
