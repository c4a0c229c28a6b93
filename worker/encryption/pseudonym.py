"""Pseudonyms of record keys: equal values have equal ones for as long as the keyset lives."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PSEUDONYM_BYTES = 32
_LABEL = b"key-pseudonym-v1"


class Pseudonyms:
    """
    The pseudonyms of one keyset.

    A pseudonym is HMAC-SHA256 under a key of its own, so that it equals no search term, over a framed input::

        key   = HKDF-SHA256(index key, no salt, info `key-pseudonym-v1`, 32 bytes)
        input = F(keyset 16) F(descriptor) F(value)        F(x) = u32 big-endian length ‖ x

    Args:
        keyset: its uuid.
        index_key: 32 bytes; it does not change when data keys do.

    Source:
        tests/vectors/pseudonym.json
    """

    __slots__ = ("_key", "_keyset")

    def __init__(self, keyset: UUID, index_key: bytes) -> None:
        if len(index_key) != 32:
            raise ValueError("an index key is 32 bytes")
        self._key = HKDF(SHA256(), length=32, salt=None, info=_LABEL).derive(index_key)
        self._keyset = _framed(keyset.bytes)

    def of(self, descriptor: str, values: Sequence[bytes]) -> list[bytes]:
        """Return each value's pseudonym of 32 bytes under a field's descriptor, in order."""
        key, prefix = self._key, self._keyset + _framed(descriptor.encode())
        return [hmac.digest(key, prefix + _framed(value), "sha256") for value in values]


def _framed(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value
