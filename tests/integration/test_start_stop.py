"""A worker that is stopped while it starts."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.program import COMMAND

RUN = (*COMMAND, "run", "--config", "none.toml")
TERM = 1 << (signal.SIGTERM - 1)


def catches_term(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM, by the kernel's word."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) & TERM)


@pytest.mark.integration
@pytest.mark.parametrize("options", [[], ["--processes", "2"]], ids=["one", "several"])
def test_a_start_that_is_stopped_ends_with_code_0(options: list[str]) -> None:
    """The handler is there before the imports, so that a container's first process never loses the signal."""
    process = subprocess.Popen([*RUN, *options])
    while process.poll() is None and not catches_term(process.pid):
        pass

    imported = "librdkafka" in Path(f"/proc/{process.pid}/maps").read_text()
    process.send_signal(signal.SIGTERM)

    assert process.wait(30) == 0
    assert not imported
