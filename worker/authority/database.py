"""The database under a store: a SQLite file that one process has, or PostgreSQL; brought to the newest tables."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any, TextIO

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text

from worker.authority.files import own_directory, own_file
from worker.errors import ConfigError


def migrate(engine: Engine) -> None:
    """Bring the tables to the newest version; replicas that start at once do it one after the other."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.connect().execution_options(write=True) as connection, connection.begin():
        alone(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def alone(connection: Connection) -> None:
    """Let replicas that start at the same moment migrate and begin a store one after the other."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('authority'))"))


def open_alone(path: Path) -> TextIO:
    """Keep every other process from a file's store until what is returned is closed; raises `ConfigError`."""
    own_directory(path.parent)
    owner = path.with_suffix(".lock").open("w")
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        owner.close()
        raise ConfigError(f"another process has the authority's store {path}") from exc
    for name in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        own_file(name, create=name == path)
    return owner


def engine_of(place: Path | str) -> Engine:
    """Return what connects to a store: a SQLite file, or the URL of a PostgreSQL database."""
    if isinstance(place, str):
        return create_engine(place, pool_pre_ping=True)
    engine = create_engine(f"sqlite:///{place}")

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        # The transactions are begun below: the module's own would begin after the first read.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("write") else "BEGIN")

    return engine
