"""
The algebra of split keys: permutations, shares, and the local derivation of data keys.

Everything but the last hash is byte permutation and XOR, so a batch is a handful of numpy gathers. `scalar.py` says the
same step by step.

Source: protocol 5.1-5.4; tests/vectors/zerokms.json.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import cbor2
import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from worker.errors import ConfigError, KeyMaterialError

Permutation = NDArray[np.uint8]
Blocks = NDArray[np.uint8]

IV_BYTES = 16
MESSAGE_BYTES = 512
MATERIAL_BYTES = 528
KEY_BYTES = 32
_BLOCK = 16
_BLOCKS = 33
_CLIENT_KEY_BYTES = 168


def then(f: Permutation, g: Permutation) -> Permutation:
    """Return the permutation "f then g": `[f[g[i]]]`."""
    return f[g]


def invert(p: Permutation) -> Permutation:
    """Return the permutation that undoes `p`."""
    inverse = np.empty_like(p)
    inverse[p] = np.arange(len(p), dtype=np.uint8)
    return inverse


def random_permutation(n: int) -> Permutation:
    """Draw a uniformly random permutation of `n` from the system's CSPRNG (Fisher-Yates, unbiased)."""
    items = list(range(n))
    for i in range(n - 1, 0, -1):
        j = secrets.randbelow(i + 1)
        items[i], items[j] = items[j], items[i]
    return np.array(items, dtype=np.uint8)


def _permutation(value: object, n: int, name: str) -> Permutation:
    items = value.get("permutation") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(items, list) or sorted(i for i in items if type(i) is int) != list(range(n)) or len(items) != n:
        raise ConfigError(f"key part {name} is not a permutation of {n}")
    return np.array(items, dtype=np.uint8)


def _decode(data: bytes, sizes: dict[str, int], what: str) -> list[Permutation]:
    try:
        value = cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError, EOFError) as exc:
        raise ConfigError(f"{what} is not CBOR") from exc
    if not isinstance(value, dict) or list(value) != list(sizes):
        raise ConfigError(f"{what} is not a CBOR map of {', '.join(sizes)}")
    return [_permutation(value[name], n, name) for name, n in sizes.items()]


