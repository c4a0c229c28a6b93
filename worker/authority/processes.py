"""Several processes of one authority on one machine: one address, one store that they share, a chain for each."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.reduction
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import structlog

from worker.authority.serving import Serving, serve
from worker.errors import ConfigError, FatalError, WorkerError

_log = structlog.get_logger(__name__)
# A fresh interpreter: an authority's threads and its database connections do not survive a fork.
_CONTEXT = multiprocessing.get_context("spawn")
_STOP_S = 30.0
_WINDOW_S, _CRASHES, _PAUSE_S = 600.0, 5, 1.0


def _child(serving: Serving, listening: socket.socket, pipe: Connection) -> None:
    # A terminal's Ctrl-C reaches every process; the parent alone decides what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_outlive_nobody, args=(pipe, stop), daemon=True).start()
    try:
        serve(serving, listening, stop, lambda: pipe.send(None))
    except WorkerError as exc:
        with contextlib.suppress(OSError):
            pipe.send(str(exc))
        sys.exit(exc.exit_code)


def _outlive_nobody(pipe: Connection, stop: threading.Event) -> None:
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    stop.set()


@dataclass(slots=True)
class _Process:
    index: int
    process: BaseProcess
    pipe: Connection
    crashes: deque[float] = field(default_factory=deque)

    def is_crashing(self) -> bool:
        now = time.monotonic()
        self.crashes.append(now)
        while now - self.crashes[0] > _WINDOW_S:
            self.crashes.popleft()
        return len(self.crashes) > _CRASHES


class Processes:
    """
    Starts processes, one after the other, starts again what crashes, and stops them together.

    Args:
        count: how many.
        of: what each is told, by its number from 0.
        listening: where all of them accept.
    """

    def __init__(self, count: int, of: Callable[[int], Serving], listening: socket.socket) -> None:
        self._of, self._listening, self._count = of, listening, count
        self._processes: list[_Process] = []
        self._stopping = threading.Event()

    @property
    def pids(self) -> list[int]:
        """The processes' ids, by number."""
        return [p.process.pid for p in self._processes if p.process.pid is not None]

    def run(self, stop: threading.Event, ready: Callable[[], None]) -> None:
        """
        Serve until `stop` is set; `ready` is called once all of them do.

        Raises:
            ConfigError: one can't start.
            FatalError: one crashes again and again.
        """
        self._stopping = stop
        try:
            # The first makes or migrates the store before others look at it.
            for index in range(self._count):
                self._processes.append(self._start(index))
            ready()
            while not self._stopping.is_set():
                for each in self._processes:
                    if wait([each.process.sentinel], timeout=0.2 / self._count):
                        self._again(each)
        finally:
            self._end()

    def _start(self, index: int) -> _Process:
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(
            target=_child, args=(self._of(index), self._listening, theirs), name=f"authority-{index}"
        )
        process.start()
        theirs.close()
        try:
            said = ours.recv()
        except EOFError:
            said = f"it ended with exit code {process.exitcode}"
        if said is not None:
            process.join(_STOP_S)
            raise ConfigError(f"process {index} of the authority does not start: {said}")
        return _Process(index, process, ours)

    def _again(self, ended: _Process) -> None:
        if self._stopping.is_set():
            return
        _log.error("authority_process_ended", process=ended.index, exit_code=ended.process.exitcode)
        ended.pipe.close()
        if ended.is_crashing():
            raise FatalError(f"process {ended.index} of the authority ends again and again")
        self._stopping.wait(_PAUSE_S * len(ended.crashes))
        if not self._stopping.is_set():
            new = self._start(ended.index)
            ended.process, ended.pipe = new.process, new.pipe

    def _end(self) -> None:
        for each in self._processes:
            if each.process.is_alive() and each.process.pid is not None:
                os.kill(each.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        for each in self._processes:
            each.process.join(max(0.0, deadline - time.monotonic()))
            if each.process.is_alive():
                each.process.kill()
                each.process.join()
            each.pipe.close()
