"""Runs one region's worker: its routes' threads, its HTTP surface, its end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import structlog

from worker import native
from worker.assembly.graph import Graph
from worker.assembly.run import RunOptions
from worker.checks.findings import enforce
from worker.checks.start import verify
from worker.config import Settings
from worker.errors import TransientError, WorkerError
from worker.http import HttpServer, application
from worker.kafka.clock import ClockWatch
from worker.metrics import Metrics, open_traces
from worker.pipeline.health import RouteHealth
from worker.pipeline.progress import RouteProgress
from worker.pipeline.runner import RouteRunner
from worker.surface import surface
from worker.version import __version__

_log = structlog.get_logger(__name__)
_RETRY_S = 2.0
_OBSERVE_S = 0.25
Observe = Callable[[Sequence[RouteProgress]], None]


class Worker:
    """
    One region's worker; a context manager that closes what it opened.

    Args:
        settings: validated.
        environ: credentials, secrets and `WORKER_INSTANCE`.
        metrics: where it is measured; its own if not given.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str], *, metrics: Metrics | None = None) -> None:
        native.require()
        self.graph = Graph(settings, environ, metrics=metrics)
        self.metrics = self.graph.context.metrics
        self.metrics.traces = open_traces(
            environ, service="residency-worker", region=settings.region, instance=self.graph.context.instance
        )
        self._settings = settings
        self.metrics.expect({route.name: route.source.topics for route in settings.routes})
        self.metrics.set("worker_build_info", 1, version=__version__, native="1" if native.IS_LOADED else "0")
        longest = max(route.sink.timeout_s for route in settings.routes)
        batch_s = settings.delivery.max_latency_ms / 1000 + longest
        self.metrics.set("worker_revocation_bound_seconds", batch_s, part="batch")
        self.metrics.set("worker_revocation_bound_seconds", settings.authority.client.timeout_s, part="request")
        self._stop = threading.Event()
        self._runners: dict[str, RouteRunner] = {}
        self._paused: set[str] = set()
        self._health = [RouteHealth(route.name, metrics=self.metrics) for route in settings.routes]

    @property
    def health(self) -> Sequence[RouteHealth]:
        """What each route tells of itself."""
        return self._health

    def run(self, options: RunOptions | None = None, *, observe: Observe | None = None) -> None:
        """
        Run every route until stopped, or to its bounds, and serve HTTP meanwhile.

        Args:
            options: how far to go; for ever if not given.
            observe: called several times a second with how far each route has come.

        Raises:
            WorkerError: the first one that ended a route; the others have been stopped gracefully.
        """
        context = self.graph.context
        shown = surface(self, self._settings, context.environ, self.metrics, self._health, lambda: {"": os.getpid()})
        with HttpServer(application(shown), self._settings.http.listen) as server:
            if not native.IS_LOADED:
                _log.warning("native_missing", effect="encryption in plain Python, at about a tenth of the rate")
            _log.info("starting", instance=context.instance, version=__version__, http_port=server.port)
            self.run_routes(RunOptions() if options is None else options, observe=observe)

    def run_routes(self, options: RunOptions, *, observe: Observe | None = None) -> None:
        """Do what `run` does, without HTTP: for one of several processes."""
        if self._is_ready():
            self._run_routes(options, observe)

    def progress(self) -> list[RouteProgress]:
        """How far each route has come; safe from any thread."""
        return [runner.progress() for runner in list(self._runners.values())]

    def stop(self) -> None:
        """Ask every route for a graceful end; safe in a signal handler."""
        self._stop.set()
        for runner in list(self._runners.values()):
            runner.stop()

    def rotate(self) -> None:
        """Drop every key held; new ones are fetched."""
        if self.graph.rotate():
            self.metrics.inc("worker_key_rotations_total")
            _log.info("keys_rotated")

    def pause(self, route: str) -> None:
        """Read nothing more in a route; raises `KeyError` for an unknown one. Safe from any thread."""
        self._known(route)
        self._paused.add(route)
        if route in self._runners:
            self._runners[route].pause()

    def resume(self, route: str) -> None:
        """Go on reading; raises `KeyError` for an unknown route. Safe from any thread."""
        self._known(route)
        self._paused.discard(route)
        if route in self._runners:
            self._runners[route].resume()

    def _known(self, route: str) -> None:
        if all(route != known.name for known in self._settings.routes):
            raise KeyError(route)

    def close(self) -> None:
        """Close the key caches and the connections to the key service and the registry, and send the last traces."""
        self.graph.close()
        self.metrics.traces.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _is_ready(self) -> bool:
        """Verify until nothing is unreachable any more; False where the worker is stopped meanwhile."""
        told = ""
        while not self._stop.is_set():
            try:
                enforce(verify(self.graph))
            except TransientError as exc:
                if told != str(exc):
                    told = str(exc)
                    _log.warning("waiting", error=told)
                for health in self._health:
                    health.beat()
                    health.pause("start", "something is not reachable; see the log")
                self._stop.wait(exc.retry_after_s or _RETRY_S)
                continue
            for health in self._health:
                health.resume("start")
            _log.info("verified")
            return True
        return False

    def _run_routes(self, options: RunOptions, observe: Observe | None) -> None:
        errors: list[BaseException] = []
        threads = []
        for route, health in zip(self._settings.routes, self._health, strict=True):
            runner = self.graph.routes.runner(route, health, options)
            self._runners[route.name] = runner
            if route.name in self._paused:
                runner.pause()
            threads.append(threading.Thread(target=self._guard, args=(route.name, runner, errors), name=route.name))
        if self._stop.is_set():
            self.stop()
        for thread in threads:
            thread.start()
        clock = ClockWatch()
        for thread in threads:
            while thread.is_alive():
                thread.join(_OBSERVE_S)
                clock.look()
                if observe is not None:
                    observe(self.progress())
        if observe is not None:
            observe(self.progress())
        if errors:
            raise errors[0]

    def _guard(self, route: str, runner: RouteRunner, errors: list[BaseException]) -> None:
        structlog.contextvars.bind_contextvars(route=route)
        try:
            runner.run()
        except BaseException as exc:
            errors.append(exc)
            _log.error("route_failed", route=route, kind=type(exc).__name__, error=_told(exc))
            self.stop()


def _told(error: BaseException) -> str:
    """Return an error's own words where it is the worker's; another's may quote a record."""
    return str(error) if isinstance(error, WorkerError) else type(error).__name__
