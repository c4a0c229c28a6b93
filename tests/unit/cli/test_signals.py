"""What `worker run` makes of signals, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys
from worker.cli.run import heeding_signals

class Runs:
    said = []
    def stop(self): self.said.append("stop")
    def rotate(self): self.said.append("rotate")

number = int(sys.argv[1])

class Late:
    # Freed by the interpreter's own end, when it has taken handlers away.
    def __del__(self, kill=os.kill, pid=os.getpid()): kill(pid, number)

sys.late = Late()
with heeding_signals(Runs()):
    os.kill(os.getpid(), number)
print(*Runs.said)
"""


@pytest.mark.parametrize(("number", "said"), [(15, "stop"), (2, "stop"), (1, "rotate")])
def test_a_second_signal_does_not_kill_what_has_stopped(number: int, said: str) -> None:
    """The exit code is that of the run, however late another signal comes."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(number)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, f"{said}\n"), done.stderr
