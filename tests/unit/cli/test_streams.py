"""The standard streams of a command: closed, or cut short by whoever reads them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCHEMA = Path(__file__).parents[3] / "worker" / "demo" / "customer.avsc"
WORKER = f'{sys.executable} -c "from worker.cli import main; main()"'


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, as somebody would type it."""
    environ = {"PATH": os.environ["PATH"], "COLUMNS": "200"}
    return subprocess.run(
        ["bash", "-c", line], env=environ, capture_output=True, text=True, timeout=60, check=False, cwd="/"
    )


@pytest.mark.parametrize("streams", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_crash(streams: str) -> None:
    """As some supervisors start their programs: the exit code is all that is left, and it is right."""
    assert shell(f"{WORKER} plan {SCHEMA} {streams}").returncode == 0
    assert shell(f"{WORKER} plan nothing.avsc {streams}").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ("encrypt --field c/e", "standard input is closed"),
        ("decrypt - --field c/e", "standard input is closed"),
        ("encrypt --field c/e value", "standard output is closed"),
        ("decrypt --topic t --bootstrap 127.0.0.1:1", "standard output is closed"),
    ],
)
def test_a_command_that_does_nothing_but_read_or_print_needs_its_stream(arguments: str, name: str) -> None:
    """Over none it would end at once, as if there had been nothing to do."""
    closed = "<&-" if "input" in name else ">&-"

    done = shell(f"{WORKER} {arguments} {closed}")

    assert done.returncode == 2
    assert done.stderr.startswith(f"ConfigError: {name}; give the command a file")


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    """What a library prints would be written into it."""
    line = f'{sys.executable} -c "{_OPENS}" {tmp_path / "data"} >&- 2>&-'

    assert shell(line).returncode == 0
    assert (tmp_path / "data").read_text() == ""


_OPENS = (
    "import os, sys; from worker.cli import output; output.open_missing(); "
    "open(sys.argv[1], 'w'); os.write(1, b'printed'); os.write(2, b'printed'); print('printed')"
)


def test_a_reader_that_has_enough_is_no_error() -> None:
    """`| head -1` says nothing."""
    done = shell(f"set -o pipefail; {WORKER} config reference | head -1; exit 0")

    assert done.stdout.startswith("###")
    assert done.stderr == ""
