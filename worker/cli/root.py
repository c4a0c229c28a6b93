"""The `worker` program: its commands, and how an error becomes a message and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
from types import TracebackType
from typing import Annotated

import typer

from worker import failpoints, interpreter
from worker.cli import failures, output
from worker.errors import WorkerError
from worker.version import __version__

_COMMANDS = {
    "run": "Read, encrypt the declared fields and write, within one region, until SIGTERM. SIGHUP drops all keys held.",
    "check": (
        "Verify the region's pins, the credentials, the schemas, the canary, the sources and the sinks; write nothing."
    ),
    "plan": "Show which field gets which key, format and output type; prove it before the first record.",
    "decrypt": (
        "Print a topic's records decrypted, a table's rows, or those of files: one a line, up to the present end."
    ),
    "export": "Decrypt a topic's records, a table's rows or files into a container file or a table of plain types.",
    "encrypt": (
        "Print one envelope a value, as text that `worker decrypt -` and the SDK read; or encrypt a file whole."
    ),
    "encrypt-files": (
        "Encrypt container files' declared fields, with the plan, schema and envelopes of a route's stream."
    ),
    "rekey": ("Encrypt a table's rows, a topic's records or files anew, under another keyset, format or descriptor."),
    "status": (
        "Show a running worker: routes, positions, lag, what is paused and why, keys, pins; exit 1 unless all is ready."
    ),
    "pause": "Let a running worker read nothing more in a route until `resume`, or until it is started again.",
    "resume": "Let a paused route go on.",
    "rotate": "Let a running worker drop every key held and fetch new ones, as SIGHUP does.",
    "erase-report": "List a subject's records in dead letters, and its terms and pseudonyms in sinks; 1 where any are.",
    "verify": (
        "Look into the sinks for values of declared fields that are no envelopes; exit 1 for one, or a record it can't "
        "read."
    ),
    "whoami": "Exchange the credential and show workspace, region, subject, client and default keyset.",
    "doctor": (
        "Look at versions, clock, names, ports, certificates and token, then at all that `check` does; exit 1 for a "
        "finding."
    ),
    "demo": ("Encrypt two regions' customers on real Kafka and PostgreSQL, read them back, and show who may not."),
}
_GROUPS = {
    "positions": "Where routes read on: show it, and move it while nobody reads.",
    "dead": "List, show and replay sealed dead letters.",
    "ledger": "Follow the ledger's chains, and remove what is old.",
    "client": "Clients of an authority; their keys are made here and never sent.",
    "keyset": "Keysets of an authority, and who may use them.",
    "access-key": "Access keys of an authority, each bound to one client.",
    "config": "A first file, a commented template, the reference and the JSON schema of the settings.",
    "residency": "A database's declaration of its region, made once by its administrator.",
    "authority": "The self-hosted ZeroKMS and CTS of one region.",
}

_SILENT = ("plan",)
"""Commands that log nothing unless they read settings: for them the log, a third of their start, is set up then."""

app = typer.Typer(
    name="worker",
    help="Encrypts the fields that an Avro schema declares, inside one region.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_tell_version),
    ] = False,
) -> None:
    """Encrypts the fields that an Avro schema declares, inside one region."""


def mount(named: str | None = None) -> None:
    """
    Add every command and group; once.

    Args:
        named: the only one that is imported: of the others no more than the line of help is known. None: all are.
    """
    if app.registered_commands:
        return
    for name, line in (_COMMANDS | _GROUPS).items():
        if named is not None and name != named:
            app.command(name, help=line)(_elsewhere)
            continue
        module = importlib.import_module(f"worker.cli.{name.replace('-', '_')}")
        if name in _COMMANDS:
            module.register(app)
        else:
            app.add_typer(module.app, name=name)


def _elsewhere() -> None:
    """Stand for a command that is not meant."""
    raise AssertionError("the command that is meant is always there")


def _log() -> None:
    """Set the log up, crashes included."""
    log = importlib.import_module("worker.log")
    log.configure()
    log.take_over()


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Set the log up for a crash that comes before it was needed."""
    _log()
    sys.excepthook(kind, error, trace)


def main() -> None:
    """Run the command line; the console script."""
    output.open_missing()
    failpoints.arm(os.environ.get("FAILPOINTS", ""))
    # The name of what is meant, empty where it is the program itself; a shell that completes asks for all.
    named = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    if named in _SILENT:
        sys.excepthook = _crashed
    elif named:
        _log()
    mount(None if any(name.endswith("_COMPLETE") for name in os.environ) else named)
    interpreter.set_up()
    sys.stdout = output.named(sys.stdout)
    try:
        _run()
    except WorkerError as exc:
        output.give_up()
        # A service's log is read by programs, to its last line.
        sys.exit(
            failures.end(exc, as_line=named == "run" and not importlib.import_module("worker.log").is_for_people())
        )


def _run() -> None:
    """Run what is meant; what the environment lacks is an error like any other."""
    try:
        try:
            # Past the library's own call, which would put its exception hook in the place of the log's.
            typer.main.get_command(app)()
        except SystemExit:
            sys.stdout.flush()
            raise
    except BrokenPipeError:
        # Whoever read has seen enough.
        output.give_up()
        sys.exit(1)
    except Exception as exc:
        told = failures.of_environment(exc)
        if told is None:
            raise
        raise told from None
