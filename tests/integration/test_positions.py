"""Where routes read on is shown, and moved while nobody reads: in the group and in the table."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.program import COMMAND, worker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]
RECORDS = 60


class Site:
    """A deployment whose positions are looked at and moved by the command."""

    def __init__(self, deployment: Deployment, assignment: str) -> None:
        self.deployment = deployment
        self.schema_id, self.ids = deployment.write_customers(1, RECORDS)
        self.settings = deployment.settings(self.schema_id)
        member = "static_membership = true, session_timeout_s = 6"
        text = self.settings.read_text().replace(member, f'assignment = "{assignment}"')
        self.settings.write_text(text, encoding="utf-8")

    def run(self) -> None:
        """Read to the end."""
        done = worker(self.deployment.environ, "run", "--config", str(self.settings), "--until-end", timeout_s=180)
        assert done.returncode == 0, done.stderr[-3000:]

    def positions(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        return worker(self.deployment.environ, "positions", *command, "--config", str(self.settings))

    def moved(self, *command: str) -> list[dict[str, Any]]:
        done = self.positions("move", *command, "--execute", "--json")
        assert done.returncode == 0, done.stderr.decode()
        assert b"position_moved" in done.stderr
        return list(json.loads(done.stdout))

    def shown(self, route: str) -> list[dict[str, Any]]:
        done = self.positions("show", "--route", route, "--json")
        assert done.returncode == 0, done.stderr.decode()
        return list(json.loads(done.stdout))

    def lag(self, route: str) -> int:
        return sum(place["end"] - (place["position"] or 0) for place in self.shown(route))


def make_site(kafka: Kafka, dsn: str, authority: dict[str, str], directory: Path, assignment: str) -> Site:
    deployment = Deployment(kafka=kafka, dsn=dsn, authority=authority, directory=directory)
    deployment.prepare()
    return Site(deployment, assignment)


@pytest.fixture
def site(kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> Site:
    return make_site(kafka, new_database(region="eu-central-1"), authority, tmp_path, "cooperative")


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_positions_move_in_topic_and_table(site: Site) -> None:
    """From the start, records are written again, rows instead of the old ones; from a time, the rest is left."""
    site.run()
    assert site.lag("topic") == site.lag("table") == 0
    assert {place["start"] for place in site.shown("topic")} == {0}

    refused = site.positions("move", "table", "--to", "earliest", "--execute")
    assert (refused.returncode, b"--delete-rows" in refused.stderr) == (2, True), refused.stderr
    assert sum(place["moves"] for place in site.moved("topic", "--to", "earliest")) == -RECORDS
    site.moved("table", "--to", "earliest", "--delete-rows")
    assert site.deployment.rows() == []
    assert site.lag("topic") == site.lag("table") == RECORDS

    site.run()
    assert len(site.deployment.read(site.deployment.sink)) == 2 * RECORDS
    assert Counter(str(row[0]) for row in site.deployment.rows()) == Counter(site.ids)
    assert site.deployment.read(site.deployment.dead) == []

    between = datetime.now(UTC).isoformat()
    site.deployment.write_customers(2, RECORDS // 2)
    site.moved("topic", "--to", between)
    assert site.lag("topic") == RECORDS // 2
    site.moved("topic", "--to", "latest")
    assert site.lag("topic") == 0


@pytest.mark.heavy
def test_an_offset_is_of_one_partition(site: Site) -> None:
    """Only the named partition moves, and not to where it holds nothing."""
    site.run()
    named = f"{site.deployment.source}/1"

    outside = site.positions("move", "topic", "--to", "1000000", "--partition", named, "--execute")
    shown = site.positions("move", "topic", "--to", "3", "--partition", named)
    (place,) = site.moved("topic", "--to", "3", "--partition", named)

    assert (outside.returncode, b"is outside" in outside.stderr) == (2, True)
    assert b"Nothing was moved" in shown.stdout
    assert (place["partition"], place["to"]) == (1, 3)
    assert [p["position"] == p["end"] for p in site.shown("topic")] == [True, False]


@pytest.mark.parametrize("assignment", ["eager", pytest.param("consumer", marks=pytest.mark.heavy)])
def test_a_running_route_s_positions_stay(
    assignment: str, kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path
) -> None:
    """While somebody is in the group nothing moves, whichever way the group shares its partitions."""
    site = make_site(kafka, new_database(region="eu-central-1"), authority, tmp_path, assignment)
    environ = {**site.deployment.environ, "PATH": os.environ["PATH"]}
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen([*COMMAND, "run", "--config", str(site.settings)], env=environ, stderr=log)
    try:
        until(lambda: len(site.deployment.rows()) == RECORDS, (tmp_path / "log").read_text())
        until(lambda: len(site.deployment.read(site.deployment.sink)) == RECORDS, "the topic is written")

        refused = [site.positions("move", route, "--to", "earliest", "--execute") for route in ("topic", "table")]
        shown = site.positions("move", "topic", "--to", "earliest")
    finally:
        running.terminate()
        assert running.wait(60) == 0

    assert [done.returncode for done in refused] == [2, 2]
    assert all(b"is in use" in done.stderr for done in refused), refused[0].stderr
    assert b"in use now" in shown.stdout
    assert site.lag("topic") == site.lag("table") == 0


@pytest.mark.heavy
def test_a_held_position_is_not_waited_for(site: Site) -> None:
    """A frozen worker's open transaction holds its row: the move is refused, and moves the group's offsets neither."""
    site.run()
    with psycopg.connect(site.deployment.dsn) as frozen:
        frozen.execute("SELECT 1 FROM worker.offsets FOR UPDATE")

        refused = site.positions("move", "table", "--to", "latest", "--execute")

    assert (refused.returncode, b"holds its position" in refused.stderr) == (4, True), refused.stderr
