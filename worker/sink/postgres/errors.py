"""PostgreSQL's errors as verdicts; never with the server's own text, which quotes values."""

from __future__ import annotations

import re

import psycopg

from worker.errors import ConfigError, FatalError, SinkRejected, SinkUnavailable, WorkerError

# Class 22 data exception, 23 integrity, 44 with check option, P0 raised by a trigger, 54 a row or index entry too big.
_REFUSED = ("22", "23", "44", "P0", "54")
# 42 undefined or mismatched objects and missing rights, 0A not supported, 3D and 3F no such database or schema, 28
# refused identity.
_WRONG = ("42", "0A", "3D", "3F", "28")
_CORRUPTED = ("XX001", "XX002")
_READ_ONLY = "25006"
_LINE = re.compile(r"^COPY \S.*?, line (\d+)", re.MULTILINE)
_REFUSED_CONNECTION = re.compile(
    r"authentication failed|no pg_hba\.conf entry|does not exist|permission denied for database|no password supplied"
)


def verdict(exc: psycopg.Error, what: str) -> WorkerError:
    """
    Return what to raise for a failed statement.

    Lost connections, deadlocks, serialization failures, a full disk, a server that shuts down or has become a standby:
    `SinkUnavailable`. A refused value: `SinkRejected`. A wrong shape or missing right: `ConfigError`.
    """
    state = exc.sqlstate
    if state is None:
        return SinkUnavailable(f"{what}: the connection is lost")
    where = _place(exc)
    if state.startswith(_REFUSED):
        return SinkRejected(f"{what}: a record is refused, SQLSTATE {state}{where}")
    if state.startswith(_WRONG):
        return ConfigError(f"{what}: SQLSTATE {state}{where}; mend the table or the role's rights (worker check)")
    if state in _CORRUPTED:
        return FatalError(f"{what}: the database reports corrupted data, SQLSTATE {state}")
    if state == _READ_ONLY:
        return SinkUnavailable(f"{what}: the server is read-only now; waiting for the primary")
    return SinkUnavailable(f"{what}: SQLSTATE {state}")


def connection_verdict(exc: psycopg.Error, what: str) -> WorkerError:
    """Return what to raise where no connection came about: `ConfigError` where the server refuses the identity."""
    if _REFUSED_CONNECTION.search(str(exc)):
        return ConfigError(f"{what}: the server refuses the connection; mend the credentials, rights or database name")
    return SinkUnavailable(f"{what}: no connection")


def copy_line(exc: psycopg.Error) -> int | None:
    """Return the 0-based row of a COPY that the server refused, None where it does not say."""
    match = _LINE.search(exc.diag.context or "")
    return int(match[1]) - 1 if match else None


def _place(exc: psycopg.Error) -> str:
    diag = exc.diag
    found = [("table", diag.table_name), ("column", diag.column_name), ("constraint", diag.constraint_name)]
    return "".join(f", {kind} {name}" for kind, name in found if name)
