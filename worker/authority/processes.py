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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import structlog

from worker.authority.serving import Serving, serve
from worker.errors import ConfigError, FatalError, TransientError, WorkerError

_log = structlog.get_logger(__name__)
# A fresh interpreter: an authority's threads and its database connections do not survive a fork.
_CONTEXT = multiprocessing.get_context("spawn")
_STOP_S = 30.0
_WINDOW_S, _CRASHES, _PAUSE_S = 600.0, 5, 1.0
_LONGEST_PAUSE_S, _TURN_S = 30.0, 0.2


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


@dataclass(frozen=True, slots=True)
class _Ending:
    """With which exit code and words a process ended, and whether it had served."""

    code: int | None
    said: str
    served: bool


class _Process:
    """
    One of the processes: started, started again, and what has become of it.

    Args:
        index: its number.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.serves = self.has_served = False
        self.process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._crashes: deque[float] = deque()
        self._waits_s, self._due = _PAUSE_S, 0.0

    @property
    def awaited(self) -> list[int | Connection]:
        """What says that something has become of it."""
        if self.process is None or self._pipe is None:
            return []
        return [self.process.sentinel] if self.serves else [self.process.sentinel, self._pipe]

    def begin(self, serving: Serving, listening: socket.socket) -> None:
        """Start it, where it neither runs nor rests."""
        if self.process is not None or time.monotonic() < self._due:
            return
        self._pipe, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=_child, args=(serving, listening, theirs), name=f"authority-{self.index}")
        process.start()
        theirs.close()
        self.process = process

    def look(self) -> _Ending | None:
        """Return how it ended; None while it has not."""
        if self.process is None or self._pipe is None:
            return None
        is_alive, said = self.process.is_alive(), self._hear(self._pipe)
        if is_alive and not said:
            return None
        self.process.join(_STOP_S)
        code, served = self.process.exitcode, self.serves
        self.close()
        return _Ending(code, said or f"it ended with exit code {code}", served)

    def _hear(self, pipe: Connection) -> str:
        with contextlib.suppress(EOFError, OSError):
            while pipe.poll():
                said = pipe.recv()
                if said is not None:
                    return str(said)
                self.serves = self.has_served = True
                self._waits_s = _PAUSE_S
        return ""

    def rest(self, *, crashed: bool) -> bool:
        """Let it stand still for a while, longer each time; returns whether it crashed too often to go on."""
        now = time.monotonic()
        if crashed:
            self._crashes.append(now)
            while now - self._crashes[0] > _WINDOW_S:
                self._crashes.popleft()
            self._due = now + _PAUSE_S * len(self._crashes)
        else:
            self._due, self._waits_s = now + self._waits_s, min(2 * self._waits_s, _LONGEST_PAUSE_S)
        return len(self._crashes) > _CRASHES

    def close(self) -> None:
        """Let go of what has ended."""
        if self._pipe is not None:
            self._pipe.close()
        self.process, self._pipe, self.serves = None, None, False


class Processes:
    """
    Starts processes, one after the other, starts again what ends, and stops them together.

    Args:
        count: how many.
        of: what each is told, by its number from 0.
        listening: where all of them accept.
    """

    def __init__(self, count: int, of: Callable[[int], Serving], listening: socket.socket) -> None:
        self._of, self._listening = of, listening
        self._processes = [_Process(index) for index in range(count)]

    def run(self, stop: threading.Event, ready: Callable[[], None]) -> None:
        """
        Serve until `stop` is set; `ready` is called once all of them do.

        One that ends while the store's database is away is started again for as long as another one serves.

        Raises:
            ConfigError: one can't start.
            TransientError: the database is away, and none serves.
            FatalError: one crashes again and again, or may not go on.
        """
        try:
            # The first makes or migrates the store before others look at it.
            for each in self._processes:
                while not each.serves and not stop.is_set():
                    self._turn(self._processes[: each.index + 1])
            if not stop.is_set():
                ready()
            while not stop.is_set():
                self._turn(self._processes)
        finally:
            self._end()

    def _turn(self, processes: Sequence[_Process]) -> None:
        for each in processes:
            each.begin(self._of(each.index), self._listening)
        wait([it for each in processes for it in each.awaited], timeout=_TURN_S)
        for each in processes:
            ending = each.look()
            if ending is not None:
                self._ended(each, ending)

    def _ended(self, each: _Process, ending: _Ending) -> None:
        is_away = ending.code == TransientError.exit_code
        if is_away and each.has_served and any(other.serves for other in self._processes):
            _log.warning("authority_process_waits", process=each.index, cause=ending.said)
            each.rest(crashed=False)
            return
        if not each.has_served or (
            not ending.served and ending.code in (TransientError.exit_code, FatalError.exit_code)
        ):
            raise _kind(ending.code)(f"process {each.index} of the authority does not start: {ending.said}")
        _log.error("authority_process_ended", process=each.index, exit_code=ending.code, cause=ending.said)
        if each.rest(crashed=True):
            raise FatalError(f"process {each.index} of the authority ends again and again: {ending.said}")

    def _end(self) -> None:
        running = [each.process for each in self._processes if each.process is not None]
        for process in running:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        for process in running:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        for each in self._processes:
            each.close()


def _kind(code: int | None) -> type[WorkerError]:
    kinds: tuple[type[WorkerError], ...] = (TransientError, FatalError)
    return next((kind for kind in kinds if kind.exit_code == code), ConfigError)
