"""A running worker is asked for its state, and told to pause and go on."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.operations.prometheus import free_port
from tests.program import COMMAND, worker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


class Controlled:
    """A worker of its own process and the commands that reach it."""

    def __init__(self, site: Deployment, settings: Path, *arguments: str) -> None:
        self._port = free_port()
        environ = {**site.environ, "PATH": os.environ["PATH"], "WORKER_HTTP__LISTEN": f"127.0.0.1:{self._port}"}
        self.log = site.directory / "log"
        with self.log.open("wb") as stream:
            command = [*COMMAND, "run", "--config", str(settings), *arguments]
            self.process = subprocess.Popen(command, env=environ, stderr=stream)

    def tell(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        return worker({}, *command, "--url", f"http://127.0.0.1:{self._port}")

    def status(self) -> dict[str, Any]:
        try:
            return dict(httpx.get(f"http://127.0.0.1:{self._port}/status", timeout=10).json())
        except httpx.HTTPError:
            return {}

    def route(self, name: str) -> dict[str, Any]:
        routes = self.status().get("routes", ())
        return dict(next((route for route in routes if route["route"] == name), {}))

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 90
        while not condition():
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, f"{what}: {self.status()}"
            time.sleep(0.1)


@pytest.fixture
def site(kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> Deployment:
    made = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
    made.prepare()
    return made


@pytest.fixture(params=[1, 2], ids=["one process", "two processes"])
def controlled(site: Deployment, request: pytest.FixtureRequest) -> Iterator[Controlled]:
    schema_id, _ = site.write_customers(1, 200)
    settings = site.settings(schema_id, changes="[delivery]\nverify_interval_s = 1\n")
    running = Controlled(site, settings, "--processes", str(request.param))
    try:
        yield running
    finally:
        running.process.terminate()
        assert running.process.wait(60) == 0


def test_a_route_is_paused_and_goes_on(site: Deployment, controlled: Controlled) -> None:
    """A paused route reads nothing more while the other goes on; resumed it takes up each record once."""
    controlled.until(
        lambda: controlled.route("topic").get("records", {}).get("encrypted") == 200, "the first are there"
    )
    controlled.until(lambda: all(r["ready"] for r in controlled.status()["routes"]), "all is ready")
    assert controlled.tell("status").returncode == 0
    assert controlled.tell("pause", "topic").returncode == 0
    controlled.until(lambda: any("operator" in r for r in controlled.route("topic")["reasons"]), "it says so")
    site.write_customers(2, 100)
    controlled.until(lambda: controlled.route("table")["records"].get("encrypted") == 300, "the other goes on")
    held, answer = controlled.route("topic"), controlled.tell("status")
    assert controlled.tell("resume", "topic").returncode == 0
    controlled.until(lambda: controlled.route("topic")["records"].get("encrypted") == 300, "it goes on")

    assert (held["records"]["encrypted"], held["ready"], held["alive"]) == (200, False, True)
    assert (answer.returncode, b"operator" in answer.stdout) == (1, True)
    assert len({key for key, _, _ in site.read(site.sink)}) == len(site.read(site.sink)) == 300
    told = json.loads(controlled.tell("status", "--json").stdout)
    assert sum(p["position"] - p["start"] for p in controlled.route("table")["partitions"]) == 300
    assert set(told["pins"].values()) <= {"matches", "unauthenticated"}
    assert told["keys"]["breaker"] == "closed"


def test_an_unknown_route_is_refused_by_name(controlled: Controlled) -> None:
    """The message lists the routes that there are."""
    controlled.until(lambda: bool(controlled.status()), "it answers")

    answer = controlled.tell("pause", "orders")

    assert answer.returncode == 2
    assert b"no such route: orders" in answer.stderr
    assert b"table, topic" in answer.stderr


def test_a_worker_that_does_not_run_is_no_answer() -> None:
    """Exit 4, and what was asked."""
    answer = worker({}, "status", "--url", f"http://127.0.0.1:{free_port()}")

    assert answer.returncode == 4
    assert b"no worker answers" in answer.stderr
