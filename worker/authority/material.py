"""
Key material and tags: what only the authority can compute.

`tag = nonce 16 | HMAC-SHA256(K_tag, framed(version, keyset, iv, descriptor, nonce, bound))[0..16]` and
`M = SHAKE256(framed("zk-msg-v2", K_msg, keyset, iv, descriptor, tag))[0..512]`. M is secret and depends on iv and tag,
so that generating with a victim's iv and descriptor gives another key, and one response reveals no share.

Source: protocol 5.2, 5.6.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from worker.authority.refusal import Refusal
from worker.zerokms.derive import IV_BYTES, MATERIAL_BYTES, KeySet, seal_messages

NONCE_BYTES = 16
TAG_BYTES = 32
_MESSAGE_BYTES = 512


@dataclass(frozen=True, slots=True)
class KeysetSecrets:
    """A keyset's own secrets, 32 bytes each; deleting `k_msg` shreds the keyset."""

    keyset: UUID
    k_msg: bytes = field(repr=False)
    k_tag: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Item:
    """One key of a request: `bound` is the resolved context or policy in its canonical bytes."""

    iv: bytes
    descriptor: bytes
    bound: bytes
    tag: bytes = b""


_length = struct.Struct(">I").pack


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
    message = framed(bytes((version,)), secrets.keyset.bytes, item.iv, item.descriptor, nonce, item.bound)
    return hmac.digest(secrets.k_tag, message, "sha256")[:16]


def materials(secrets: KeysetSecrets, share: KeySet, items: Sequence[Item], tags: Sequence[bytes]) -> bytes:
    """Return n × 528 bytes of key material for one client's share."""
    prefix = framed(b"zk-msg-v2", secrets.k_msg, secrets.keyset.bytes)
    shake = hashlib.shake_256
    messages = b"".join(
        shake(prefix + framed(item.iv, item.descriptor, tag)).digest(_MESSAGE_BYTES)
        for item, tag in zip(items, tags, strict=True)
    )
    return _seal(share, b"".join(item.iv for item in items), messages)


def index_material(secrets: KeysetSecrets, share: KeySet) -> bytes:
    """Return the 528 bytes for the keyset's index key: equal for all its clients, stable for ever."""
    message = hashlib.shake_256(framed(b"zk-index-v1", secrets.k_msg, secrets.keyset.bytes)).digest(_MESSAGE_BYTES)
    return _seal(share, bytes(IV_BYTES), message)


def _seal(share: KeySet, ivs: bytes, messages: bytes) -> bytes:
    n = len(ivs) // IV_BYTES
    pads = b"".join(_pads(ivs[i : i + IV_BYTES]) for i in range(0, len(ivs), IV_BYTES))
    shape = (n, _MESSAGE_BYTES)
    x = np.frombuffer(messages, dtype=np.uint8).reshape(shape)
    y = np.frombuffer(pads, dtype=np.uint8).reshape(shape)
    return seal_messages(share, ivs, x, y).tobytes()


# CMAC is made of single blocks; nothing is encrypted in this mode.
_ECB = modes.ECB()  # noqa: S305
_COUNTERS = b"".join(i.to_bytes(8, "big") + b"\x80" + bytes(7) for i in range(32))
"""The 32 messages of 8 bytes, padded as CMAC pads an incomplete block."""
_COUNTERS_INT = int.from_bytes(_COUNTERS, "big")
_REPEAT = sum(1 << (128 * i) for i in range(32))
_MASK = (1 << 128) - 1


def _pads(iv: bytes) -> bytes:
    """Return AES-128-CMAC(iv, i) for i = 0..31: 32 single blocks under one key schedule, masked with CMAC's K2."""
    encrypt = Cipher(algorithms.AES(iv), _ECB).encryptor().update
    k2 = _double(_double(int.from_bytes(encrypt(bytes(16)), "big")))
    return encrypt((_COUNTERS_INT ^ (k2 * _REPEAT)).to_bytes(_MESSAGE_BYTES, "big"))


def _double(x: int) -> int:
    return ((x << 1) & _MASK) ^ (0x87 if x >> 127 else 0)


assert MATERIAL_BYTES == _MESSAGE_BYTES + IV_BYTES
