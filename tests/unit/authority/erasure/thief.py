"""Who has a store's raw files, its root key and a client's key, and whatever keys lie outside and are still there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.unit.authority.conftest import Party
from worker.authority import material
from worker.authority.decoding import decode_iv
from worker.authority.erasure.subjects import position_of
from worker.authority.erasure.tree import Tree
from worker.authority.material import Item, KeysetSecrets, framed
from worker.authority.seal import Sealer
from worker.authority.store import derived
from worker.errors import ConfigError
from worker.zerokms.derive import Permutations, derive

_OVERHEAD = 29
_SHARE_BYTES = len(Permutations.random().to_cbor())
_HEX = re.compile(rb"01[0-9a-f]{120}")
_VERSION = re.compile(b"(?=\x01)", re.DOTALL)


@dataclass(frozen=True)
class Thief:
    """
    Tries every place of every file as a sealed value, under every key that there is.

    Args:
        raw: the files, dead rows, free pages and logs included.
        root: the root key.
        party: a client of the keyset, with its key.
        outside: the keys that are still to be had from where epochs' and backups' keys are kept.
        keyset: its uuid, which lies in the clear in the store.
    """

    raw: list[bytes]
    root: bytes
    party: Party
    outside: list[bytes]
    keyset: str

    @classmethod
    def of(cls, files: list[Path], root: bytes, party: Party, keys: Path, keyset: str) -> Thief:
        """Take what there is now."""
        outside = [bytes.fromhex(path.read_text()) for path in keys.iterdir()]
        return cls([path.read_bytes() for path in files], root, party, outside, keyset)

    def secret(self) -> bytes:
        """The store's own key."""
        for data in self.raw:
            for found in _HEX.finditer(data):
                try:
                    return Sealer(self.root).open(bytes.fromhex(found[0].decode()), what="meta/key")
                except (ConfigError, ValueError):
                    continue
        raise AssertionError("the store's own key is not there")

    def found(self, key: bytes, what: str, size: int) -> Iterator[bytes]:
        """Everything of a size that opens under a key, wherever it lies."""
        sealer, seen = Sealer(key), set[bytes]()
        for data in self.raw:
            for at in _VERSION.finditer(data):
                piece = data[at.start() : at.start() + size + _OVERHEAD]
                try:
                    opened = sealer.open(piece, what=what)
                except (ConfigError, ValueError):
                    continue
                if opened not in seen:
                    seen.add(opened)
                    yield opened

    def trees(self, secret: bytes) -> Iterator[Tree]:
        """Every state of the tree's first part that opens: whole, or without one position."""
        keys = {
            key
            for under in (*self.outside, secret, self.root, derived(secret, b"trees"))
            for epoch in range(4)
            for key in self.found(under, f"shard/{self.keyset}//{epoch}", 32)
        }
        for key in keys:
            for size in (4 + 32, 4 + 8 + 64 * 32):
                for data in self.found(key, f"nodes/{self.keyset}/", size):
                    yield Tree.from_bytes("", data)

    def opens(self, kept: dict[str, Any], tree: Tree | None = None) -> set[bytes]:
        """Every data key that can be had of a key's public parts, whose context is one value."""
        secret = self.secret()
        [secrets] = self.found(secret, f"keyset/{self.keyset}", 96)
        [share] = self.found(secret, f"grant/{self.party.client_id}/{self.keyset}", _SHARE_BYTES)
        [(name, text)] = [element["Value"] for element in kept["context"]]
        own = KeysetSecrets(UUID(self.keyset), secrets[:32], secrets[32:64], secrets[64:])
        leaves = {each.leaf(position_of(own, (name, text))) for each in ([tree] if tree else self.trees(secret))}
        iv, tag = material_of(kept)
        made = set()
        for leaf in leaves - {None}:
            assert leaf is not None
            item = Item(iv, kept["descriptor"].encode(), b"", tag, framed(leaf))
            answer = material.materials(own, Permutations.from_cbor(share), [item], [tag])
            made.add(bytes(derive(self.party.key, iv, answer)))
        return made


def material_of(kept: dict[str, Any]) -> tuple[bytes, bytes]:
    """The iv and the tag of what an envelope keeps."""
    return decode_iv(kept["iv"]), bytes(kept["tag"])
