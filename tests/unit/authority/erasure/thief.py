"""Who has a store's raw files, its root key and a client's key, and whatever keys lie outside and are still there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import orjson

from tests.unit.authority.conftest import Party
from tests.unit.authority.erasure.conftest import KeyService, People
from worker.authority import material
from worker.authority.decoding import decode_iv
from worker.authority.erasure.subjects import position_of
from worker.authority.erasure.tree import Tree
from worker.authority.material import Item, KeysetSecrets, framed
from worker.authority.recovery.journal import read_journal
from worker.authority.seal import Sealer, root_from_file
from worker.authority.store import derived
from worker.errors import ConfigError
from worker.zerokms.derive import Permutations, derive

_OVERHEAD = 29
_SHARE_BYTES = len(Permutations.random().to_cbor())
_HEX = re.compile(rb"01[0-9a-f]{120}")
VERSION = b"\x01"
ANN = ("customer_id", 42)


def anywhere(_size: int) -> tuple[bytes, ...]:
    """What stands before a sealed value of a size, where nothing is known of that."""
    return (b"",)


@dataclass(frozen=True)
class Copy:
    """
    Raw bytes that were taken.

    Args:
        data: in which each sealed value is in one piece.
        before: returns what may stand before one of a size.
    """

    data: bytes = field(repr=False)
    before: Callable[[int], Sequence[bytes]] = anywhere
    _pieces: dict[int, set[bytes]] = field(default_factory=dict, repr=False)

    def pieces(self, size: int) -> set[bytes]:
        """Everything of a size that may be a sealed value."""
        if size not in self._pieces:
            heads = self.before(size)
            self._pieces[size] = {self.data[at : at + size] for head in heads for at in self._places(head)}
        return self._pieces[size]

    def _places(self, head: bytes) -> Iterator[int]:
        at = self.data.find(head + VERSION)
        while at >= 0:
            yield at + len(head)
            at = self.data.find(head + VERSION, at + 1)


@dataclass(frozen=True)
class Thief:
    """
    Tries every place of every file as a sealed value, under every key that there is.

    Args:
        raw: the files, dead rows, free pages and logs included.
        root: the root key.
        secret: the store's own key, which is sealed under that.
        party: a client of the keyset, with its key.
        outside: the keys that are still to be had from where epochs' and backups' keys are kept.
        keyset: its uuid, which lies in the clear in the store.
        erased: the values that were erased, in this order.
    """

    raw: list[Copy]
    root: bytes
    secret: bytes
    party: Party
    outside: list[bytes]
    keyset: str
    erased: Sequence[tuple[str, object]]

    @classmethod
    def of(
        cls, people: People, place: Path, service: KeyService, raw: list[Copy], erased: Sequence[tuple[str, object]]
    ) -> Self:
        """Take what there is now: the root key, the client's key, and the keys outside that are still there."""
        keysets = people.own.admin("list-keysets", {"show_disabled": False})
        (keyset,) = [each["id"] for each in keysets if each["name"] == "people"]
        outside = [bytes.fromhex(path.read_text()) for path in service.place.iterdir()]
        root = root_from_file(place / "own" / "root.key")
        secret = _secret(raw, root)
        raw = [*raw, _journal(place / "journal", secret)]
        return cls(raw, root, secret, people.client, outside, keyset, erased)

    @property
    def with_journal_alone(self) -> Self:
        """Who has, of the files, what `of` has opened of the journal."""
        return replace(self, raw=self.raw[-1:])

    def found(self, key: bytes, what: str, size: int) -> Iterator[bytes]:
        """Everything of a size that opens under a key, wherever it lies."""
        sealer, seen = Sealer(key), set[bytes]()
        for piece in set[bytes]().union(*(copy.pieces(size + _OVERHEAD) for copy in self.raw)):
            try:
                opened = sealer.open(piece, what=what)
            except (ConfigError, ValueError):
                continue
            if opened not in seen:
                seen.add(opened)
                yield opened

    def trees(self, own: KeysetSecrets) -> Iterator[Tree]:
        """Every state of the tree's first part that opens: whole, or without the first of what was erased."""
        keys = {
            key
            for under in (*self.outside, self.secret, self.root, derived(self.secret, b"trees"))
            for epoch in range(4)
            for key in self.found(under, f"shard/{self.keyset}//{epoch}", 32)
        }
        out = [position_of(own, (name, str(text))) for name, text in self.erased]
        sizes = [len(Tree.random().without(out[:count]).to_bytes()) for count in range(len(out) + 1)]
        for key in keys:
            for size in sizes:
                for data in self.found(key, f"nodes/{self.keyset}/", size):
                    yield Tree.from_bytes("", data)

    def opens(self, kept: dict[str, Any], tree: Tree | None = None) -> set[bytes]:
        """Every data key that can be had of a key's public parts, whose context is one value."""
        [secrets] = self.found(self.secret, f"keyset/{self.keyset}", 96)
        [share] = self.found(self.secret, f"grant/{self.party.client_id}/{self.keyset}", _SHARE_BYTES)
        [(name, text)] = [element["Value"] for element in kept["context"]]
        own = KeysetSecrets(UUID(self.keyset), secrets[:32], secrets[32:64], secrets[64:])
        trees = [tree] if tree else self.trees(own)
        leaves = {each.leaf(position_of(own, (name, text))) for each in trees}
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


def _secret(raw: list[Copy], root: bytes) -> bytes:
    for copy in raw:
        for found in _HEX.finditer(copy.data):
            try:
                return Sealer(root).open(bytes.fromhex(found[0].decode()), what="meta/key")
            except (ConfigError, ValueError):
                continue
    raise AssertionError("the store's own key is not there")


def _journal(path: Path, secret: bytes) -> Copy:
    """Open the journal, as the store's own key can, and take what its rows have sealed."""
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    stores = {line["incarnation"]: line["version"] for line in reversed(lines)}
    key = derived(secret, b"journal")
    versions = [each for store, first in stores.items() for each in read_journal(path, key, store, first - 1)]
    values = [value for _, changes in versions for change in changes for value in (change.row or {}).values()]
    return Copy(b"".join(value for value in values if isinstance(value, bytes)))
