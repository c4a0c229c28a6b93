"""
Key material and tags: what only the authority can compute.

`tag = nonce 16 | HMAC-SHA256(K_tag, framed(version, keyset, iv, descriptor, nonce, bound))[0..16]` and
`M = SHAKE256(framed("zk-msg-v2", K_msg, keyset, iv, descriptor, tag))[0..512]`. M is secret and depends on iv and tag,
so that generating with a victim's iv and descriptor gives another key, and one response reveals no share. Of an
erasable keyset `M = SHAKE256(framed("zk-msg-v3", K_msg, keyset, iv, descriptor, tag, s_1 ... s_n))[0..512]`, one s for
each value of the context, in order: a leaf of the keyset's tree, without which there is no M.

Source: protocol 5.2, 5.6.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from numpy.typing import NDArray

from worker.authority.refusal import Refusal
from worker.native import IS_LOADED, extension
from worker.zerokms.derive import IV_BYTES, MATERIAL_BYTES, Permutations, seal_messages

if TYPE_CHECKING:
    from worker import _native

NONCE_BYTES = 16
TAG_BYTES = 32
_MESSAGE_BYTES = 512


@dataclass(frozen=True, slots=True)
class KeysetSecrets:
    """A keyset's own secrets, 32 bytes each; deleting `k_msg` shreds the keyset. `k_pos` is an erasable keyset's."""

    keyset: UUID
    k_msg: bytes = field(repr=False)
    k_tag: bytes = field(repr=False)
    k_pos: bytes = field(default=b"", repr=False)


class Item(NamedTuple):
    """
    One key of a request: `bound` is the resolved context or policy in its canonical bytes.

    `leaves` are those of the context's values, framed; in erasable keysets alone.
    """

    iv: bytes
    descriptor: bytes
    bound: bytes
    tag: bytes = b""
    leaves: bytes = b""


_length = struct.Struct(">I").pack
_ONE, _BLOCK, _TAG = _length(1), _length(16), _length(TAG_BYTES)


def framed(*parts: bytes) -> bytes:
    """Join parts without ambiguity: each as its length in 4 bytes, big-endian, then itself."""
    return b"".join([_length(len(part)) + part for part in parts])


def make_tags(secrets: KeysetSecrets, items: Sequence[tuple[Item, int]]) -> list[bytes]:
    """Return one fresh tag of 32 bytes per item and version."""
    drawn = os.urandom(NONCE_BYTES * len(items))
    nonces = [drawn[i : i + NONCE_BYTES] for i in range(0, len(drawn), NONCE_BYTES)]
    return [n + _mac(secrets, version, item, n) for n, (item, version) in zip(nonces, items, strict=True)]


def check_tag(secrets: KeysetSecrets, version: int, item: Item) -> None:
    """Compare a presented tag in constant time; raises a 403 where anything bound differs."""
    nonce, mac = item.tag[:NONCE_BYTES], item.tag[NONCE_BYTES:]
    if len(item.tag) != TAG_BYTES or not hmac.compare_digest(mac, _mac(secrets, version, item, nonce)):
        raise Refusal(403, "Context did not satisfy lock requirements")


def _mac(secrets: KeysetSecrets, version: int, item: Item, nonce: bytes) -> bytes:
    # framed(version, keyset, iv, descriptor, nonce, bound), written out: this runs once per key.
    label, bound = item.descriptor, item.bound
    parts = (_ONE, bytes((version,)), _BLOCK, secrets.keyset.bytes, _BLOCK, item.iv)
    rest = (_length(len(label)), label, _BLOCK, nonce, _length(len(bound)), bound)
    return hmac.digest(secrets.k_tag, b"".join(parts + rest), "sha256")[:16]


def materials(secrets: KeysetSecrets, share: Permutations, items: Sequence[Item], tags: Sequence[bytes]) -> bytes:
    """Return n × 528 bytes of key material for one client's share."""
    prefix = _prefix(secrets)
    if IS_LOADED:
        ivs, labels = [item.iv for item in items], [item.descriptor for item in items]
        leaves = [item.leaves for item in items] if secrets.k_pos else None
        return extension.materials(_parts(share), prefix, ivs, labels, list(tags), leaves)
    shake = hashlib.shake_256
    # framed(iv, descriptor, tag) and the framed leaves, written out: this runs once per key.
    messages = b"".join(
        [
            shake(
                b"".join((prefix, item.iv, _length(len(item.descriptor)), item.descriptor, _TAG, tag, item.leaves))
            ).digest(_MESSAGE_BYTES)
            for item, tag in zip(items, tags, strict=True)
        ]
    )
    return _seal(share, b"".join(item.iv for item in items), messages)


