"""
What stands in a ledger for the entries that were removed from a chain's start.

A checkpoint says where the removed entries ended and what they added up to. It is signed (HMAC-SHA256) under the index
key of a keyset of the region, which neither the database's administrator nor the broker's has: a chain that somebody
else cut short has no checkpoint where its entries begin.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from uuid import UUID

import orjson

from worker.errors import FatalError
from worker.sink.ledger import START, Head, Link, follow

_LABEL = b"the ledger's checkpoint\n"
KeyOf = Callable[[UUID], bytes]
"""A keyset's index key, 32 bytes."""
Told = Callable[[str], None]
"""Is told each receipt of the authority's audit that a verified entry has."""


def ignored(_receipt: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where the removed entries of a chain end, and the sums of their keys and values."""

    chain: str
    head: Head
    keys: int
    values: int
    keyset: UUID
    signature: bytes = b""

    def signed(self, key_of: KeyOf) -> Checkpoint:
        """Return the same with its signature."""
        return replace(self, signature=self._code(key_of))

    def check(self, key_of: KeyOf) -> None:
        """Raise `FatalError` where it is not what was signed."""
        if not hmac.compare_digest(self.signature, self._code(key_of)):
            raise FatalError(f"ledger chain {self.chain}: its checkpoint is not this region's, or was altered")

    def as_json(self) -> bytes:
        """Return it as it lies in the ledger's topic."""
        return orjson.dumps({"checkpoint": self._fields(), "signature": self.signature.hex()})

    def _code(self, key_of: KeyOf) -> bytes:
        return hmac.digest(
            key_of(self.keyset), _LABEL + orjson.dumps(self._fields(), option=orjson.OPT_SORT_KEYS), hashlib.sha256
        )

    def _fields(self) -> dict[str, object]:
        return {
            "chain": self.chain,
            "hash": self.head.hash.hex(),
            "keys": self.keys,
            "keyset": str(self.keyset),
            "sequence": self.head.sequence,
            "values": self.values,
        }


@dataclass(frozen=True, slots=True)
class ChainReport:
    """One chain that was followed from its start or its checkpoint to its end; sums include what was removed."""

    chain: str
    entries: int
    removed: int
    keys: int
    values: int


class Follower:
    """
    Follows one chain from its checkpoint, if it has one.

    Args:
        chain: its name.
        checkpoint: verified.
        told: each receipt of the authority's audit.
    """

    def __init__(self, chain: str, checkpoint: Checkpoint | None, told: Told = ignored) -> None:
        self.chain = chain
        self._told = told
        self.head = START if checkpoint is None else checkpoint.head
        self.removed = self.head.sequence
        self.keys = 0 if checkpoint is None else checkpoint.keys
        self.values = 0 if checkpoint is None else checkpoint.values

    def take(self, links: Iterable[Link]) -> None:
        """
        Go on over the next entries; those before the checkpoint are passed over.

        Raises:
            FatalError: an entry is altered, missing or out of order.
        """
        for link in links:
            if link.fields["sequence"] < self.removed:
                continue
            self.head = follow([link], self.head)
            self.keys += link.fields["keys"]
            self.values += link.fields["values"]
            for receipt in link.fields.get("audited", ()):
                self._told(receipt)

    def checkpoint(self, keyset: UUID, key_of: KeyOf) -> Checkpoint:
        """Return what stands for everything followed so far."""
        return Checkpoint(self.chain, self.head, self.keys, self.values, keyset).signed(key_of)

    def report(self) -> ChainReport:
        """Return what was found."""
        return ChainReport(self.chain, self.head.sequence - self.removed, self.removed, self.keys, self.values)


def parse_checkpoint(document: bytes) -> Checkpoint | None:
    """Return the checkpoint that a message of the ledger's topic holds, None for an entry."""
    found = orjson.loads(document)
    if "checkpoint" not in found:
        return None
    fields = found["checkpoint"]
    head = Head(int(fields["sequence"]), bytes.fromhex(fields["hash"]))
    return Checkpoint(
        fields["chain"],
        head,
        int(fields["keys"]),
        int(fields["values"]),
        UUID(fields["keyset"]),
        bytes.fromhex(found["signature"]),
    )
