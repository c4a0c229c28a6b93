"""The program within this process, called as from a shell: arguments and variables in, exit code and words out."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
import structlog

from worker.cli import root


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and everything it said."""

    code: int
    said: str


class Program:
    """
    Calls commands one after the other.

    Args:
        monkeypatch: puts everything back that a command changes in its process.
        capsys: what it says.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capsys = monkeypatch, capsys
        root.mount()

    def __call__(self, arguments: Sequence[str], environ: Mapping[str, str]) -> Ended:
        for name in [name for name in os.environ if name.startswith(("WORKER_", "CS_", "DATABASE", "KAFKA"))]:
            self._patch.delenv(name)
        for name, value in environ.items():
            self._patch.setenv(name, value)
        self._patch.setattr(sys, "argv", ["worker", *arguments])
        self._patch.setattr(sys, "excepthook", sys.excepthook)
        self._patch.setattr(threading, "excepthook", threading.excepthook)
        self._capsys.readouterr()
        try:
            root.main()
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
        else:
            code = 0
        finally:
            structlog.reset_defaults()
            for name in environ:
                self._patch.delenv(name)
        told = self._capsys.readouterr()
        return Ended(code, told.out + told.err)
