"""The `worker` program: its commands, and how an error becomes a message and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated

import typer
from rich.console import Console

from worker import failpoints, interpreter, log
from worker.errors import WorkerError
from worker.version import __version__

_COMMANDS = ("run", "check", "plan", "decrypt", "encrypt_files", "whoami", "doctor", "demo")
_GROUPS = ("dead", "client", "keyset", "access_key", "config", "authority")

app = typer.Typer(
    name="worker",
    help="Encrypts the fields that an Avro schema declares, inside one region.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Encrypts the fields that an Avro schema declares, inside one region."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


def mount() -> None:
    """Add every command and group; once."""
    if app.registered_commands:
        return
    for name in _COMMANDS:
        importlib.import_module(f"worker.cli.{name}").register(app)
    for name in _GROUPS:
        app.add_typer(importlib.import_module(f"worker.cli.{name}").app, name=name.replace("_", "-"))


def main() -> None:
    """Run the command line; the console script."""
    failpoints.arm(os.environ.get("FAILPOINTS", ""))
    log.configure()
    mount()
    interpreter.set_up()
    try:
        app()
    except WorkerError as exc:
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(f"{type(exc).__name__}: {exc}")
        sys.exit(exc.exit_code)
