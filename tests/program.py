"""The `worker` program as an operator runs it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from tests import forking

COMMAND = (sys.executable, "-c", "from worker.cli import main; main()")


def worker(
    environ: Mapping[str, str], *args: str, given: bytes = b"", timeout_s: float = 100
) -> subprocess.CompletedProcess[bytes]:
    """Run one command to its end; nothing of this process's environment but PATH reaches it."""
    whole = {"PATH": os.environ["PATH"], **environ}
    if forking.can_run(whole, args):
        return forking.run(whole, args, given=given, timeout_s=timeout_s)
    return subprocess.run(
        [*COMMAND, *args], env=whole, input=given, capture_output=True, timeout=timeout_s, check=False
    )


def said(
    environ: Mapping[str, str], *args: str, given: str = "", timeout_s: float = 100
) -> subprocess.CompletedProcess[str]:
    """Run one command as `worker` does, with text in and out."""
    done = worker(environ, *args, given=given.encode(), timeout_s=timeout_s)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def start(environ: Mapping[str, str], *args: str) -> subprocess.Popen[bytes]:
    """Begin one command; the caller waits for it."""
    return subprocess.Popen([*COMMAND, *args], env={"PATH": os.environ["PATH"], **environ})
