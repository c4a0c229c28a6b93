"""One process as its parent sees it: started, heard, told, ended, started again."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from worker.pipeline.progress import RouteProgress, merged
from worker.supervisor.child import LastWords, Order, Part, Report, serve
from worker.supervisor.departure import Departure
from worker.supervisor.restarts import Restarts

# A fresh interpreter: neither librdkafka nor the key caches' threads survive a fork.
_CONTEXT = multiprocessing.get_context("spawn")
# How long beyond its pause a successor waits for its predecessor to leave the groups.
_DEPARTURE_S = 2.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended: `code` is its exit code, or -n where signal n killed it."""

    code: int
    error: str

    @property
    def exit_code(self) -> int:
        """The code with which the whole should exit; an end that nobody asked for is never 0."""
        return 128 - self.code if self.code < 0 else self.code or 3

    def __str__(self) -> str:
        by = f" ({signal.Signals(-self.code).name})" if self.code < 0 else ""
        return f"ended with exit code {self.code}{by}; last error: {self.error or 'none named; see its log'}"


class Process:
    """
    A process and its successors of the same index.

    Args:
        part: what each of them is told.
        restarts: how often it may crash.
    """

    def __init__(self, part: Part, restarts: Restarts) -> None:
        self._part = part
        self.restarts = restarts
        self.report: Report | None = None
        self.heard_at = time.monotonic()
        self.absence = ""
        self.start_at = 0.0
        self.departure: Departure | None = None
        self._past: list[RouteProgress] = []
        self._error = self._overrun = ""
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    @property
    def index(self) -> int:
        """Its number."""
        return self._part.index

    @property
    def instance(self) -> str:
        """Its stable name."""
        return self._part.instance

    @property
    def is_due(self) -> bool:
        """Whether it is time to start a successor: after the pause, and once its predecessor has left the groups."""
        departed = self.departure is None or self.departure.is_over
        return time.monotonic() >= self.start_at + (0.0 if departed else _DEPARTURE_S)

    @property
    def is_running(self) -> bool:
        """Whether there is a process whose end has not been taken yet."""
        return self._process is not None

    @property
    def pipe(self) -> Connection | None:
        """What `multiprocessing.connection.wait` takes; None where nothing more comes."""
        return self._pipe

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it, or its successor."""
        if self.departure is not None:
            self.departure.give_up()
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=serve, args=(self._part, theirs), name=f"worker-{self.index}", daemon=True)
        # A signal to the whole group must not meet a process that has no handler yet: it waits until there is one.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        # Ours alone: with the process's end its pipe ends.
        theirs.close()
        self._process, self._pipe = process, ours
        self.report, self.heard_at, self.absence = None, time.monotonic(), ""
        self._error = self._overrun = ""

    def hear(self) -> None:
        """Take everything that it has said."""
        with contextlib.suppress(EOFError, OSError):
            while self._pipe is not None and self._pipe.poll():
                self._take(self._pipe.recv())
            return
        self._pipe = None

    def _take(self, said: object) -> None:
        self.heard_at = time.monotonic()
        if isinstance(said, Report):
            self.report = said
        elif isinstance(said, LastWords):
            self._error = said.error

    def tell(self, order: Order) -> None:
        """Tell it to do something; one that has ended meanwhile hears nothing."""
        if self._pipe is not None:
            with contextlib.suppress(OSError):
                self._pipe.send(order)

    def ending(self) -> Ending | None:
        """Return how it ended, once; None while it runs."""
        process = self._process
        if process is None or process.exitcode is None:
            return None
        self.hear()
        process.join()
        self._process, self._pipe = None, None
        if self.report is not None:
            self._past = merged([*self._past, *self.report.progress])
        self.report = None
        return Ending(process.exitcode or 0, "; ".join(filter(None, (self._overrun, self._error))))

    def overrun(self, seconds: float) -> None:
        """End it, since it did not stop in time; its ending says so, with what it last told."""
        if self._process is not None and not self._overrun:
            self.hear()
            told = [f"{r.route}: {why}" for r in (self.report.routes if self.report else ()) for why in r.reasons]
            if self.report and self.report.error:
                told.append(f"its log's last error is {self.report.error}")
            self._overrun = f"did not stop within {seconds:g} s and was killed ({'; '.join(told) or 'nothing is said'})"
            self._process.kill()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()

    def progress(self) -> list[RouteProgress]:
        """How far it and its predecessors came."""
        return self._past + (list(self.report.progress) if self.report is not None else [])
