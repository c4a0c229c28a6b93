"""`/metrics`, `/healthz` and `/readyz` of one worker, on a thread of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.errors import ConfigError


class Health(Protocol):
    """What one route tells of itself; every method is safe from any thread."""

    @property
    def route(self) -> str:
        """The route's name."""
        ...

    def alive(self, now: float) -> bool:
        """Whether the loop has turned recently; `now` is `time.monotonic()`."""
        ...

    def reasons(self) -> Sequence[str]:
        """Why the route is not ready: empty if it is."""
        ...


def application(
    registry: CollectorRegistry,
    health: Callable[[], Sequence[Health]],
    actions: Mapping[str, Callable[[], None]],
) -> Starlette:
    """
    Build the HTTP surface.

    Args:
        registry: what `/metrics` exports.
        health: the routes as they are now.
        actions: `POST /admin/<name>` runs it; served to loopback callers only.
    """

    def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    def healthz(_request: Request) -> Response:
        now = time.monotonic()
        stuck = [h.route for h in health() if not h.alive(now)]
        return JSONResponse({"alive": not stuck, "stuck": stuck}, status_code=503 if stuck else 200)

    def readyz(_request: Request) -> Response:
        reasons = {h.route: list(h.reasons()) for h in health()}
        ready = bool(reasons) and not any(reasons.values())
        return JSONResponse({"ready": ready, "routes": reasons}, status_code=200 if ready else 503)

    def admin(request: Request) -> Response:
        host = request.client.host if request.client else ""
        action = actions.get(request.path_params["name"])
        if host not in ("127.0.0.1", "::1"):
            return JSONResponse({"error": "admin calls are taken from loopback only"}, status_code=403)
        if action is None:
            return JSONResponse({"error": "no such action", "actions": sorted(actions)}, status_code=404)
        action()
        return JSONResponse({"done": request.path_params["name"]})

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/admin/{name}", admin, methods=["POST"]),
        ]
    )


class HttpServer:
    """
    Serves an application on a thread until closed.

    Args:
        app: what to serve.
        listen: `host:port`; port 0 takes a free one, see `port`.

    Raises:
        ConfigError: `listen` has another form, or the address is taken.
    """

    def __init__(self, app: Starlette, listen: str) -> None:
        host, _, port = listen.rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError(f"[http] listen = {listen!r} is not host:port")
        config = uvicorn.Config(app, host=host.strip("[]"), port=int(port), log_config=None, access_log=False)
        self._server = uvicorn.Server(config)
        try:
            self._socket = config.bind_socket()
        except SystemExit as exc:
            raise ConfigError(f"[http] listen = {listen!r}: the address can't be bound; is it taken?") from exc
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving and wait for the thread."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(5)
        self._socket.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
