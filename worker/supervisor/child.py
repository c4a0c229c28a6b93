"""One of several processes: a worker without HTTP, told and watched through a pipe."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

from worker import failpoints, interpreter, log
from worker.app import Worker
from worker.assembly.run import RunOptions
from worker.config import Settings
from worker.errors import WorkerError
from worker.metrics import Metrics
from worker.pipeline.progress import RouteProgress

_BEAT_S = 0.5
# Beyond `stop_s` a loop closes its clients; what hangs there must not outlive the parent.
CLOSE_S = 15.0
Action = Literal["stop", "rotate", "pause", "resume"]


@dataclass(frozen=True, slots=True)
class Order:
    """What a parent tells a process to do; `route` is the one to pause or resume."""

    action: Action
    route: str = ""


@dataclass(frozen=True, slots=True)
class RouteReport:
    """A route as its process sees it: whether its loop turns, why it is not ready, how far it came."""

    route: str
    alive: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What a process says several times a second, and once more at its end; `error` is its log's last one."""

    routes: tuple[RouteReport, ...]
    progress: tuple[RouteProgress, ...]
    error: str = ""


@dataclass(frozen=True, slots=True)
class LastWords:
    """Why a process ends by itself; free of any content of a record."""

    error: str


@dataclass(frozen=True, slots=True)
class Part:
    """
    What one process is told.

    Args:
        index: 0 to n - 1; stable over restarts.
        instance: its stable name.
        settings: the region's.
        options: how far to go.
        metrics_dir: where the processes share their metrics.
        log_level: the least level that is logged.
        log_format: how.
    """

    index: int
    instance: str
    settings: Settings
    options: RunOptions
    metrics_dir: str
    log_level: str
    log_format: log.LogFormat


def serve(part: Part, pipe: Connection) -> None:
    """Run one share until told to stop, until the parent is gone, or to an error, whose code it exits with."""
    failpoints.arm(os.environ.get("FAILPOINTS", ""))
    interpreter.set_up()
    log.take_over()
    log.configure(region=part.settings.region, level=part.log_level, form=part.log_format, process=part.index)
    # A terminal's Ctrl-C reaches every process; the parent alone decides what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Until there is a worker nothing has been begun.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    metrics = Metrics.shared(part.settings.region, part.metrics_dir, part.index)
    environ = {**os.environ, "WORKER_INSTANCE": part.instance}
    try:
        with Worker(part.settings, environ, metrics=metrics) as worker:
            signal.signal(signal.SIGTERM, lambda *_: worker.stop())
            with _Talk(worker, pipe, part.settings.delivery.stop_s):
                worker.run_routes(part.options)
    except WorkerError as exc:
        _say(pipe, f"{type(exc).__name__}: {exc}")
        sys.exit(exc.exit_code)
    except Exception as exc:
        _say(pipe, type(exc).__name__)
        raise


def _say(pipe: Connection, error: str) -> None:
    with contextlib.suppress(OSError):
        pipe.send(LastWords(error))


class _Talk:
    """Tells the parent how it goes and does what the parent says; without a parent the worker stops."""

    def __init__(self, worker: Worker, pipe: Connection, stop_s: float) -> None:
        self._worker, self._pipe, self._stop_s = worker, pipe, stop_s
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=act, daemon=True) for act in (self._tell, self._listen)]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._threads[0].join()

    def _tell(self) -> None:
        last = False
        while not last:
            # Looked at before the report, so that the last one comes after the end.
            last = self._ended.wait(_BEAT_S)
            try:
                self._pipe.send(self._report())
            except OSError:
                return

    def _listen(self) -> None:
        while True:
            try:
                order: Order = self._pipe.recv()
            except (EOFError, OSError):
                break
            self._do(order)
        # By a thread of C's: what hangs may hold the interpreter's lock.
        faulthandler.dump_traceback_later(self._stop_s + CLOSE_S, exit=True)
        self._worker.stop()

    def _do(self, order: Order) -> None:
        match order.action:
            case "stop":
                self._worker.stop()
            case "rotate":
                self._worker.rotate()
            case "pause":
                self._worker.pause(order.route)
            case "resume":
                self._worker.resume(order.route)

    def _report(self) -> Report:
        now = time.monotonic()
        routes = tuple(RouteReport(h.route, h.alive(now), tuple(h.reasons())) for h in self._worker.health)
        progress: Sequence[RouteProgress] = self._worker.progress()
        return Report(routes, tuple(progress), log.last_error())
