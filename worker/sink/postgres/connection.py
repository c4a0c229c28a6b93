"""The sink's one connection: bounded in time, its region read anew whenever it is made."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import set_json_dumps

from worker import jsonform
from worker.errors import ConfigError, RegionViolation
from worker.metrics import Metrics
from worker.sink.base import SinkRoute
from worker.sink.postgres.errors import UNBOUNDED, connection_verdict, place, verdict
from worker.sink.postgres.options import PostgresSinkOptions
from worker.sink.postgres.residency import DeclaredRegion

_CONNECT_S = 10

Connection = psycopg.Connection[tuple[Any, ...]]


def _without_text(record: logging.LogRecord) -> bool:
    """Let a record of the driver's own through without what it says of errors: the server's text quotes rows."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            f"SQLSTATE {arg.sqlstate}" if isinstance(arg, psycopg.Error) else arg for arg in record.args
        )
    record.exc_info = record.exc_text = None
    return True


logging.getLogger("psycopg").addFilter(_without_text)


def application_name(route: str, instance: str) -> str:
    """Return what a route's sessions are called at the server, which keeps 63 bytes of it."""
    return f"worker {route} {instance}".encode()[:63].decode("utf-8", "ignore")


class Database:
    """
    Gives out the connection, made anew after any loss.

    Args:
        dsn: libpq connection string; secret, never shown.
        options: the route's sink. `timeout_s` bounds every guarded block: after it the socket is cut, whatever the
            server or a network in between is doing. After `idle_transaction_s` the server ends a transaction in which
            nothing happens, and a wait for a lock.
        route: named in messages and, with its instance, in `pg_stat_activity`.
        residency: what the database must declare of itself.
        metrics: where the region's pin is told.
    """

    def __init__(
        self,
        dsn: str,
        options: PostgresSinkOptions,
        route: SinkRoute,
        *,
        residency: DeclaredRegion,
        metrics: Metrics,
    ) -> None:
        self._dsn = dsn
        self._residency = residency
        self._route, self._instance, self._idle_transaction_s = route.name, route.instance, options.idle_transaction_s
        self._name = f"route {route.name}, PostgreSQL ({options.dsn_env})"
        self._timeout_s = options.timeout_s
        self._metrics = metrics
        self._connection: Connection | None = None

    @contextlib.contextmanager
    def guarded(self, what: str) -> Iterator[Connection]:
        """
        Give the connection for one block; the server's errors leave it as verdicts.

        Raises:
            SinkUnavailable, SinkRejected, ConfigError, FatalError: as `worker.sink.postgres.errors.verdict` says.
            RegionViolation: a new connection leads to another region's database.
        """
        connection = self._connected()
        watchdog = threading.Timer(self._timeout_s, _cut, (connection,))
        watchdog.daemon = True
        watchdog.start()
        try:
            yield connection
        except psycopg.Error as exc:
            if connection.broken or connection.closed or exc.sqlstate in (None, "25006"):
                self.discard()
            # The server's text can quote a row: it goes no further than here.
            raise verdict(exc, f"{self._name}: {what}") from None
        finally:
            watchdog.cancel()

    @contextlib.contextmanager
    def looking(self, what: str) -> Iterator[Connection]:
        """Give the connection for one transaction: committed at the block's end, undone where it fails."""
        with self.guarded(what) as connection:
            try:
                yield connection
            except BaseException:
                # What is asked next on this connection has an answer of its own.
                with contextlib.suppress(psycopg.Error):
                    connection.rollback()
                raise
            connection.commit()

    def rollback(self) -> None:
        """Undo what is not committed; a connection that can't is dropped."""
        if self._connection is None:
            return
        try:
            with self.guarded("rollback") as connection:
                connection.rollback()
        except Exception:
            self.discard()
            raise

    def discard(self) -> None:
        """Drop the connection; safe to call twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                connection.close()

    def _connected(self) -> Connection:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        self.discard()
        try:
            connection = psycopg.connect(self._dsn, autocommit=True, **self._parameters())
        except psycopg.Error as exc:
            raise connection_verdict(exc, f"{self._name} at {place(self._dsn)}") from None
        set_json_dumps(jsonform.dumps, connection)
        self._connection = connection
        try:
            with self.guarded("reading worker.residency"):
                self._prepare(connection)
        except BaseException:
            self.discard()
            raise
        return connection

    @property
    def _milliseconds(self) -> int:
        return int(self._timeout_s * 1000)

    def _parameters(self) -> dict[str, Any]:
        milliseconds = self._milliseconds
        defaults = {
            "connect_timeout": _CONNECT_S,
            "application_name": application_name(self._route, self._instance),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": milliseconds,
            "target_session_attrs": "read-write",
        }
        try:
            given = conninfo_to_dict(self._dsn)
        except psycopg.Error:
            form = "postgresql://user:password@host:5432/database, with %XX for what has a meaning there, or key=value"
            raise ConfigError(f"{self._name}: the connection string is malformed; it is {form}") from None
        parameters: dict[str, Any] = {name: value for name, value in defaults.items() if name not in given}
        # What a worker that is frozen, or whose host is gone, holds at the server must end without it.
        idle = int(min(self._idle_transaction_s, self._timeout_s) * 1000)
        bounds = {
            "statement_timeout": milliseconds,
            "lock_timeout": idle,
            "idle_in_transaction_session_timeout": idle,
            "tcp_keepalives_idle": 10,
            "tcp_keepalives_interval": 5,
            "tcp_keepalives_count": 3,
            "tcp_user_timeout": milliseconds,
            "timezone": "UTC",
            "client_encoding": "UTF8",
        }
        own = " ".join(f"-c {name}={value}" for name, value in bounds.items())
        return parameters | {"options": f"{given.get('options', '')} {own}".strip(), "prepare_threshold": 2}

    def _prepare(self, connection: Connection) -> None:
        # The first statement outside of a transaction: a pooler by statements takes none.
        bound = connection.execute("SELECT setting FROM pg_settings WHERE name = 'statement_timeout'").fetchone()
        if bound != (str(self._milliseconds),):
            raise ConfigError(f"{self._name} at {place(self._dsn)}: {UNBOUNDED}")
        connection.autocommit = False
        # A commit that another setting lets return before it is on disk would let the source's offsets run ahead.
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
        self._told(connection, self._residency.verify)
        connection.commit()

    def verify_again(self, connection: Connection) -> None:
        """Refuse a declaration of residency that has changed since the connection was made; within `guarded`."""
        self._told(connection, self._residency.verify_again)

    def _told(self, connection: Connection, verify: Callable[[Connection], None]) -> None:
        """Verify, and tell the pin: 1 for a signed declaration, 0.5 for a bare one, 0 for a wrong one."""
        found = 0.0
        try:
            verify(connection)
            found = 1.0 if self._residency.is_signed else 0.5
        except ConfigError as exc:
            raise ConfigError(f"{self._name}: {exc}") from None
        except RegionViolation as exc:
            raise RegionViolation(f"{self._name}: {exc}") from None
        finally:
            self._metrics.set("worker_region_pin", found, pin="database")


def _cut(connection: Connection) -> None:
    """Shut a connection's socket: a blocked call in another thread then fails at once."""
    with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as twin:
        twin.shutdown(socket.SHUT_RDWR)