def _encode(parts: dict[str, Permutation]) -> bytes:
    return cbor2.dumps({name: {"permutation": p.tolist()} for name, p in parts.items()})


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Permutations:
    """
    A domain key or an authority share: three permutations, which the protocol calls a key set.

    Args:
        p1: of 16, acts on the bytes of a block.
        p2: of 16, acts on the bytes of the chained block.
        p3: of 33, acts on the order of the blocks.
    """

    p1: Permutation
    p2: Permutation
    p3: Permutation

    @classmethod
    def random(cls, *, p2: Permutation | None = None) -> Self:
        """Draw a uniformly random one; `p2` is kept where given."""
        chain = random_permutation(_BLOCK) if p2 is None else p2
        return cls(random_permutation(_BLOCK), chain, random_permutation(_BLOCKS))

    @classmethod
    def from_cbor(cls, data: bytes) -> Self:
        """Read the serialised form; raises `ConfigError`."""
        return cls(*_decode(data, {"p1": _BLOCK, "p2": _BLOCK, "p3": _BLOCKS}, "key set"))

    def to_cbor(self) -> bytes:
        """Write the serialised form."""
        return _encode({"p1": self.p1, "p2": self.p2, "p3": self.p3})

    def __repr__(self) -> str:
        return "Permutations(...)"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ClientKey:
    """
    The client's half: what turns the authority's material into material of the domain.

    Args:
        p1: of 16. `p2_from`: of 16, the authority share's p2. `p2_to`: of 16, the domain's p2. `p3`: of 33.
    """

    p1: Permutation
    p2_from: Permutation
    p2_to: Permutation
    p3: Permutation

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read hex of any case, or else standard base64; raises `ConfigError` without showing the text."""
        text = text.strip()
        try:
            data = bytes.fromhex(text) if len(text) == 2 * _CLIENT_KEY_BYTES else base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error) as exc:
            raise ConfigError("the client key is neither hex nor base64; was it cut off?") from exc
        return cls.from_cbor(data)

    @classmethod
    def from_cbor(cls, data: bytes) -> Self:
        """Read the serialised form of 168 bytes; raises `ConfigError`."""
        if len(data) != _CLIENT_KEY_BYTES:
            raise ConfigError(f"a client key is {_CLIENT_KEY_BYTES} bytes of CBOR, this one is {len(data)}")
        sizes = {"p1": _BLOCK, "p2_from": _BLOCK, "p2_to": _BLOCK, "p3": _BLOCKS}
        return cls(*_decode(data, sizes, "client key"))

    def to_cbor(self) -> bytes:
        """Write the serialised form of 168 bytes."""
        return _encode({"p1": self.p1, "p2_from": self.p2_from, "p2_to": self.p2_to, "p3": self.p3})

    def to_hex(self) -> str:
        """Write lower-case hex, as `CS_CLIENT_KEY` holds it."""
        return self.to_cbor().hex()

    def __repr__(self) -> str:
        return "ClientKey(...)"


def _as_blocks(ivs: bytes, materials: bytes) -> tuple[Blocks, Blocks]:
    n, rest = divmod(len(materials), MATERIAL_BYTES)
    if rest or len(ivs) != n * IV_BYTES:
        raise KeyMaterialError(
            f"{len(materials)} bytes of key material for {len(ivs)} bytes of ivs: expected 528 for 16"
        )
    iv = np.frombuffer(ivs, dtype=np.uint8).reshape(n, _BLOCK)
    return iv, np.frombuffer(materials, dtype=np.uint8).reshape(n, _BLOCKS, _BLOCK)


def _unchain(p2: Permutation, iv: Blocks, s: Blocks) -> Blocks:
    """Return `S_j xor p2 * S_{j-1}` for every block, with `S_{-1}` the iv."""
    out = s.copy()
    out[:, 0] ^= iv[:, p2]
    out[:, 1:] ^= s[:, :-1, p2]
    return out


def reencrypt(client_key: ClientKey, ivs: bytes, materials: bytes) -> Blocks:
    """
    Turn the authority's material into the domain's.

    Args:
        client_key: our half.
        ivs: n × 16 bytes, concatenated, in request order.
        materials: n × 528 bytes, concatenated, same order.

    Returns:
        n × 528 bytes, what every client of the keyset arrives at.

    Raises:
        KeyMaterialError: a length is not a whole number of items.
    """
    iv, s = _as_blocks(ivs, materials)
    # V_j[i] = S_{p3[j]}[p1[i]] xor S_{p3[j]-1}[p2_from[p1[i]]]: two gathers over iv ‖ S, whose block 0 is the iv.
    order = client_key.p3.astype(np.intp)[:, None] * _BLOCK
    source = np.concatenate((iv, s.reshape(len(iv), MATERIAL_BYTES)), axis=1)
    v = source.take((order + _BLOCK + client_key.p1).ravel(), axis=1)
    v ^= source.take((order + client_key.p2_from[client_key.p1]).ravel(), axis=1)
    return _chain(client_key.p2_to, iv, v.reshape(s.shape))


def _chain(p2: Permutation, iv: Blocks, v: Blocks) -> Blocks:
    """Return `T_j = V_j xor p2 * T_{j-1}`, with `T_{-1}` the iv, as n × 528 bytes."""
    # Block-major, so that each of the 33 dependent steps works on one contiguous n × 16 array.
    t = np.ascontiguousarray(v.transpose(1, 0, 2))
    previous, chain = iv, p2.astype(np.intp)
    for j in range(_BLOCKS):
        t[j] ^= previous.take(chain, axis=1)
        previous = t[j]
    return np.ascontiguousarray(t.transpose(1, 0, 2)).reshape(len(iv), MATERIAL_BYTES)


def derive(client_key: ClientKey, ivs: bytes, materials: bytes) -> bytearray:
    """
    Derive one data key per iv from the service's half and our half; neither alone gives the key.

    Arguments and errors as `reencrypt`.

    Returns:
        n × 32 bytes; the caller owns and wipes them.
    """
    domain = reencrypt(client_key, ivs, materials)
    keys = bytearray(KEY_BYTES * len(domain))
    for i, digest in enumerate(_digests(domain)):
        keys[KEY_BYTES * i : KEY_BYTES * (i + 1)] = digest
    domain.fill(0)
    return keys


def _digests(rows: Blocks) -> Iterator[bytes]:
    """Yield the SHA-256 of each row of a contiguous two-dimensional array."""
    data, width, sha256 = (
        memoryview(rows.data).cast("B") if len(rows) else memoryview(b""),
        rows.shape[1],
        hashlib.sha256,
    )
    return (sha256(data[i : i + width]).digest() for i in range(0, len(data), width))


def index_key(client_key: ClientKey, material: bytes) -> bytes:
    """Derive a keyset's 32-byte index key from the 528 bytes that `load-keyset` returns."""
    domain = reencrypt(client_key, bytes(IV_BYTES), material)
    return blake3(b"ZEROKMS-INDEXKEY" + domain.tobytes()).digest()


