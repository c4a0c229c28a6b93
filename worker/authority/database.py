"""The database under a store: a SQLite file that one process has, or PostgreSQL; brought to the newest tables."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from worker.authority.files import own_directory, own_file
from worker.errors import ConfigError, TransientError

_CONNECTION = {
    "connect_timeout": 10,
    # A host that vanished is given up in half a minute, and not after the system's quarter of an hour.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
    # A standby lags: what was taken back would be in force there.
    "target_session_attrs": "read-write",
}
_LOCK_S = 10
"""
How long a write waits for another replica's, which may stand still; and a migration for a table, behind which all
others wait, the replicas that serve among them.
"""


def migrate(engine: Engine) -> None:
    """
    Bring the tables to the newest version; replicas that start at once do it one after the other.

    Raises:
        ConfigError: they are of a version that is newer than this one.
    """
    config = _migrations()
    with engine.connect().execution_options(write=True) as connection, connection.begin():
        alone(connection)
        newer = newer_schema(connection)
        if newer is not None:
            raise ConfigError(
                f"the store has been migrated by a newer version of the authority (its schema is {newer}); start that "
                "version, or restore a backup from before it into another place"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def newer_schema(connection: Connection) -> str | None:
    """Return what the schema is called that a newer version of the authority has made; None where this one knows it."""
    found = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(_migrations()).walk_revisions()}
    return None if found is None or found in known else found


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


@contextmanager
def in_words(engine: Engine) -> Iterator[None]:
    """
    Say what a PostgreSQL server refuses, without the statement and its values.

    Raises:
        TransientError: it can't be reached, or does not let us in now.
        ConfigError: it never will.
    """
    try:
        yield
    except DBAPIError as exc:
        if engine.dialect.name != "postgresql":
            raise
        url = engine.url.set(username=None, password=None, query={})
        # What the server says has values in its details alone.
        told = getattr(getattr(exc.orig, "diag", None), "message_primary", None) or str(exc.orig)
        said = " ".join(told.split()) or type(exc.orig).__name__
        kind = TransientError if isinstance(exc, OperationalError) else ConfigError
        raise kind(f"the store's database {url.render_as_string()} can't be used: {said}") from None


def alone(connection: Connection) -> None:
    """Let replicas that start at the same moment migrate and begin a store one after the other."""
    if connection.dialect.name == "postgresql":
        # However long the first of them takes to migrate.
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('authority'))"))
        connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_S * 1000:.0f}ms'"))


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
        url = _address(place)
        more = {name: value for name, value in _CONNECTION.items() if name not in url.query}
        shared = create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=more)

        @event.listens_for(shared, "connect")
        def _set_up(connection: Any, _record: object) -> None:
            # A commit that returns before it is on the disk would be a revocation that a crash takes back, and an
            # epoch's end whose key is lost, the one of before destroyed.
            name = "synchronous_commit"
            connection.execute(f"SELECT set_config('{name}', 'on', false) WHERE current_setting('{name}') = 'off'")
            connection.execute(f"SET lock_timeout = '{_LOCK_S * 1000:.0f}ms'")
            connection.commit()

        return shared
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


def _address(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # Not quoted: it may hold a password.
        raise ConfigError("the store's URL is none such as postgresql+psycopg://user@host/database") from None
    if url.drivername not in ("postgresql", "postgresql+psycopg"):
        raise ConfigError(
            f"the store's URL begins with {url.drivername}://, and replicas share a PostgreSQL database: "
            "postgresql+psycopg://user@host/database; without a URL the store is a file of the data directory"
        )
    return url.set(drivername="postgresql+psycopg")
