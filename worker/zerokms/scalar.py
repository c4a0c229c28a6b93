"""
The derivation of one data key, step by step as the protocol writes it: the oracle of the vectorised `derive`.

Source: protocol 5.3.
"""

from __future__ import annotations

import hashlib

from worker.errors import KeyMaterialError
from worker.zerokms.derive import IV_BYTES, MATERIAL_BYTES, ClientKey

_BLOCK = 16


def derive_scalar(client_key: ClientKey, iv: bytes, material: bytes) -> bytes:
    """Derive one data key, step by step as the protocol writes it."""
    return hashlib.sha256(_reencrypt_scalar(client_key, iv, material)).digest()


def _reencrypt_scalar(client_key: ClientKey, iv: bytes, material: bytes) -> bytes:
    if len(iv) != IV_BYTES or len(material) != MATERIAL_BYTES:
        raise KeyMaterialError(f"key material of {len(material)} bytes under an iv of {len(iv)}: expected 528 and 16")
    p1, p2_from, p2_to, p3 = (p.tolist() for p in (client_key.p1, client_key.p2_from, client_key.p2_to, client_key.p3))
    s = [material[i : i + _BLOCK] for i in range(0, MATERIAL_BYTES, _BLOCK)]
    unchained = [_xor(block, _act(p2_from, before)) for block, before in zip(s, [iv, *s], strict=False)]
    v = _act_on(p3, [_act(p1, block) for block in unchained])
    t: list[bytes] = []
    previous = iv
    for block in v:
        previous = _xor(block, _act(p2_to, previous))
        t.append(previous)
    return b"".join(t)


def _act(p: list[int], x: bytes) -> bytes:
    return bytes(x[i] for i in p)


def _act_on(p: list[int], x: list[bytes]) -> list[bytes]:
    return [x[i] for i in p]


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))
