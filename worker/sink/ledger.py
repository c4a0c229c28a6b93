"""
The worker's own ledger: one entry a batch and partition, each holding the hash of the one before.

The hash is SHA-256 over the previous entry's hash (32 zero bytes before the first) followed by the entry's fields as
JSON with sorted keys, no spaces and UUIDs in lower case (docs/contracts.md, 10).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson

from worker.errors import FatalError
from worker.sink.base import LedgerRow

GENESIS = bytes(32)
"""What stands in `prev_hash` of a chain's first entry."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends: how many entries came before, and the hash of the last one."""

    sequence: int
    hash: bytes


START = Head(0, GENESIS)
"""Where every chain begins."""


@dataclass(frozen=True, slots=True)
class Link:
    """An entry as it was found: what its hash covers, the hash of the one before, and its own."""

    fields: Mapping[str, Any]
    prev_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A row in its place in a chain; `sequence` counts from 0 without gaps."""

    row: LedgerRow
    chain: str
    sequence: int
    prev_hash: bytes

    def fields(self) -> dict[str, object]:
        """Return what the hash covers, as JSON values."""
        row = self.row
        # An entry of a version that knew no receipts hashes as it did.
        audited = {"audited": list(row.audited)} if row.audited else {}
        return {
            **audited,
            "batch": str(row.batch),
            "chain": self.chain,
            "first_offset": row.first_offset,
            "format": row.format,
            "keys": row.keys,
            "keyset": str(row.keyset),
            "last_offset": row.last_offset,
            "partition": row.partition,
            "request_ids": [str(r) for r in row.request_ids],
            "schema_id": row.schema_id,
            "sequence": self.sequence,
            "topic": row.topic,
            "values": row.values,
        }

    @property
    def hash(self) -> bytes:
        """32 bytes."""
        return hash_fields(self.prev_hash, self.fields())

    def as_json(self) -> bytes:
        """Return the entry as it lies in the ledger topic: the fields, `prev_hash` and `hash` in hex."""
        return orjson.dumps(
            {**self.fields(), "prev_hash": self.prev_hash.hex(), "hash": self.hash.hex()}, option=orjson.OPT_SORT_KEYS
        )


class Chain:
    """
    A writer's own chain, extended by one batch after another; nobody else writes to it.

    Where it is not known whether the last entries were written, the chain ends: entries that went on from what may not
    be its head would fork it, and a fork is what an alteration looks like.
    """

    def __init__(self) -> None:
        self.doubt()

    def link(self, rows: Iterable[LedgerRow]) -> list[LedgerEntry]:
        """Return the rows as entries behind the last that was `kept`."""
        return link(rows, chain=self.name, sequence=self._sequence, prev_hash=self._head)

    def kept(self, entries: Sequence[LedgerEntry]) -> None:
        """These were written."""
        if entries:
            self._sequence, self._head = entries[-1].sequence + 1, entries[-1].hash

    def doubt(self) -> None:
        """Begin another chain: whether the last entries were written is unknown."""
        self.name = str(uuid4())
        self._sequence, self._head = 0, GENESIS


def hash_fields(prev_hash: bytes, fields: Mapping[str, object]) -> bytes:
    """Return an entry's hash."""
    return hashlib.sha256(prev_hash + orjson.dumps(dict(fields), option=orjson.OPT_SORT_KEYS)).digest()


def link(rows: Iterable[LedgerRow], *, chain: str, sequence: int, prev_hash: bytes) -> list[LedgerEntry]:
    """Return the rows as entries that continue a chain at `sequence` after the entry that hashed to `prev_hash`."""
    entries: list[LedgerEntry] = []
    for row in rows:
        entry = LedgerEntry(row, chain, sequence, prev_hash)
        entries.append(entry)
        sequence, prev_hash = sequence + 1, entry.hash
    return entries


def parse(document: bytes) -> Link:
    """Return an entry as `LedgerEntry.as_json` wrote it."""
    fields = orjson.loads(document)
    return Link(fields, bytes.fromhex(fields.pop("prev_hash")), bytes.fromhex(fields.pop("hash")))


def follow(links: Iterable[Link], head: Head) -> Head:
    """
    Check a chain's entries, in order, and return where they end.

    Args:
        links: the entries.
        head: where the chain ends before the first of them.

    Raises:
        FatalError: an entry is altered, missing or out of order; the message names the sequence.
    """
    for item in links:
        fields, sequence = item.fields, head.sequence
        if fields["sequence"] != sequence or not hmac.compare_digest(item.prev_hash, head.hash):
            raise FatalError(f"ledger chain {fields['chain']} is broken before entry {sequence}")
        found = hash_fields(item.prev_hash, fields)
        if not hmac.compare_digest(item.hash, found):
            raise FatalError(f"ledger chain {fields['chain']}: entry {sequence} is altered")
        head = Head(sequence + 1, found)
    return head


def verify(documents: Iterable[bytes]) -> int:
    """Check one chain from its first entry, as `LedgerEntry.as_json` wrote it; return how many entries it has."""
    return follow(map(parse, documents), START).sequence
