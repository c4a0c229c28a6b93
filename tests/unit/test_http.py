"""The worker's HTTP surface tells what is true."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import anyio
import httpx
import pytest

from worker.errors import ConfigError
from worker.http import HttpServer, Surface, application
from worker.metrics import Metrics


class Route:
    """A route whose facts a test sets."""

    def __init__(self, *, is_alive: bool = True, reasons: Sequence[str] = ()) -> None:
        self.route, self.is_alive, self.why = "customers", is_alive, list(reasons)

    def alive(self, now: float) -> bool:
        return self.is_alive

    def reasons(self) -> Sequence[str]:
        return self.why


def empty(**parts: Any) -> Surface:
    return Surface(registry=Metrics("eu-central-1").registry, health=list, **parts)


@pytest.mark.parametrize(
    ("route", "path", "status"),
    [
        (Route(), "healthz", 200),
        (Route(is_alive=False), "healthz", 503),
        (Route(), "readyz", 200),
        (Route(reasons=["paused, sink away"]), "readyz", 503),
        (Route(), "metrics", 200),
        (Route(), "nowhere", 404),
    ],
)
def test_the_status_says_what_is_true(route: Route, path: str, status: int) -> None:
    """Health and readiness are told by status code."""
    metrics = Metrics("eu-central-1")
    with HttpServer(application(Surface(registry=metrics.registry, health=lambda: [route])), "127.0.0.1:0") as server:
        reply = httpx.get(f"http://127.0.0.1:{server.port}/{path}")

    assert reply.status_code == status


def test_without_routes_the_worker_is_not_ready() -> None:
    """A worker that has built nothing yet is not ready."""
    with HttpServer(application(empty()), "127.0.0.1:0") as server:
        assert httpx.get(f"http://127.0.0.1:{server.port}/readyz").status_code == 503


def test_an_admin_call_runs_its_action() -> None:
    """`POST /admin/rotate` runs the action once; an unknown one is refused by name."""
    called: list[int] = []
    surface = empty(actions={"rotate": lambda: called.append(1)})
    with HttpServer(application(surface), "127.0.0.1:0") as server:
        base = f"http://127.0.0.1:{server.port}/admin"
        done, unknown = httpx.post(f"{base}/rotate"), httpx.post(f"{base}/shutdown")

    assert (done.status_code, unknown.status_code, called) == (200, 404, [1])


@pytest.mark.parametrize("listen", ["9464", "host:port", ""])
def test_an_address_of_another_form_is_refused(listen: str) -> None:
    """`listen` is host:port."""
    with pytest.raises(ConfigError, match="host:port"):
        HttpServer(application(empty()), listen)


class FromElsewhere:
    """An application as a caller of another machine meets it."""

    def __init__(self, surface: Surface) -> None:
        self._transport = httpx.ASGITransport(app=application(surface), client=("10.0.0.7", 40_000))

    async def ask(self, method: str, path: str, token: str | None = None) -> int:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(transport=self._transport, base_url="http://worker") as client:
            return (await client.request(method, path, headers=headers)).status_code


@pytest.mark.parametrize(
    ("token", "given", "status"),
    [(None, None, 403), (None, "x", 401), ("secret", None, 403), ("secret", "other", 401), ("secret", "secret", 200)],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/status"), ("POST", "/admin/rotate")])
def test_control_from_elsewhere_needs_the_token(
    token: str | None, given: str | None, status: int, method: str, path: str
) -> None:
    """Status and control are for loopback, and for whoever has the token where there is one."""
    surface = empty(actions={"rotate": lambda: None}, token=token)

    assert anyio.run(FromElsewhere(surface).ask, method, path, given) == status


@pytest.mark.parametrize(
    "header",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"host": "rebound.evil.example:9464"},
        {"x-forwarded-for": "10.0.0.7"},
        {"x-forwarded-for": "127.0.0.1"},
        {"via": "1.1 proxy"},
        {"forwarded": "for=10.0.0.7"},
    ],
    ids=str,
)
@pytest.mark.parametrize(("method", "path"), [("GET", "status"), ("POST", "admin/rotate")])
def test_loopback_speaks_for_nobody_else(header: dict[str, str], method: str, path: str) -> None:
    """A page in a browser, a name that leads here and a proxy reach loopback from it, and are somebody else."""
    done: list[int] = []
    surface = empty(actions={"rotate": lambda: done.append(1)}, token="secret")
    with HttpServer(application(surface), "127.0.0.1:0") as server:
        url = f"http://127.0.0.1:{server.port}/{path}"
        refused = httpx.request(method, url, headers=header)
        known = httpx.request(method, url, headers={**header, "authorization": "Bearer secret"})

    assert (refused.status_code, known.status_code) == (403, 200)
    assert len(done) == (1 if method == "POST" else 0)


def test_health_and_metrics_need_no_token() -> None:
    """Probes and Prometheus come from other machines."""
    surface = empty(token="secret")

    assert anyio.run(FromElsewhere(surface).ask, "GET", "/metrics") == 200


def test_a_route_is_told_by_name() -> None:
    """`POST /admin/pause/<route>` reaches that route; an unknown one is refused by name."""
    paused: list[str] = []

    def pause(route: str) -> None:
        if route != "customers":
            raise KeyError(route)
        paused.append(route)

    with HttpServer(application(empty(route_actions={"pause": pause})), "127.0.0.1:0") as server:
        base = f"http://127.0.0.1:{server.port}/admin/pause"
        done, unknown = httpx.post(f"{base}/customers"), httpx.post(f"{base}/orders")

    assert (done.status_code, unknown.status_code, paused) == (200, 404, ["customers"])
    assert "orders" in unknown.json()["error"]


@pytest.mark.parametrize("is_started", [False, True])
def test_a_server_ends_whenever_it_is_told(is_started: bool) -> None:
    """Before it serves, or while it begins to."""
    server = HttpServer(application(empty()), "127.0.0.1:0")
    if is_started:
        server.start()

    server.close()

    assert not any(thread.name == "http" for thread in threading.enumerate())
