"""`/metrics`, `/healthz`, `/readyz`, and the control of one worker, on a thread of their own."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.errors import ConfigError
from worker.http_client import is_loopback
from worker.options import host_and_port

# The date that a reply bears.
_DATE_S = 1.0
_FOR_OTHERS = ("origin", "sec-fetch-site", "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """
    What the HTTP surface shows and does.

    Args:
        registry: what `/metrics` exports.
        health: the routes as they are now.
        actions: `POST /admin/<name>` runs it.
        route_actions: `POST /admin/<name>/<route>` runs it; a `KeyError` means that there is no such route.
        status: what `GET /status` answers.
        refresh: called before each scrape.
        token: opens `/status` and `/admin` to callers that are not on loopback; None opens them to nobody else.
    """

    registry: CollectorRegistry
    health: Callable[[], Sequence[Health]]
    actions: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    route_actions: Mapping[str, Callable[[str], None]] = field(default_factory=dict)
    status: Callable[[], Mapping[str, Any]] = dict
    refresh: Callable[[], None] = lambda: None
    token: str | None = field(default=None, repr=False)


def application(surface: Surface) -> Starlette:
    """Build the HTTP application."""

    def metrics(_request: Request) -> Response:
        surface.refresh()
        return Response(generate_latest(surface.registry), media_type=CONTENT_TYPE_LATEST)

    def healthz(_request: Request) -> Response:
        now = time.monotonic()
        stuck = [h.route for h in surface.health() if not h.alive(now)]
        return JSONResponse({"alive": not stuck, "stuck": stuck}, status_code=503 if stuck else 200)

    def readyz(_request: Request) -> Response:
        reasons = {h.route: list(h.reasons()) for h in surface.health()}
        ready = bool(reasons) and not any(reasons.values())
        return JSONResponse({"ready": ready, "routes": reasons}, status_code=200 if ready else 503)

    def status(request: Request) -> Response:
        return _refusal(surface, request) or JSONResponse(dict(surface.status()))

    def admin(request: Request) -> Response:
        refusal = _refusal(surface, request)
        return refusal if refusal is not None else _act(surface, **request.path_params)

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/status", status),
            Route("/admin/{name}", admin, methods=["POST"]),
            Route("/admin/{name}/{route}", admin, methods=["POST"]),
        ]
    )


def _refusal(surface: Surface, request: Request) -> Response | None:
    """Return why this caller may not see or do more than health and metrics; None where it may."""
    given = request.headers.get("authorization", "")
    if surface.token is not None and hmac.compare_digest(given.encode(), f"Bearer {surface.token}".encode()):
        return None
    # A token that is given must be right, from loopback too.
    if not given and _is_from_here(request):
        return None
    error = "taken from loopback, or with the bearer token that [http] token names"
    return JSONResponse({"error": error}, status_code=401 if given else 403)


def _is_from_here(request: Request) -> bool:
    """Whether a program of this machine asks for itself, no proxy for another, and no browser for a page of the web."""
    if request.client is None or not is_loopback(request.client.host) or any(h in request.headers for h in _FOR_OTHERS):
        return False
    # A name that somebody else resolves to loopback is theirs.
    return is_loopback(urlsplit(f"//{request.headers.get('host', '')}").hostname or "")


def _act(surface: Surface, name: str, route: str | None = None) -> Response:
    actions = sorted((*surface.actions, *(f"{action}/<route>" for action in surface.route_actions)))
    unknown = JSONResponse({"error": "no such action", "actions": actions}, status_code=404)
    if route is None:
        if name not in surface.actions:
            return unknown
        surface.actions[name]()
        return JSONResponse({"done": name})
    if name not in surface.route_actions:
        return unknown
    try:
        surface.route_actions[name](route)
    except KeyError:
        routes = sorted(health.route for health in surface.health())
        return JSONResponse({"error": f"no such route: {route}", "routes": routes}, status_code=404)
    return JSONResponse({"done": name, "route": route})


class _Server(uvicorn.Server):
    """uvicorn's, which looks ten times a second whether it ends; this one is told, and looks up for the date alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        """Serve until told to end."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _DATE_S)

    def end(self) -> None:
        """Have it end; safe from any thread, at any time."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._ended.set)


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
        try:
            host, port = host_and_port(listen)
        except ValueError as exc:
            raise ConfigError(f"[http] listen: {exc}") from None
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            ws="none",
        )
        self._server = _Server(config)
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
        self._server.end()
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
