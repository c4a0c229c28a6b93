"""The authority's store: one SQLite file (or any SQLAlchemy URL), one process, read from memory."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, Table, create_engine, event, insert, select

from worker.authority import schema
from worker.authority.seal import Sealer
from worker.errors import ConfigError, RegionViolation
from worker.region import Region

Row = dict[str, Any]


class State:
    """Everything the store holds, as of the last committed write; rows are never changed in place."""

    def __init__(self, connection: Connection) -> None:
        def rows(table: Table) -> list[Row]:
            return [dict(row._mapping) for row in connection.execute(select(table))]

        self.workspaces = {r["id"]: r for r in rows(schema.workspaces)}
        self.signing_keys = sorted(rows(schema.signing_keys), key=lambda r: r["created_at"])
        self.access_keys = {r["id"]: r for r in rows(schema.access_keys)}
        self.providers = rows(schema.oidc_providers)
        self.memberships = rows(schema.memberships)
        self.blocked = {(r["workspace"], r["subject"]) for r in rows(schema.blocked_subjects)}
        self.keysets = {r["id"]: r for r in rows(schema.keysets)}
        self.clients = {r["id"]: r for r in rows(schema.clients)}
        self.grants = {(r["client"], r["keyset"]): r["share"] for r in rows(schema.grants)}
        self.opened: dict[tuple[str, str], object] = {}


class Store:
    """
    Opens, migrates and pins the store.

    A write is durable when `write` returns; the next request sees it. A second process on the same file is refused.

    Raises:
        RegionViolation: the store is another region's.
        ConfigError: the root key is not the store's, or another process has the store.
    """

    def __init__(self, path: Path, region: Region, sealer: Sealer) -> None:
        self.region = region
        self.sealer = sealer
        self._lock = threading.Lock()
        self._owner = _own(path)
        self._engine = _engine(path)
        try:
            self._migrate()
            self._pin()
            self.state = self._read()
        except BaseException:
            self.close()
            raise

    def write(self, change: Callable[[Connection], object]) -> None:
        """Run `change` in one transaction and let every later request see it."""
        with self._lock:
            with self._engine.begin() as connection:
                change(connection)
            self.state = self._read()

    def close(self) -> None:
        """Close the file and let another process have it."""
        self._engine.dispose()
        self._owner.close()

    def _read(self) -> State:
        with self._engine.connect() as connection:
            return State(connection)

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self._engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def _pin(self) -> None:
        with self._engine.begin() as connection:
            found = {r.name: r.value for r in connection.execute(select(schema.meta))}
            if not found:
                check = self.sealer.seal(b"root", what="meta/root").hex()
                values = [{"name": "region", "value": str(self.region)}, {"name": "root", "value": check}]
                connection.execute(insert(schema.meta), values)
                return
        if found["region"] != str(self.region):
            raise RegionViolation(f"the store is {found['region']}'s, the authority serves {self.region}")
        self.sealer.open(bytes.fromhex(found["root"]), what="meta/root")


def _own(path: Path) -> TextIO:
    owner = path.with_suffix(".lock").open("w")
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        owner.close()
        raise ConfigError(f"another process has the authority's store {path}") from exc
    return owner


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
