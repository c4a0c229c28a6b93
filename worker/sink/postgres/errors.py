"""PostgreSQL's errors as verdicts; never with the server's own text, which quotes values."""

from __future__ import annotations

import re
from enum import Enum

import psycopg
from psycopg.conninfo import conninfo_to_dict

from worker.errors import ConfigError, FatalError, SinkRejected, SinkUnavailable, WorkerError

_TOO_LARGE = "54000"
_LINE = re.compile(r"^COPY \S.*?, line (\d+)", re.MULTILINE)
_REFUSED_CONNECTION = re.compile(
    r"authentication failed|no pg_hba\.conf entry|does not exist|permission denied for database|no password supplied"
    r"|is not permitted to log in|no such (?:database|user)"
)
_NO_SUCH_VALUE = re.compile(r"invalid \w+ value|invalid port number")
_REFUSED_BOUNDS = "unsupported startup parameter"
UNBOUNDED = (
    "a pooler between does not hand on the session's options (statement_timeout, lock_timeout, "
    "idle_in_transaction_session_timeout), which bound what a frozen worker holds; name the server's own address"
)
"""What is wrong with a session without them."""

_UNREADABLE = (
    "the connection string can't be read; it is postgresql://user:password@host:port/database, in which % and a number "
    "stand for what an address can't hold, or words such as host=..."
)

# Classes in which a server says that it is not there for anybody; in others it is, and refuses this batch.
_AWAY = ("08", "57")


class Verdict(Enum):
    """What a SQLSTATE means for a batch."""

    RECORD = "a record is refused"
    TABLE = "the table, its rights or the configuration is wrong"
    OUTAGE = "it passes"
    DOUBT = "it may pass"
    DAMAGE = "the database is damaged"


VERDICTS: dict[str, Verdict] = {
    "08": Verdict.OUTAGE,  # connection
    "0A": Verdict.TABLE,  # not supported: row security, a foreign table
    "0L": Verdict.TABLE,  # grantor
    "0P": Verdict.TABLE,  # role
    "21": Verdict.RECORD,  # cardinality: a trigger's subquery; keys are made one before
    "22": Verdict.RECORD,  # data
    "23": Verdict.RECORD,  # integrity
    "25": Verdict.DOUBT,  # transaction state
    "25006": Verdict.OUTAGE,  # read-only: a standby
    "25P03": Verdict.OUTAGE,  # idle for too long
    "25P04": Verdict.OUTAGE,  # the transaction took too long
    "26": Verdict.TABLE,  # prepared statement gone: a pooler between
    "27": Verdict.RECORD,  # a trigger changed what it must not
    "28": Verdict.TABLE,  # authorization
    "2F": Verdict.RECORD,  # a trigger's SQL routine
    "34": Verdict.TABLE,  # cursor gone: a pooler between
    "38": Verdict.RECORD,  # a trigger's external routine
    "39": Verdict.RECORD,
    "3D": Verdict.TABLE,  # database
    "3F": Verdict.TABLE,  # schema
    "40": Verdict.OUTAGE,  # serialization, deadlock
    "40002": Verdict.RECORD,  # integrity, found late
    "42": Verdict.TABLE,  # syntax, undefined names, types, rights
    "44": Verdict.RECORD,  # WITH CHECK OPTION
    "53": Verdict.OUTAGE,  # disk, memory, connections
    "54": Verdict.RECORD,  # a row or an index entry too large
    "54001": Verdict.TABLE,  # statement too complex
    "54011": Verdict.TABLE,  # too many columns
    "54023": Verdict.TABLE,  # too many arguments
    "55": Verdict.TABLE,  # object not in the state it must have: a deferrable key
    "55006": Verdict.OUTAGE,  # object in use
    "55P03": Verdict.OUTAGE,  # lock not available
    "55P04": Verdict.OUTAGE,  # an enum's label that is not committed yet
    "57": Verdict.OUTAGE,  # shutdown, timeouts
    "57014": Verdict.DOUBT,  # cancelled: a lock, or a statement that is slower than timeout_s
    "57P04": Verdict.TABLE,  # database dropped
    "58": Verdict.DOUBT,  # the system's I/O
    "58P01": Verdict.TABLE,  # a file missing: a library of an extension
    "F0": Verdict.DOUBT,  # the server's configuration file
    "HV": Verdict.DOUBT,  # foreign data
    "P0": Verdict.RECORD,  # raised by a trigger
    "XX": Verdict.DOUBT,  # internal
    "XX001": Verdict.DAMAGE,
    "XX002": Verdict.DAMAGE,
}
"""By SQLSTATE, else by its class; what is in neither is doubt. docs/sinks.md tells the same."""

