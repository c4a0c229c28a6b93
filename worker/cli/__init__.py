"""The command line: `main` is the console script; each module of this package is a command or a group of them."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from types import FrameType

_STOPPABLE = ("run", "encrypt-files")


def main() -> None:
    """Run the command line; the console script."""
    if sys.argv[1:2] and sys.argv[1] in _STOPPABLE:
        # Before the imports, which take seconds on a busy machine: the first process of a container gets no default.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stopped)
    import_module("worker.cli.root").main()


def _stopped(_number: int, _frame: FrameType | None) -> None:
    """End a start that is stopped: nothing has been begun yet."""
    os._exit(0)


__all__ = ["main"]
