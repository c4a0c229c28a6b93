"""What short commands do without: libraries that take longer to import than the command takes to run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from worker import lazy

SCHEMA = Path(__file__).parents[2] / "schemas" / "customer.avsc"
SLOW = {"authlib", "confluent_kafka.schema_registry", "fastapi", "numpy", "psycopg", "sqlalchemy"}


SETTINGS = {"prometheus_client", "pydantic_settings", "structlog"}


@pytest.mark.parametrize(
    ("arguments", "without"),
    [(["--help"], SLOW | SETTINGS), (["plan", str(SCHEMA)], SLOW | SETTINGS), (["config", "template"], SLOW)],
)
def test_short_commands_import_no_slow_library(arguments: list[str], without: set[str]) -> None:
    """Neither the registry's client nor a sink's nor the key cache's library is imported by what needs none of them."""
    said = ran(f"sys.argv = ['worker', *{arguments!r}]\nmain()", without).stdout

    assert said.splitlines()[-1].strip() == "imported:"


def test_a_worker_without_a_table_imports_no_database() -> None:
    """The client of a sink that no route has takes no part of a start."""
    said = ran("import worker.cli.run", {"psycopg", "sqlalchemy"}).stdout

    assert said.splitlines()[-1].strip() == "imported:"


def test_a_crash_without_a_log_shows_no_values() -> None:
    """What ends a command unexpectedly is told by its kind and place, also where the log had not been needed yet."""
    script = (
        "from worker.cli import plan\n"
        "def crash(*_a, **_k):\n    text = 'secret'\n    raise RuntimeError(text)\n"
        f"plan._planned = crash\nsys.argv = ['worker', 'plan', {str(SCHEMA)!r}]\nmain()"
    )

    said = ran(script, set(), check=False).stderr

    assert "crashed" in said
    assert "RuntimeError" in said
    assert "secret" not in said


def ran(script: str, without: set[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a script that may call `main`; at its end it prints which of some libraries were imported."""
    whole = (
        "import sys\nfrom worker.cli import main\n"
        "try:\n" + "".join(f"    {line}\n" for line in script.splitlines()) + "except SystemExit:\n    pass\n"
        f"print('imported:', *sorted({without!r} & sys.modules.keys()))"
    )
    return subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=check)


def test_a_part_that_is_not_there_is_an_attribute_error() -> None:
    """A package with lazy parts refuses other names as any module does."""
    part = lazy.parts("package", {"Path": "pathlib"})

    assert part("Path") is Path
    with pytest.raises(AttributeError, match="package"):
        part("path")
