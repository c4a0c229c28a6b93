"""The authority's store: SQLite for one machine, PostgreSQL for many replicas; read from memory."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from worker.authority import schema
from worker.authority.adopt import reseal
from worker.authority.database import alone, engine_of, in_words, migrate, newer_schema, open_alone
from worker.authority.head import Head, TamperedStore, moved, term, total
from worker.authority.seal import ROOT_BYTES, Sealer
from worker.authority.state import Changed, Row, State, read_rows, where_key
from worker.authority.transaction import Transaction, changes_since
from worker.errors import ConfigError, RegionViolation
from worker.region import Region

__all__ = ["Row", "State", "Store"]
Lock = tuple[str, ...]
BeforeCommit = Callable[[Head, Sequence[Changed], Callable[[], object]], None]
_REKEYED = "rekeyed"
_HEAD = select(schema.meta.c.value).where(schema.meta.c.name == "head")
_TABLES = {table.name: table for table in schema.AUTHORISING}


class Store:
    """
    Opens, migrates, pins and authenticates the store.

    A write is durable when `write` returns; the next request sees it. `is_away` says that the last look found nothing.

    Args:
        place: a SQLite file, which one process owns; or the URL of a PostgreSQL database, which replicas share.
        region: the store's own.
        root: under the root key, which seals the store's key and nothing else.
        former: under the root key of before; what it still seals is sealed under `root` from here on
            (`rekeyed`, until `rekeying_told`).
        before_commit: is told what a write is about to become, the rows it wrote, and what raises where the write's
            transaction is one no more; raising undoes the write.

    Raises:
        RegionViolation: the store is another region's.
        ConfigError: the root key is not the store's, or another process has the store.
        TamperedStore: its rows are not those that the authority wrote.
    """

    def __init__(
        self,
        place: Path | str,
        region: Region,
        root: Sealer,
        *,
        former: Sealer | None = None,
        before_commit: BeforeCommit = lambda _head, _changes, _still: None,
    ) -> None:
        self.region = region
        self.before_commit = before_commit
        self.broken: str | None = None
        self.is_away = False
        self._root, self._former = root, former
        self.rekeyed = False
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self.is_shared = isinstance(place, str)
        self.state: State
        self.head: Head
        self._owner = open_alone(place) if isinstance(place, Path) else None
        self._engine = engine_of(place)
        try:
            with in_words(self._engine):
                migrate(self._engine)
                secret = self._pin()
                self.sealer = Sealer(secret)
                self._rows_key = derived(secret, b"rows")
                self._secret = secret
                self._load()
        except BaseException:
            self.close()
            raise

    def write(
        self, change: Callable[[Transaction], object], *, lock: Callable[[Lock], Lock] = lambda lock: lock
    ) -> None:
        """Run `change` in one transaction and let every later request see it; `lock` says what it waits for then."""
        # Whoever looks at the store waits for no write: of another replica that stands still, or whose journal hangs.
        with self._writing, self._engine.connect().execution_options(write=True) as connection:
            with connection.begin():
                if self.is_shared:
                    connection.execute(_HEAD.with_for_update())
                with self._lock:
                    self._catch_up(connection)
                # Until this is committed nobody writes another version.
                transaction = Transaction(connection, self.state, self.head, self._rows_key)
                try:
                    change(transaction)
                except TamperedStore as exc:
                    self._not_ours(connection, str(exc))
                head = transaction.finish(lock(self.head.lock))
                sealed = head.seal(self.sealer, str(self.region))
                _keep(connection, "head", sealed)
                self.before_commit(head, transaction.changes, lambda: connection.execute(select(1)))
            with self._lock:
                # Else somebody has looked since the commit, and has found it.
                if self.head.version < head.version:
                    self.head, self.state, self._sealed_head = head, self.state.after(transaction.changes), sealed

    def note(self, table: Any, key: Any, values: Row) -> None:
        """Write columns that only inform; the store's version does not move."""
        with self._engine.connect().execution_options(write=True) as connection, connection.begin():
            connection.execute(update(table).where(where_key(table, key)).values(values))
        with self._lock:
            known = self.state.tables[table.name].get(key)
            if known is not None:
                self.state = self.state.after([Changed(table, key, {**known, **values})])

    def refresh(self) -> None:
        """See what other replicas have written; raises `TamperedStore` where something else has."""
        try:
            with self._lock, self._engine.connect() as connection:
                self._catch_up(connection)
        except SQLAlchemyError:
            self.is_away = True
            raise
        self.is_away = False

    def rekeying_told(self) -> None:
        """Note that the audit has its line of the change of root keys."""
        with self._engine.connect().execution_options(write=True) as connection, connection.begin():
            connection.execute(delete(schema.meta).where(schema.meta.c.name == _REKEYED))
        self.rekeyed = False

    def snapshot(self) -> tuple[State, Head, str]:
        """Return the store as of its newest version, its head, and its key as the root key sealed it, hex."""
        with self._lock, self._engine.connect() as connection:
            self._catch_up(connection)
            query = select(schema.meta.c.value).where(schema.meta.c.name == "key")
            return self.state, self.head, connection.execute(query).scalar_one()

    def derived(self, purpose: bytes) -> bytes:
        """Return a key of the store's own for one purpose, 32 bytes."""
        return derived(self._secret, purpose)

    def close(self) -> None:
        """Close the store and let another process have it."""
        self._engine.dispose()
        if self._owner is not None:
            self._owner.close()

    def _catch_up(self, connection: Connection) -> None:
        sealed = connection.execute(_HEAD).scalar()
        if sealed is None:
            self._break("the store's head is missing")
        if sealed == self._sealed_head:
            return
        head = self._head(sealed)
        if (head.incarnation, head.version) <= (self.head.incarnation, self.head.version):
            if head != self.head:
                self._break("the store has been put back to an older state")
            self._sealed_head = sealed
            return
        if head.incarnation != self.head.incarnation:
            # What this process signs the audit with is of the incarnation that it began in.
            self._break("the store has been restored meanwhile: start this process anew")
        named = changes_since(connection, self.head.version, head.version, _TABLES)
        if named is None:
            self._load(connection)
            return
        changes: list[Changed] = []
        sums = dict(self.head.sums)
        for name, key in named:
            table = _TABLES[name]
            if any(c.table is table and c.key == key for c in changes):
                continue
            found = connection.execute(select(table).where(where_key(table, key))).first()
            row, old = None if found is None else dict(found._mapping), self.state.tables[name].get(key)
            less, more = (0 if r is None else term(self._rows_key, table, r) for r in (old, row))
            sums[name] = moved(sums[name], less=less, more=more)
            changes.append(Changed(table, key, row))
        if sums != head.sums:
            self._not_ours(connection, "rows of the store are not those that the authority wrote")
        self.head, self.state, self._sealed_head = head, self.state.after(changes), sealed

    def _head(self, sealed: str) -> Head:
        try:
            head = Head.open(sealed, self.sealer, str(self.region))
        except (ConfigError, ValueError):
            self._break("the store's head is not one that the authority wrote")
        if head.unknown:
            self._break(f"a newer version has written {', '.join(head.unknown)}: run that version here too")
        return head

    def _not_ours(self, connection: Connection, reason: str) -> NoReturn:
        newer = newer_schema(connection)
        more = f", or a newer version (schema {newer}) has written what this one does not know: run that one here too"
        self._break(reason if newer is None else reason + more)

    def _break(self, reason: str) -> NoReturn:
        self.broken = reason
        raise TamperedStore(f"{reason}; the authority stops. Restore the store, or find out who administers it")

    def _load(self, connection: Connection | None = None) -> None:
        if connection is None:
            with self._engine.connect() as own:
                self._load(own)
                return
        sealed = connection.execute(_HEAD).scalar()
        if sealed is None:
            self._break("the store's head is missing")
        head, state = self._head(sealed), State.read(connection)
        for table in schema.AUTHORISING:
            if total(self._rows_key, table, list(state.tables[table.name].values())) != head.sums.get(table.name):
                self._not_ours(connection, f"the rows of {table.name} are not those that the authority wrote")
        self.head, self.state, self._sealed_head = head, state, sealed

    def _pin(self) -> bytes:
        with self._engine.connect().execution_options(write=True) as connection, connection.begin():
            alone(connection)
            found = {r.name: r.value for r in connection.execute(select(schema.meta))}
            if found and found.get("region") != str(self.region):
                raise RegionViolation(f"the store is {found.get('region')}'s, the authority serves {self.region}")
            if "key" in found:
                self.rekeyed = _REKEYED in found
                return self._own_key(connection, bytes.fromhex(found["key"]))
            secret = os.urandom(ROOT_BYTES)
            rows = {table: list(read_rows(connection, table).values()) for table in schema.AUTHORISING}
            if "root" in found and not self.is_shared and "head" not in found:
                # A store from before it had a key of its own: everything is sealed under the root key itself.
                self._root.open(bytes.fromhex(found["root"]), what="meta/root")
                reseal(connection, self._root, Sealer(secret))
                rows = {table: list(read_rows(connection, table).values()) for table in schema.AUTHORISING}
            elif found or any(rows.values()):
                # To begin anew over rows would be to believe them; no database ever held a store without a key.
                raise TamperedStore("the store has rows and no key of its own; restore it")
            else:
                connection.execute(insert(schema.meta), {"name": "region", "value": str(self.region)})
            key = derived(secret, b"rows")
            head = Head(1, 1, {table.name: total(key, table, rows[table]) for table in schema.AUTHORISING})
            _keep(connection, "head", head.seal(Sealer(secret), str(self.region)))
            _keep(connection, "key", self._root.seal(secret, what="meta/key").hex())
            return secret

    def _own_key(self, connection: Connection, sealed: bytes) -> bytes:
        try:
            return self._root.open(sealed, what="meta/key")
        except ConfigError:
            if self._former is None:
                raise
        secret = self._former.open(sealed, what="meta/key")
        _keep(connection, "key", self._root.seal(secret, what="meta/key").hex())
        # Until the audit has its line, which is not of this transaction.
        _keep(connection, _REKEYED, "")
        self.rekeyed = True
        return secret


def derived(secret: bytes, purpose: bytes) -> bytes:
    """Return a key for one purpose from the store's key."""
    return hashlib.sha256(b"authority-" + purpose + b"\x00" + secret).digest()


def _keep(connection: Connection, name: str, value: str) -> None:
    table = schema.meta
    if not connection.execute(update(table).where(table.c.name == name).values(value=value)).rowcount:
        connection.execute(insert(table), {"name": name, "value": value})