def native_share(secrets: KeysetSecrets, share: Permutations) -> _native.Share:
    """Return a client's share as the extension uses it, with what tags and messages of its keyset are made with."""
    return extension.Share(_parts(share), _prefix(secrets), secrets.k_tag, secrets.keyset.bytes)


def _prefix(secrets: KeysetSecrets) -> bytes:
    """What every message of a keyset begins with."""
    return framed(b"zk-msg-v3" if secrets.k_pos else b"zk-msg-v2", secrets.k_msg, secrets.keyset.bytes) + _BLOCK


def _parts(share: Permutations) -> tuple[bytes, bytes, bytes]:
    return share.p1.tobytes(), share.p2.tobytes(), share.p3.tobytes()


def index_material(secrets: KeysetSecrets, share: Permutations) -> bytes:
    """Return the 528 bytes for the keyset's index key: equal for all its clients, stable for ever."""
    message = hashlib.shake_256(framed(b"zk-index-v1", secrets.k_msg, secrets.keyset.bytes)).digest(_MESSAGE_BYTES)
    return _seal(share, bytes(IV_BYTES), message)


def _seal(share: Permutations, ivs: bytes, messages: bytes) -> bytes:
    x = np.frombuffer(messages, dtype=np.uint8).reshape(-1, _MESSAGE_BYTES)
    return seal_messages(share, ivs, x, _pads(ivs)).tobytes()


# CMAC is made of single blocks; nothing is encrypted in this mode.
_ECB = modes.ECB()  # noqa: S305
_COUNTERS = np.frombuffer(b"".join(i.to_bytes(8, "big") + b"\x80" + bytes(7) for i in range(32)), dtype=np.uint8)
"""The 32 messages of 8 bytes, padded as CMAC pads an incomplete block."""
_ZERO = bytes(16)


def _pads(ivs: bytes) -> NDArray[np.uint8]:
    """Return AES-128-CMAC(iv, i) for i = 0..31, n × 512: 32 single blocks under one key schedule, masked with K2."""
    ciphers = [Cipher(AES128(ivs[i : i + 16]), _ECB).encryptor().update for i in range(0, len(ivs), 16)]
    k2 = _double(_double(np.frombuffer(b"".join([encrypt(_ZERO) for encrypt in ciphers]), dtype=np.uint8)))
    masked = (_COUNTERS.reshape(32, 16) ^ k2.reshape(-1, 1, 16)).tobytes()
    pads = b"".join(
        [encrypt(masked[i * _MESSAGE_BYTES : (i + 1) * _MESSAGE_BYTES]) for i, encrypt in enumerate(ciphers)]
    )
    return np.frombuffer(pads, dtype=np.uint8).reshape(-1, _MESSAGE_BYTES)


def _double(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Double each block of 16 bytes in GF(2^128), as CMAC does; constant in time."""
    x = blocks.reshape(-1, 16)
    shifted: NDArray[np.uint8] = np.left_shift(x, np.uint8(1))
    shifted[:, :-1] |= x[:, 1:] >> 7
    shifted[:, -1] ^= (x[:, 0] >> 7) * np.uint8(0x87)
    return shifted


assert MATERIAL_BYTES == _MESSAGE_BYTES + IV_BYTES
