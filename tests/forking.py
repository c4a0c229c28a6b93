"""
Commands of the `worker` program in processes that are forked from one that has imported it.

A command of the tests takes half a second of the processor for its imports alone. Each is a process of its own all the
same: what it does after its imports, how it ends and what it writes are a program's that was begun by a shell.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

_ROOT = Path(__file__).resolve().parents[1]
_AT_IMPORT = ("COVERAGE_", "LD_", "OTEL_", "PROMETHEUS_", "PYTHONPATH", "TZ", "WORKER_NATIVE")
"""Variables that a library, the interpreter or the program reads while it is imported."""
_LEFT = ("worker.authority", "worker.demo", "worker.local", "worker.metrics.spans", "worker.sdk.frames")
"""What the commands that are run this way have no use for."""


def can_run(environ: Mapping[str, str], arguments: Sequence[str]) -> bool:
    """Whether a command does the same without imports of its own; several processes of a worker begin by theirs."""
    return not any(name.startswith(_AT_IMPORT) for name in environ) and "--processes" not in arguments


def run(
    environ: Mapping[str, str], arguments: Sequence[str], *, given: bytes = b"", timeout_s: float
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end with these variables and this standard input; raises `subprocess.TimeoutExpired`."""
    return _server().run(environ, arguments, given, timeout_s)


@functools.cache
def _server() -> _Server:
    return _Server()


class _Server:
    """The process that commands are forked from, one for each process that runs tests."""

    def __init__(self) -> None:
        self._asking, theirs = socket.socketpair()
        self._alone = threading.Lock()
        command = [sys.executable, "-c", f"from tests.forking import serve; serve({theirs.fileno()})"]
        environ = {"PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], cwd=_ROOT, env=environ, stdin=subprocess.DEVNULL
        )
        theirs.close()
        atexit.register(self._end)

    def run(
        self, environ: Mapping[str, str], arguments: Sequence[str], given: bytes, timeout_s: float
    ) -> subprocess.CompletedProcess[bytes]:
        with tempfile.TemporaryFile() as read, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            read.write(given)
            read.seek(0)
            code = self._ended(environ, arguments, (read, out, err), timeout_s)
            return subprocess.CompletedProcess(list(arguments), code, _all(out), _all(err))

    def _ended(
        self, environ: Mapping[str, str], arguments: Sequence[str], streams: Sequence[BinaryIO], timeout_s: float
    ) -> int:
        ours, theirs = socket.socketpair()
        with ours, ours.makefile("r") as told:
            with theirs, self._alone:
                socket.send_fds(self._asking, [b"!"], [theirs.fileno(), *(each.fileno() for each in streams)])
            ours.sendall(json.dumps([dict(environ), list(arguments), os.getcwd()]).encode())
            ours.shutdown(socket.SHUT_WR)
            ours.settimeout(30)
            pid = int(told.readline())
            try:
                ours.settimeout(timeout_s)
                return int(told.readline())
            except BaseException as exc:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                if isinstance(exc, TimeoutError):
                    raise subprocess.TimeoutExpired(list(arguments), timeout_s) from None
                raise

    def _end(self) -> None:
        self._asking.close()
        self._process.wait(10)


def _all(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def serve(number: int) -> None:
    """Import the program, then fork one process for each request that comes over a socket, until it is closed."""
    import worker

    for module in pkgutil.walk_packages(worker.__path__, "worker."):
        if not module.name.startswith(_LEFT):
            importlib.import_module(module.name)
    # What is never walked again is never copied for a child.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=number) as asked:
        while True:
            said, given, _, _ = socket.recv_fds(asked, 1, 4)
            _bury()
            if not said:
                return
            if os.fork() == 0:
                break
            for each in given:
                os.close(each)
    _attend(socket.socket(fileno=given[0]), given[1:])


def _bury() -> None:
    """Wait for those of the processes that wait for a command which have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _attend(caller: socket.socket, streams: Sequence[int]) -> None:
    """Begin the command in a child, and say which process it is and how it ended; returns in that child alone."""
    with caller, caller.makefile("r") as asked:
        environ, arguments, directory = json.load(asked)
        child = os.fork()
        if child:
            for each in (0, 1, 2, *streams):
                os.close(each)
            with contextlib.suppress(BrokenPipeError):
                caller.sendall(f"{child}\n".encode())
                caller.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())
            os._exit(0)
    for number, each in enumerate(streams):
        os.dup2(each, number)
        os.close(each)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["-c", *arguments]
    importlib.import_module("worker.cli").main()
