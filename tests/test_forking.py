"""What a forked command has of its caller, and which commands are not forked."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.forking import can_run
from tests.program import said


def test_a_command_has_its_callers_place_input_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing of the command before it."""
    monkeypatch.chdir(tmp_path)

    place = said({}, "plan", "nothing.avsc")
    given = said({"CS_EU_WORKSPACE_CRN": "none"}, "decrypt", "-", "--field", "a/b", given="what\n")
    later = said({}, "decrypt", "-", "--field", "a/b", given="what\n")

    assert (place.returncode, str(tmp_path) in place.stderr) == (2, True)
    assert (given.returncode, "CS_EU_" in given.stderr) == (2, True)
    assert (later.returncode, "CS_EU_" in later.stderr) == (2, False)


def test_a_command_that_does_not_end_is_killed(tmp_path: Path) -> None:
    """As `subprocess.run` has it."""
    with pytest.raises(subprocess.TimeoutExpired):
        said({}, "authority", "dev", "--region", "eu-central-1", "--data", str(tmp_path), timeout_s=0.2)


@pytest.mark.parametrize("name", ["WORKER_NATIVE", "LD_PRELOAD", "OTEL_SDK_DISABLED", "PROMETHEUS_MULTIPROC_DIR"])
def test_what_is_read_at_import_is_not_too_late(name: str) -> None:
    """Such a command begins by its own imports."""
    assert can_run({"PATH": "/bin"}, ["run"])
    assert not can_run({"PATH": "/bin", name: "1"}, ["run"])
