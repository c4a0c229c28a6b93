"""
The store's head: what makes a row that somebody else wrote, altered, removed or put back stop the authority.

Each row of a table that authorises has a term, `HMAC-SHA256(k, framed(table, row))` as a number, under a key that
never enters the store. The head keeps, sealed, the store's version and each table's sum of terms mod 2^256; every
write moves both. The terms themselves are nowhere: from visible ones another set of rows with the same sum could be
searched for.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Table

from worker.authority import schema
from worker.authority.material import framed
from worker.authority.seal import Sealer
from worker.errors import FatalError

Row = dict[str, Any]
_MODULUS = 1 << 256


class TamperedStore(FatalError):
    """The store's rows are not those that the authority wrote; it gives no rights from them and stops."""


@dataclass(frozen=True, slots=True)
class Head:
    """
    One state of the store.

    Args:
        version: rises by one with every write.
        incarnation: rises by one with every restore; an older one of the same store is refused by clients.
        sums: of each table's terms.
        lock: hashes of the credentials that a restored store waits for, hex; none where it is not locked.
    """

    version: int
    incarnation: int
    sums: dict[str, int] = field(repr=False)
    lock: tuple[str, ...] = ()

    @property
    def unknown(self) -> list[str]:
        """Tables that a newer version has written: what this one would ignore may forbid something."""
        known = {str(table.name) for table in schema.AUTHORISING}
        return sorted(name for name, value in self.sums.items() if value and name not in known)

    def seal(self, sealer: Sealer, region: str) -> str:
        """Return the form that the store keeps, hex; it opens for no other region."""
        # An older replica beside this one knows nothing of later tables, and must not have to while nothing is in them.
        known = {name: value for name, value in self.sums.items() if value or name in schema.FIRST}
        sums = {str(name): f"{value:064x}" for name, value in known.items()}
        body = {"version": self.version, "incarnation": self.incarnation, "sums": sums, "lock": self.lock}
        return sealer.seal(orjson.dumps(body), what=_what(region)).hex()

    @classmethod
    def open(cls, sealed: str, sealer: Sealer, region: str) -> Head:
        """Read what `seal` wrote; raises `ConfigError` where it is another store's."""
        body = orjson.loads(sealer.open(bytes.fromhex(sealed), what=_what(region)))
        # A table that is newer than the head was empty when that was written.
        sums = {str(table.name): 0 for table in schema.AUTHORISING}
        sums |= {name: int(value, 16) for name, value in body["sums"].items()}
        return cls(body["version"], body["incarnation"], sums, tuple(body["lock"]))


def _what(region: str) -> str:
    return f"meta/head/{region}"


def term(key: bytes, table: Table, row: Row) -> int:
    """Return a row's term; columns that only inform, and later ones that are null, are left out."""
    kept = {str(name): value for name, value in row.items() if (table.name, name) not in schema.INFORMING}
    for _, name in (place for place in schema.ADDED if place[0] == table.name):
        if kept.get(name) is None:
            kept.pop(name, None)
    text = orjson.dumps(kept, default=bytes.hex, option=orjson.OPT_SORT_KEYS)
    return int.from_bytes(hmac.digest(key, framed(table.name.encode(), text), "sha256"))


def total(key: bytes, table: Table, rows: list[Row]) -> int:
    """Return a table's sum of terms."""
    return sum(term(key, table, row) for row in rows) % _MODULUS


def moved(value: int, *, less: int = 0, more: int = 0) -> int:
    """Return a sum with one term taken out and one put in."""
    return (value - less + more) % _MODULUS
