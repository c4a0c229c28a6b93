"""A store made again from a backup and the journal since, locked until named people let it go on."""

from __future__ import annotations

import secrets as csprng
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from worker.authority import schema
from worker.authority.access import hash_secret
from worker.authority.audit.chain import SignedHead, head_key
from worker.authority.erasure.epochs import Epochs
from worker.authority.erasure.journaled import replayed
from worker.authority.erasure.keyholder import KeyHolder
from worker.authority.erasure.restored import HeldForADrill, Replanting
from worker.authority.erasure.subjects import Subjects
from worker.authority.head import Head, TamperedStore, total
from worker.authority.recovery.backup import Backup, probe, read_backup
from worker.authority.recovery.journal import read_journal
from worker.authority.recovery.planted import make_store
from worker.authority.seal import Sealer
from worker.authority.store import Row, Store, derived
from worker.errors import ConfigError, RegionViolation
from worker.region import Region


@dataclass(frozen=True, slots=True)
class Anchored:
    """How far the store had come, by an anchor that its host could not rewrite; `head` is what says so."""

    incarnation: int
    version: int
    head: SignedHead | None = None

    @classmethod
    def of(cls, heads: Sequence[SignedHead]) -> Self:
        """Return what the newest of an anchor's heads says; raises `ConfigError` where it has none."""
        newest = max(heads, key=lambda head: head.store, default=None)
        if newest is None:
            raise ConfigError("the anchor has no signed head")
        return cls(*newest.store, newest)

    def check(self, region: str, secret: bytes) -> None:
        """Raise `ConfigError` where the head is another store's: it would not say how far this one had come."""
        if self.head is None:
            return
        key = head_key(lambda purpose: derived(secret, purpose), self.incarnation).public_key()
        if self.head.region != region or not self.head.is_signed_by(key.public_bytes_raw()):
            raise ConfigError("the anchor's newest head is not signed by the backup's authority: is it another one's?")


@dataclass(frozen=True, slots=True)
class Restored:
    """
    A restored store.

    Args:
        version: of the store.
        incarnation: one more than the lost store's: clients that have seen it refuse the old authority.
        credentials: who must present what before anything is answered; shown this once.
        rows: how many.
        took_s: how long it took.
    """

    version: int
    incarnation: int
    credentials: dict[str, str] = field(repr=False)
    rows: int
    took_s: float


@dataclass(frozen=True, slots=True)
class Source:
    """
    A backup's bytes, the age identity that opens it, the journal, and what an anchor has seen.

    `keys` has the keys of erasable keysets' trees, where they are outside the store.
    """

    data: bytes = field(repr=False)
    identity: Path
    journal: Path | None
    anchored: Anchored | None
    keys: KeyHolder | None = None


def restore(place: Path | str, region: Region, root: Sealer, source: Source, people: Sequence[str]) -> Restored:
    """
    Make a store where none is.

    Args:
        place: of the SQLite file; or the URL of an empty PostgreSQL database.
        region: the backup's own.
        root: under the lost store's root key.
        source: what it is made of.
        people: who unlock it, each with a credential of their own; four eyes are two names.

    Raises:
        RegionViolation: the backup is another region's.
        ConfigError: there is a store already; or the backup or the journal is not whole, or ends before the anchor.
        TamperedStore: the backup's rows are not those that the authority wrote.
    """
    began = time.perf_counter()
    if isinstance(place, Path) and place.exists():
        raise ConfigError(f"{place} exists: a backup is restored to where no store is")
    backup = read_backup(source.data, source.identity)
    if backup.region != str(region):
        raise RegionViolation(f"the backup is {backup.region}'s, it is restored for {region}")
    secret = root.open(bytes.fromhex(backup.meta["key"]), what="meta/key")
    head = Head.open(backup.meta["head"], Sealer(secret), str(region))
    _check(backup, head, secret)
    if source.anchored is not None:
        source.anchored.check(str(region), secret)
    backed_up = dict(backup.tables["shards"])
    version = _replay(backup.tables, head, secret, source)
    own = Sealer(derived(secret, b"trees"))
    Replanting(backup.tables, backed_up, own, source.keys, backup.trees, time.time()).plant(str(region))
    # Who holds the lost host's memory could sign tokens: the new one makes keys of its own.
    backup.tables["signing_keys"].clear()
    credentials = {name: csprng.token_urlsafe(32) for name in people}
    lock = tuple(hash_secret(text).hex() for text in credentials.values())
    key = derived(secret, b"rows")
    sums = {str(t.name): total(key, t, list(backup.tables[str(t.name)].values())) for t in schema.AUTHORISING}
    risen = Head(version + 1, head.incarnation + 1, sums, lock)
    meta = {"region": str(region), "key": backup.meta["key"], "head": risen.seal(Sealer(secret), str(region))}
    make_store(place, meta, backup.tables)
    rows = sum(len(table) for table in backup.tables.values())
    return Restored(risen.version, risen.incarnation, credentials, rows, time.perf_counter() - began)


def drill(region: Region, root: Sealer, source: Source) -> dict[str, Any]:
    """Restore into a directory that is thrown away, and compare what every keyset computes with what it computed."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="drill-") as directory:
        path = Path(directory) / "authority.sqlite"
        keys = None if source.keys is None else HeldForADrill(source.keys)
        restored = restore(path, region, root, replace(source, keys=keys), ["drill"])
        backup: Backup = read_backup(source.data, source.identity)
        store = Store(path, region, root)
        try:
            keysets, subjects = store.state.keysets, Subjects(store, Epochs(store, keys))
            wrong = [
                k
                for k, expected in backup.probes.items()
                if k in keysets and probe(store, keysets[k], subjects) != expected
            ]
            found = {"keysets": len(keysets), "clients": len(store.state.clients), "version": restored.version}
        finally:
            store.close()
    return {**found, "wrong": wrong, "recovery_s": round(time.perf_counter() - began, 3)}


def _check(backup: Backup, head: Head, secret: bytes) -> None:
    if head.unknown:
        raise ConfigError(
            f"a newer version wrote this backup ({', '.join(head.unknown)}): restore it with that version"
        )
    key = derived(secret, b"rows")
    for table in schema.AUTHORISING:
        if total(key, table, list(backup.tables[str(table.name)].values())) != head.sums.get(str(table.name)):
            raise TamperedStore(f"the backup's rows of {table.name} are not those that the authority wrote")
    # Whoever knows a recipient can write a backup; what it has the key command asked for must be the authority's.
    if backup.trees is not None and backup.trees not in backup.tables["wrapping_keys"]:
        raise TamperedStore("the backup's trees are under a key that the authority did not make")


def _replay(tables: dict[str, dict[Any, Row]], head: Head, secret: bytes, source: Source) -> int:
    reached = head.version
    if source.journal is not None:
        for version, changes in read_journal(source.journal, derived(secret, b"journal"), head.incarnation, reached):
            reached = version
            replayed(tables["shards"], changes)
            for change in (change for change in changes if change.table.name != "shards"):
                if change.row is None:
                    tables[str(change.table.name)].pop(change.key, None)
                else:
                    tables[str(change.table.name)][change.key] = change.row
    if source.anchored is None:
        raise ConfigError("a restore needs an anchor (--anchor): it says how far the journal must reach")
    if (head.incarnation, reached) < (source.anchored.incarnation, source.anchored.version):
        raise ConfigError(
            f"backup and journal reach version {reached}, the anchor has seen {source.anchored.version}: what was "
            "revoked since would be in force again. Find the rest of the journal"
        )
    return reached
