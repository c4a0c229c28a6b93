"""The program: one command is imported, the others are known by their lines of help."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import typer

from worker.cli import root

_HEAVY = ("worker.avro", "worker.encryption", "worker.zerokms", "confluent_kafka", "numpy", "psycopg", "structlog")


@pytest.mark.parametrize(("name", "line"), root._COMMANDS.items())
def test_says_of_each_command_what_it_says_itself(name: str, line: str) -> None:
    """The line of help of a command that is not imported is its own."""
    app = typer.Typer()
    importlib.import_module(f"worker.cli.{name.replace('-', '_')}").register(app)

    [command] = app.registered_commands
    assert command.name == name
    assert command.callback is not None
    assert " ".join((command.callback.__doc__ or "").split("\n\n")[0].split()) == line


@pytest.mark.parametrize(("name", "line"), root._GROUPS.items())
def test_says_of_each_group_what_it_says_itself(name: str, line: str) -> None:
    """So is that of a group."""
    app = importlib.import_module(f"worker.cli.{name.replace('-', '_')}").app

    assert app.info.help == line


def test_help_imports_nothing_of_the_worker() -> None:
    """`worker --help` takes as long as the command line's own library, whatever the worker grows to."""
    script = (
        "import sys\nfrom worker.cli import main\nsys.argv = ['worker', '--help']\n"
        f"try:\n    main()\nexcept SystemExit:\n    print([m for m in {_HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "encrypt-files" in done.stdout
    assert done.stderr.strip() == "[]"