_REMEDIES = {
    "54011": "a table has room for 1,600 columns, those that were dropped included: make several fields one record, "
    "which takes one column, or write to a topic",
}


# The server's own words for a missing right, which name a thing and no value; a trigger's may hold anything.
_DENIED = re.compile(r"permission denied for (schema|table|sequence|view|function|database|type) [\w.$-]{1,130}")


def judge(state: str) -> Verdict:
    """Return what a SQLSTATE means: its own verdict, else its class's, else doubt."""
    return VERDICTS.get(state, VERDICTS.get(state[:2], Verdict.DOUBT))


def verdict(exc: psycopg.Error, what: str) -> WorkerError:
    """
    Return what to raise for a failed statement.

    An outage is `SinkUnavailable`, and so is what may be one, which is not waited out for ever. A refused value:
    `SinkRejected`. A wrong shape or missing right: `ConfigError`. Damage: `FatalError`.
    """
    state = exc.sqlstate
    if state is None:
        return SinkUnavailable(f"{what}: the connection is lost")
    where = _place(exc)
    found = judge(state)
    if found is Verdict.RECORD:
        return SinkRejected(f"{what}: a record is refused, SQLSTATE {state}{where}")
    if found is Verdict.TABLE:
        denied = _DENIED.fullmatch(exc.diag.message_primary or "")
        lacks = f" ({denied[0]})" if denied else ""
        remedy = _REMEDIES.get(state, "mend the table or the role's rights (worker check)")
        return ConfigError(f"{what}: SQLSTATE {state}{where}{lacks}; {remedy}")
    if found is Verdict.DAMAGE:
        return FatalError(f"{what}: the database reports corrupted data, SQLSTATE {state}")
    if state == "25006":
        return SinkUnavailable(f"{what}: the server is read-only now; waiting for the primary")
    is_answer = found is Verdict.OUTAGE and state[:2] not in _AWAY
    return SinkUnavailable(f"{what}: SQLSTATE {state}", is_doubtful=found is Verdict.DOUBT, is_answer=is_answer)


def connection_verdict(exc: psycopg.Error, what: str) -> WorkerError:
    """Return what to raise where no connection came about: `ConfigError` where the server refuses the identity."""
    if isinstance(exc, psycopg.ProgrammingError) and exc.sqlstate is None:
        # Its own words quote the string, password and all.
        return ConfigError(f"{what}: {_UNREADABLE}")
    if _REFUSED_BOUNDS in str(exc):
        return ConfigError(f"{what}: {UNBOUNDED}")
    if _REFUSED_CONNECTION.search(str(exc)):
        remedy = "mend the user, password or database name of its connection string"
        return ConfigError(f"{what}: the server refuses the connection; {remedy}")
    if _NO_SUCH_VALUE.search(str(exc)):
        return ConfigError(f"{what}: the connection string gives an option a value that there is not, or no port")
    return SinkUnavailable(f"{what}: no connection; is the server up, and its address right?")


def place(dsn: str) -> str:
    """Return where a connection string leads, without user and password."""
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.Error:
        return "an address that can't be read"
    server, database = f"{given.get('host', 'localhost')}:{given.get('port', 5432)}", given.get("dbname")
    return f"{server}, database {database}" if database else server


def address(dsn: str) -> tuple[str, int] | None:
    """Return the host and port of a connection string; None for a socket in the file system, or where it has none."""
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.Error:
        return None
    host, port = str(given.get("host", "localhost")).split(",")[0], str(given.get("port", "5432")).split(",")[0]
    return None if host.startswith("/") or not port.isdigit() else (host, int(port))


def copy_line(exc: psycopg.Error) -> int | None:
    """Return the 0-based row of a COPY that the server refused, None where it does not say."""
    # Rows are put into pages many at a time: of one that no page holds it says the line that it had read by then.
    if exc.sqlstate == _TOO_LARGE:
        return None
    match = _LINE.search(exc.diag.context or "")
    return int(match[1]) - 1 if match else None


def _place(exc: psycopg.Error) -> str:
    diag = exc.diag
    found = [("table", diag.table_name), ("column", diag.column_name), ("constraint", diag.constraint_name)]
    return "".join(f", {kind} {name}" for kind, name in found if name)
