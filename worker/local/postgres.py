"""A real PostgreSQL on loopback."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from worker.errors import TransientError
from worker.local.binaries import find_postgres, server_account
from worker.local.process import Program, free_ports

_START_S = 60.0
_STOP_S = 20.0

_RESIDENCY = """
CREATE SCHEMA IF NOT EXISTS worker;
CREATE TABLE IF NOT EXISTS worker.residency (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  region text NOT NULL,
  declared_at timestamptz NOT NULL DEFAULT now(),
  declared_by text NOT NULL DEFAULT session_user,
  signature text
)
"""


def declare_region(dsn: str, region: str) -> None:
    """Declare a database's region, as its administrator does (docs/contracts.md, 8); a second call changes it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_RESIDENCY)
        connection.execute(
            "INSERT INTO worker.residency (region) VALUES (%s) "
            "ON CONFLICT (one) DO UPDATE SET region = excluded.region, declared_at = now()",
            [region],
        )


class LocalPostgres:
    """
    One server with password authentication, and any number of databases in it.

    A context manager; the data live in a directory of their own until `stop`. Where the caller is root, which
    PostgreSQL refuses to be, the server runs as `postgres` or `nobody`. `fsync` is off: the data survive a crash of
    the server, not of the machine.

    Args:
        under: the directory that the data's own is made in, None for that of temporary files.

    Raises:
        ConfigError: from `start`, where no PostgreSQL is installed.
        TransientError: from `start`, where the server does not come up; the message ends with its log.
    """

    def __init__(self, *, under: Path | None = None) -> None:
        self._under = under
        self._server: Program | None = None
        self._directory: Path | None = None
        self._port = 0
        self._password = secrets.token_hex(16)

    @property
    def dsn(self) -> str:
        """The administrator's connection URI, to the database `postgres`."""
        return f"postgresql://admin:{self._password}@127.0.0.1:{self._port}/postgres"

    @property
    def data(self) -> Path:
        """The server's data directory, which its account and root can read; there from `start` to `stop`."""
        assert self._directory is not None
        return self._directory / "data"

    def start(self) -> Self:
        """Make the cluster, start the server and return when it answers a query."""
        self._account = server_account()
        self._directory = Path(tempfile.mkdtemp(prefix="postgres-", dir=self._under))
        try:
            if self._account is not None:
                shutil.chown(self._directory, self._account)
            self._binaries = find_postgres(self._account, self._directory)
            self._port = free_ports(1)[0]
            self._initialise(self._directory)
            self._start_server()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server and remove the data; safe to call twice."""
        if self._server is not None:
            self._server.stop(_STOP_S, number=signal.SIGINT)  # the "fast" shutdown: open sessions are ended
            self._server = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        assert self._server is not None
        # The postmaster's children notice its death and end within moments; `restart` waits for that.
        self._server.kill()

    def restart(self) -> None:
        """Start a killed or running server again on its old port; returns when it answers a query."""
        assert self._server is not None
        if self._server.is_running:
            self._server.stop(_STOP_S, number=signal.SIGINT)
        self._start_server()

    def send(self, number: int) -> None:
        """Send a signal to the server's first process."""
        assert self._server is not None
        self._server.send(number)

    def create_database(self, name: str | None = None, *, region: str | None = None) -> str:
        """
        Create an empty database and return its connection URI.

        Args:
            name: None for a random one.
            region: what the database declares to be its region, None for no declaration.
        """
        return create_database(self.dsn, name, region=region)

    def logs(self) -> str:
        """Return the end of what the server logged."""
        return "" if self._server is None else self._server.output()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _initialise(self, directory: Path) -> None:
        password = directory / "password"
        password.touch(mode=0o600)
        password.write_text(self._password)
        if self._account is not None:
            shutil.chown(password, self._account)
        command = [str(self._binaries / "initdb"), "-D", str(directory / "data"), "-U", "admin", "-E", "UTF8"]
        command += ["--locale=C", "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync"]
        tool = Program(command, directory / "initdb.out", user=self._account)
        if tool.wait(_START_S):
            raise TransientError(f"initdb failed:\n{tool.output()}")
        password.unlink()

    def _start_server(self) -> None:
        assert self._directory is not None
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "64MB",
            "max_connections": "100",
        }
        command = [str(self._binaries / "postgres"), "-D", str(self._directory / "data"), "-p", str(self._port)]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        end = time.monotonic() + _START_S
        while True:
            self._server = Program(command, self._directory / "server.out", user=self._account)
            if self._answers(end):
                return
            # After a kill the port and the shared memory are held until the last child has gone: try again.
            if time.monotonic() > end:
                raise TransientError(f"PostgreSQL ended while starting:\n{self.logs()}")
            time.sleep(0.1)

    def _answers(self, end: float) -> bool:
        """Return True when a query is answered, False when the server has ended."""
        assert self._server is not None
        while self._server.is_running:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.dsn, connect_timeout=2).close()
                return True
            if time.monotonic() > end:
                raise TransientError(f"PostgreSQL does not answer after {_START_S:g} s:\n{self.logs()}")
            time.sleep(0.05)
        return False


def create_database(admin_dsn: str, name: str | None = None, *, region: str | None = None) -> str:
    """Create an empty database on any server and return its connection URI; see `LocalPostgres.create_database`."""
    name = f"test_{uuid.uuid4().hex[:12]}" if name is None else name
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    dsn = urlunsplit(urlsplit(admin_dsn)._replace(path=f"/{name}"))
    if region is not None:
        declare_region(dsn, region)
    return dsn


def drop_database(admin_dsn: str, dsn: str) -> None:
    """Drop a database, ending its sessions."""
    name = urlsplit(dsn).path.removeprefix("/")
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
