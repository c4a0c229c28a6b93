"""The `worker` program as an operator runs it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

COMMAND = (sys.executable, "-c", "from worker.cli import main; main()")


def worker(environ: Mapping[str, str], *args: str, timeout_s: float = 100) -> subprocess.CompletedProcess[bytes]:
    """Run one command to its end; nothing of this process's environment but PATH reaches it."""
    return subprocess.run(
        [*COMMAND, *args],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )


def start(environ: Mapping[str, str], *args: str) -> subprocess.Popen[bytes]:
    """Begin one command; the caller waits for it."""
    return subprocess.Popen([*COMMAND, *args], env={"PATH": os.environ["PATH"], **environ})
