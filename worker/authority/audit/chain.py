"""
The chain: each line names the SHA-256 of the line before it, and a head is the newest line's place and hash, signed.

A line is one JSON object with `chain` (uuid), `seq` (from 0), `prev` (hex, 64 zeros at first) and `salt` (16 random
bytes in hex, so that a published hash says nothing of what it is of). Its hash is the SHA-256 of its bytes without the
line feed. A head says the store's incarnation and version besides; its signature is Ed25519 over
`authority-audit-head-1 LF region LF chain LF seq LF hash LF incarnation LF version`.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ENTRY_BYTES = 16 * 1024
"""The longest line; what is more stands as its hash."""
REASON_CHARACTERS = 512
"""What a line always has of a caller's reason."""
FIRST = "0" * 64
_LINKS_BYTES = 512
_MARK = 8
_SHORTENED = ("unverified_context", "contexts", "descriptors", "what", "deleted")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line stands: its chain, its number and its hash."""

    chain: str
    sequence: int
    hash: str

    def __str__(self) -> str:
        return f"{self.chain} {self.sequence} {self.hash}"


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A chain's newest line at some moment, signed by the authority."""

    region: str
    place: Place
    store: tuple[int, int]
    signature: str

    @classmethod
    def sign(cls, key: Ed25519PrivateKey, region: str, place: Place, store: tuple[int, int]) -> Self:
        """Sign a place and the store's incarnation and version."""
        return cls(region, place, store, base64.b64encode(key.sign(_signed(region, place, store))).decode())

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Self:
        """Read what `to_json` wrote; raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        place = Place(str(body["chain"]), int(body["seq"]), str(body["hash"]))
        store = int(body["incarnation"]), int(body["version"])
        return cls(str(body["region"]), place, store, str(body["signature"]))

    def __str__(self) -> str:
        return f"{self.place} {self.store[0]} {self.store[1]} {self.signature}"

    def is_signed_by(self, key: bytes) -> bool:
        """Whether the raw public key's owner signed it."""
        try:
            signature = base64.b64decode(self.signature, validate=True)
            Ed25519PublicKey.from_public_bytes(key).verify(signature, _signed(self.region, self.place, self.store))
        except (InvalidSignature, ValueError):
            return False
        return True

    def to_json(self) -> dict[str, Any]:
        """Return the form that an anchor keeps."""
        place = self.place
        head = {"chain": place.chain, "seq": place.sequence, "hash": place.hash}
        store = {"incarnation": self.store[0], "version": self.store[1]}
        return {**head, **store, "region": self.region, "signature": self.signature}


def head_key(derived: Callable[[bytes], bytes], incarnation: int) -> Ed25519PrivateKey:
    """Return the key that heads of one incarnation of a store are signed with, of what derives the store's own keys."""
    return Ed25519PrivateKey.from_private_bytes(derived(b"audit-heads/%d" % incarnation))


def _signed(region: str, place: Place, store: tuple[int, int]) -> bytes:
    parts = ("authority-audit-head-1", region, place.chain, place.sequence, place.hash, *store)
    return "\n".join(map(str, parts)).encode()


def body_of(event: dict[str, Any]) -> bytes:
    """Return what a line says of an event, with room for its links; raises `TypeError` for no JSON."""
    salt = os.urandom(16)
    event = {**event, "salt": salt.hex()}
    body = orjson.dumps(event)
    for name in _SHORTENED:
        if len(body) <= ENTRY_BYTES - _LINKS_BYTES:
            break
        if event.get(name):
            digest = hashlib.sha256(salt + orjson.dumps(event[name], option=orjson.OPT_SORT_KEYS)).hexdigest()
            short: dict[str, Any] = {"sha256": digest, "items": len(event[name])}
            if name == "descriptors" and _MARK * len(event[name]) <= ENTRY_BYTES // 2:
                # Nobody hides a field from an auditor by asking for it among many long ones.
                short["each"] = "".join(sorted(mark_of(text, salt) for text in event[name]))
            if name == "unverified_context" and isinstance(event[name].get("reason"), str):
                # Nor what was said that keys are for.
                short["reason"] = event[name]["reason"][:REASON_CHARACTERS]
            event = {**event, name: short}
            body = orjson.dumps(event)
    return body


def mark_of(descriptor: str, salt: bytes) -> str:
    """Return what a shortened line has of each descriptor: 8 hex characters, other ones on every line."""
    return hashlib.sha256(salt + descriptor.encode()).hexdigest()[:_MARK]


def line_of(body: bytes, place: Place, store: tuple[int, int]) -> bytes:
    """Return the next line after `place`, without its line feed and at most `ENTRY_BYTES` long."""
    links = {"incarnation": store[0], "store": store[1], "chain": place.chain, "seq": place.sequence + 1}
    return body[:-1] + b"," + orjson.dumps({**links, "prev": place.hash})[1:]


def hash_of(line: bytes) -> str:
    """Return a line's hash."""
    return hashlib.sha256(line).hexdigest()
