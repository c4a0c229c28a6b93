"""Runs a worker's share in each of several processes, and ends as one of them."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from multiprocessing.connection import wait

import structlog

from worker import metrics as catalogue
from worker.app import Observe
from worker.assembly.context import instance_name, process_name
from worker.assembly.run import RunOptions
from worker.config import Settings
from worker.errors import ConfigError, FatalError, Fenced, ProcessFailed
from worker.http import HttpServer, application
from worker.kafka.kafka_python import require
from worker.log import LogFormat
from worker.metrics import Metrics
from worker.pipeline.progress import RouteProgress, merged
from worker.supervisor.child import CLOSE_S, Action, Order, Part
from worker.supervisor.departure import Departure
from worker.supervisor.health import WholeRoute
from worker.supervisor.process import Ending, Process
from worker.supervisor.restarts import Restarts
from worker.surface import surface

_log = structlog.get_logger(__name__)
_TURN_S = 0.1
# A verdict is the same however often it is asked for.
_VERDICTS = frozenset({ConfigError.exit_code, FatalError.exit_code, Fenced.exit_code})


class Supervisor:
    """
    Starts n processes, serves HTTP for all of them, starts a crashed one again, and stops the others where one fails.

    Each has its own stable name, `<instance>--<i>`: its transactional id and its membership stay its own.

    Args:
        settings: the region's.
        environ: the worker's; the processes inherit this process's own.
        options: how far to go.
        processes: n, at least 1.
        log_level: for the processes' logs.
        log_format: the same.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        options: RunOptions,
        *,
        processes: int,
        log_level: str = "info",
        log_format: LogFormat = "auto",
    ) -> None:
        self._settings, self._environ = settings, environ
        self._options = options
        self._instance = instance_name(environ)
        self._count = processes
        self._log_level, self._log_format = log_level, log_format
        self._processes: list[Process] = []
        # Flags, no events: a signal handler must not wait for a lock that its own thread holds.
        self._stopping = False
        self._rotate = False
        self._paused: set[str] = set()
        self._orders: deque[Order] = deque()
        self._deadline: float | None = None
        self._failure: ProcessFailed | None = None

    def stop(self) -> None:
        """Ask for a graceful end; safe in a signal handler."""
        self._stopping = True

    def rotate(self) -> None:
        """Let every process drop all keys held; safe in a signal handler and from any thread."""
        self._rotate = True

    def pause(self, route: str) -> None:
        """Let no process read on in a route, its successors included; raises `KeyError` for an unknown one."""
        self._order("pause", route)
        self._paused.add(route)

    def resume(self, route: str) -> None:
        """Let every process go on reading; raises `KeyError` for an unknown route."""
        self._order("resume", route)
        self._paused.discard(route)

    def _order(self, action: Action, route: str) -> None:
        if all(route != known.name for known in self._settings.routes):
            raise KeyError(route)
        self._orders.append(Order(action, route))

    def run(self, *, observe: Observe | None = None) -> None:
        """
        Run until stopped, to the options' end, or until a process fails for good.

        Args:
            observe: called several times a second with how far the routes have come over all processes.

        Raises:
            ProcessFailed: a process ended with a verdict, or crashed too often; the others were stopped gracefully.
            ConfigError: the port is taken, there is no place for the metrics, or kafka-python is not installed.
        """
        # It takes a process that was killed out of its group.
        require("--processes")
        try:
            shared = tempfile.TemporaryDirectory(prefix="worker-metrics-")
        except OSError as exc:
            raise ConfigError(f"--processes needs a temporary directory for its metrics: {exc.strerror}") from exc
        with shared as directory:
            metrics = catalogue.whole(self._settings.region, directory)
            self._processes = [self._process(index, directory) for index in range(self._count)]
            health = [WholeRoute(route.name, self._processes) for route in self._settings.routes]
            metrics.expect({route.name: route.source.topics for route in self._settings.routes})
            shown = surface(self, self._settings, self._environ, metrics, health, self._pids)
            with HttpServer(application(shown), self._settings.http.listen) as server:
                _log.info("starting", instance=self._instance, processes=self._count, http_port=server.port)
                try:
                    self._supervise(metrics, directory, observe or (lambda _progress: None))
                finally:
                    for process in self._processes:
                        process.kill()
        if self._failure is not None:
            raise self._failure

    def progress(self) -> list[RouteProgress]:
        """How far each route came over all processes."""
        return merged(part for process in self._processes for part in process.progress())

    def _pids(self) -> dict[str, int]:
        pids = {"parent": os.getpid()}
        return pids | {str(p.index): p.pid for p in self._processes if p.pid is not None}

    def _process(self, index: int, directory: str) -> Process:
        part = Part(
            index,
            process_name(self._instance, index),
            self._settings,
            self._options.holding() if self._options.is_bounded else self._options,
            directory,
            self._log_level,
            self._log_format,
        )
        return Process(part, Restarts(self._settings.processes))

    def _supervise(self, metrics: Metrics, directory: str, observe: Observe) -> None:
        for process in self._processes:
            # Each index is a word of a fixed list once their number is known.
            metrics.inc("worker_process_restarts_total", 0, process=str(process.index))
            process.start()
            _log.info("process_started", process=process.index, pid=process.pid)
        while any(process.is_running or process.absence for process in self._processes):
            self._listen()
            for process in self._processes:
                ending = process.ending()
                if ending is not None:
                    catalogue.forget_process(directory, process.index)
                    self._judge(process, ending)
            self._start_again(metrics)
            progress = self.progress()
            observe(progress)
            if self._options.is_bounded and progress and all(route.is_complete for route in progress):
                self.stop()
            self._give_orders()
        observe(self.progress())

    def _listen(self) -> None:
        pipes = [process.pipe for process in self._processes if process.pipe is not None]
        if pipes:
            wait(pipes, _TURN_S)
        else:
            time.sleep(_TURN_S)
        for process in self._processes:
            process.hear()

    def _judge(self, process: Process, ending: Ending) -> None:
        # SIGTERM may reach the whole group, and a process that has no handler yet holds nothing.
        expected = self._stopping and ending.code in (0, -signal.SIGTERM)
        level = _log.info if expected else _log.error
        level("process_ended", process=process.index, exit_code=ending.code, error=ending.error)
        if expected or (self._stopping and self._failure is not None):
            return
        if self._stopping or ending.code in _VERDICTS:
            self._fail(ProcessFailed(f"process {process.index} {ending}", exit_code=ending.exit_code))
            return
        pause = process.restarts.crashed()
        if pause is None:
            many = f"process {process.index} crashed {process.restarts.crashes} times within"
            text = f"{many} {self._settings.processes.window_s:g} s and is given up on: it {ending}"
            self._fail(ProcessFailed(text, exit_code=ending.exit_code))
            return
        process.absence = f"{ending}; started again in {pause:g} s"
        process.start_at = time.monotonic() + pause
        process.departure = Departure(self._settings, self._environ, process.index, process.instance)

    def _fail(self, failure: ProcessFailed) -> None:
        self._failure = failure
        self.stop()

    def _start_again(self, metrics: Metrics) -> None:
        for process in self._processes:
            if process.absence and self._stopping:
                process.absence = ""
            elif process.absence and process.is_due:
                process.start()
                for route in sorted(self._paused):
                    process.tell(Order("pause", route))
                metrics.inc("worker_process_restarts_total", process=str(process.index))
                _log.warning("process_restarted", process=process.index, pid=process.pid)

    def _give_orders(self) -> None:
        if self._rotate:
            self._rotate = False
            for process in self._processes:
                process.tell(Order("rotate"))
        while self._orders:
            order = self._orders.popleft()
            for process in self._processes:
                process.tell(order)
        if not self._stopping:
            return
        if self._deadline is None:
            self._deadline = time.monotonic() + self._settings.delivery.stop_s + CLOSE_S
            for process in self._processes:
                process.tell(Order("stop"))
        elif time.monotonic() >= self._deadline:
            for process in self._processes:
                process.overrun(self._settings.delivery.stop_s + CLOSE_S)
