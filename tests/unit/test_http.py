"""The worker's HTTP surface tells what is true."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import pytest

from worker.errors import ConfigError
from worker.http import HttpServer, application
from worker.metrics import Metrics


class Route:
    """A route whose facts a test sets."""

    def __init__(self, *, is_alive: bool = True, reasons: Sequence[str] = ()) -> None:
        self.route, self.is_alive, self.why = "customers", is_alive, list(reasons)

    def alive(self, now: float) -> bool:
        return self.is_alive

    def reasons(self) -> Sequence[str]:
        return self.why


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
    with HttpServer(application(metrics.registry, lambda: [route], {}), "127.0.0.1:0") as server:
        reply = httpx.get(f"http://127.0.0.1:{server.port}/{path}")

    assert reply.status_code == status


def test_without_routes_the_worker_is_not_ready() -> None:
    """A worker that has built nothing yet is not ready."""
    with HttpServer(application(Metrics("eu-central-1").registry, list, {}), "127.0.0.1:0") as server:
        assert httpx.get(f"http://127.0.0.1:{server.port}/readyz").status_code == 503


def test_an_admin_call_runs_its_action() -> None:
    """`POST /admin/rotate` runs the action once; an unknown one is refused by name."""
    called: list[int] = []
    surface = application(Metrics("eu-central-1").registry, list, {"rotate": lambda: called.append(1)})
    with HttpServer(surface, "127.0.0.1:0") as server:
        base = f"http://127.0.0.1:{server.port}/admin"
        done, unknown = httpx.post(f"{base}/rotate"), httpx.post(f"{base}/shutdown")

    assert (done.status_code, unknown.status_code, called) == (200, 404, [1])


@pytest.mark.parametrize("listen", ["9464", "host:port", ""])
def test_an_address_of_another_form_is_refused(listen: str) -> None:
    """`listen` is host:port."""
    with pytest.raises(ConfigError, match="host:port"):
        HttpServer(application(Metrics("eu-central-1").registry, list, {}), listen)