def check_material(client_key: ClientKey, ivs: bytes, materials: bytes) -> None:
    """
    Refuse material that no honest authority sends: unchained blocks that are not pairwise distinct.

    All-equal blocks would cancel p1 and p3 and leak the client key to an authority that can test ciphertexts. Called
    wherever an answer is accepted. Source: protocol 5.6.

    Raises:
        KeyMaterialError: hostile material, or a length that is not a whole number of items.
    """
    iv, s = _as_blocks(ivs, materials)
    words = _unchain(client_key.p2_from, iv, s).view(np.uint64)
    # Sorting the first halves shows a repetition with one comparison; only where two halves are equal (a chance of
    # 2^-55 for honest material) are the whole blocks looked at.
    halves = np.sort(words[:, :, 0], axis=1)
    for row in np.flatnonzero((halves[:, 1:] == halves[:, :-1]).any(axis=1)):
        if len({block.tobytes() for block in words[row]}) != _BLOCKS:
            raise KeyMaterialError("the key service sent material with repeated blocks, as no honest one does")


def seal_messages(share: Permutations, ivs: bytes, messages: NDArray[np.uint8], pads: NDArray[np.uint8]) -> Blocks:
    """
    Compute the authority's key material `Enc_A(iv, M)` for a batch.

    Args:
        share: the authority share of one client and keyset.
        ivs: n × 16 bytes, concatenated.
        messages: n × 512 bytes.
        pads: n × 512 bytes, `AES-128-CMAC(iv, i)` for i = 0..31 (the all-or-nothing transform's).

    Returns:
        n × 528 bytes.

    Source: protocol 5.2.
    """
    n = len(messages)
    iv = np.frombuffer(ivs, dtype=np.uint8).reshape(n, _BLOCK)
    x = np.empty((n, _BLOCKS, _BLOCK), dtype=np.uint8)
    masked = messages ^ pads
    x[:, :32] = masked.reshape(n, 32, _BLOCK)
    digests = b"".join(digest[:_BLOCK] for digest in _digests(masked))
    x[:, 32] = iv ^ np.frombuffer(digests, dtype=np.uint8).reshape(n, _BLOCK)
    gather = (share.p3.astype(np.intp)[:, None] * _BLOCK + share.p1).ravel()
    return _chain(share.p2, iv, x.reshape(n, MATERIAL_BYTES).take(gather, axis=1).reshape(x.shape))
