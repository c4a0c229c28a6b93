"""`worker run --processes N`: real processes of one worker on a real broker."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.integration.test_outages import lose
from tests.program import COMMAND
from tests.proxy import Proxy

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.timeout(180)]
RUN = (*COMMAND, "run")
PARTITIONS = 4


class Running:
    """The real command with its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    def events(self, name: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self._log.read_bytes().splitlines() if line.startswith(b"{")]
        return [line for line in lines if line.get("event") == name]

    @property
    def port(self) -> object:
        return self.events("starting")[0]["http_port"]

    def shares(self) -> set[tuple[object, object]]:
        """Process and route of everyone that was given partitions."""
        return {(e["process"], e["route"]) for e in self.events("assigned") if e["partitions"]}

    def text(self) -> str:
        return self._log.read_text()

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=10)

    def metric(self, name: str) -> float:
        """Sum of a metric's series."""
        return sum(float(v) for v in re.findall(rf"^{name}\{{[^}}]*\}} (\S+)$", self.get("/metrics").text, re.M))

    def pid(self, index: int) -> int:
        started = [
            e for e in self.events("process_started") + self.events("process_restarted") if e["process"] == index
        ]
        return int(str(started[-1]["pid"]))

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 90
        while not condition():
            assert self.process.poll() is None, f"{what}: ended with {self.process.returncode}: {self.text()[-3000:]}"
            assert time.monotonic() < deadline, f"{what}: {self.text()[-3000:]}"
            time.sleep(0.05)


@contextmanager
def running(site: Deployment, settings: Path, *arguments: str) -> Iterator[Running]:
    log = site.directory / "log"
    environ = {**site.environ, "PATH": os.environ["PATH"]}
    with log.open("wb") as stream:
        process = subprocess.Popen([*RUN, "--config", str(settings), *arguments], env=environ, stderr=stream)
        try:
            yield Running(process, log)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(30)


@pytest.fixture
def site(kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> Deployment:
    made = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
    made.prepare(partitions=PARTITIONS)
    return made


def keys(site: Deployment) -> list[str]:
    return [(key or b"").decode() for key, _, _ in site.read(site.sink)]


def is_alive(pid: int) -> bool:
    """Whether the process exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_processes_share_a_topic_and_one_that_is_killed_costs_nothing(site: Deployment) -> None:
    """Two processes share the partitions; one is killed in mid-stream and replaced; each record is there once."""
    schema_id, first = site.write_customers(1, 50)
    settings = site.settings(schema_id, changes="[delivery]\nmax_records = 100\n[processes]\nrestart_s = 0.1\n")

    with running(site, settings, "--processes", "2") as worker:
        worker.until(
            lambda: worker.shares() == {(i, r) for i in (0, 1) for r in ("topic", "table")}, "all have a share"
        )
        _, second = site.write_customers(2, 3_000)
        worker.until(lambda: worker.metric("worker_records_total") >= 500, "records flow")
        killed = worker.pid(1)
        os.kill(killed, signal.SIGKILL)
        worker.until(lambda: worker.pid(1) != killed, "a successor is started")
        _, third = site.write_customers(3, 3_000)
        ids = first | second | third
        worker.until(lambda: len(site.rows()) == len(ids) == len(keys(site)), "both routes deliver every record")
        worker.until(lambda: worker.get("/readyz").status_code == 200, "the whole is ready")
        assigned = worker.metric("worker_assigned_partitions")
        restarts, counted = worker.metric("worker_process_restarts_total"), worker.metric("worker_records_total")
        httpx.post(f"http://127.0.0.1:{worker.port}/admin/rotate", timeout=10)
        worker.until(lambda: {e["process"] for e in worker.events("keys_rotated")} == {0, 1}, "both drop their keys")
        worker.process.terminate()
        code = worker.process.wait(60)

    assert (code, restarts) == (0, 1), worker.text()[-3000:]
    # What was committed just before the kill is not read again, nor counted by whoever comes after.
    assert 0 <= 2 * len(ids) - counted <= 2 * 100
    assert assigned == 2 * PARTITIONS
    assert sorted(keys(site)) == sorted(str(row[0]) for row in site.rows()) == sorted(ids)


def test_the_partitions_of_a_killed_process_do_not_wait_for_its_session(site: Deployment) -> None:
    """With a session of five minutes, and long before there is a successor, the other process has them."""
    schema_id, first = site.write_customers(1, 50)
    settings = site.settings(schema_id, changes="[processes]\nrestart_s = 600\nmax_restart_s = 600\n")
    dynamic = settings.read_text().replace("static_membership = true, session_timeout_s = 6", "session_timeout_s = 300")
    settings.write_text(dynamic)

    with running(site, settings, "--processes", "2") as worker:
        worker.until(
            lambda: worker.shares() == {(i, r) for i in (0, 1) for r in ("topic", "table")}, "all have a share"
        )
        worker.until(lambda: len(site.rows()) == len(first) == len(keys(site)), "nothing is under way")
        os.kill(worker.pid(1), signal.SIGKILL)
        _, second = site.write_customers(2, 500)
        ids = first | second
        worker.until(lambda: len(site.rows()) == len(ids) == len(keys(site)), "the other delivers every record")
        removed = [(e["process"], e["members"]) for e in worker.events("member_removed")]
        worker.process.terminate()
        code = worker.process.wait(60)

    assert (code, removed) == (0, [(1, 2)]), worker.text()[-3000:]
    assert worker.events("process_restarted") == []


def test_a_verdict_of_one_process_ends_all_with_its_code(site: Deployment) -> None:
    """What is wrong for good is not tried again: the whole exits with the process's code and names its error."""
    settings = site.settings(1, cluster_id="another-cluster")

    with running(site, settings, "--processes", "2") as worker:
        code = worker.process.wait(60)

    assert code == 3
    assert "RegionViolation" in worker.text()
    assert "another-cluster" in worker.text()
    assert worker.events("process_restarted") == []


def test_a_process_that_crashes_again_and_again_is_given_up_on(site: Deployment) -> None:
    """After the last restart allowed the others are stopped, and the code and message say how it ended."""
    settings = site.settings(1, changes="[processes]\nrestart_s = 0.1\nmax_restarts = 1\n")

    with running(site, settings, "--processes", "2") as worker:
        worker.until(lambda: len(worker.events("process_started")) == 2, "both run")
        os.kill(worker.pid(0), signal.SIGKILL)
        worker.until(lambda: bool(worker.events("process_restarted")), "it is started again")
        os.kill(worker.pid(0), signal.SIGKILL)
        code = worker.process.wait(60)

    assert code == 128 + signal.SIGKILL
    assert "process 0 crashed 2 times within 600 s and is given up on" in worker.text()
    assert "ProcessFailed" in worker.text()
    assert "SIGKILL" in worker.text()
    assert [e["exit_code"] for e in worker.events("process_ended") if e["process"] == 1] == [0]


def test_processes_do_not_outlive_their_parent(site: Deployment) -> None:
    """When the parent is killed its processes deliver what they hold, and end."""
    settings = site.settings(1)

    with running(site, settings, "--processes", "2") as worker:
        worker.until(lambda: {e["process"] for e in worker.events("assigned")} == {0, 1}, "both have joined")
        pids = [worker.pid(0), worker.pid(1)]
        worker.process.kill()
        worker.process.wait(30)
        deadline = time.monotonic() + 60
        while any(is_alive(pid) for pid in pids):
            assert time.monotonic() < deadline, worker.text()[-3000:]
            time.sleep(0.05)

    ended = [(e["route"], e["reason"]) for e in worker.events("route_ended")]
    assert sorted(ended) == [("table", "stopped"), ("table", "stopped"), ("topic", "stopped"), ("topic", "stopped")]


def test_a_bounded_run_of_processes_ends_at_every_partitions_end(site: Deployment) -> None:
    """Whoever is given which partitions and when: together they read all of them, and the summary adds up."""
    schema_id, written = site.write_customers(1, 1_000)
    settings = site.settings(schema_id)
    command = [*RUN, "--config", str(settings), "--processes", "2", "--until-end", "--json"]

    ended = subprocess.run(
        command, env={**site.environ, "PATH": os.environ["PATH"]}, capture_output=True, timeout=120, check=False
    )

    assert ended.returncode == 0, ended.stderr[-3000:]
    told = json.loads(ended.stdout)
    assert (told["complete"], told["records"], told["encrypted"]) == (True, 2 * len(written), 2 * len(written))
    assert [len(route["positions"]) for route in told["routes"]] == [PARTITIONS, PARTITIONS]
    assert sorted(keys(site)) == sorted(str(row[0]) for row in site.rows()) == sorted(written)


class Watch:
    """Scrapes until the block ends, and notes every counter that went back."""

    def __init__(self, worker: Running) -> None:
        self._worker = worker
        self._last: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.scrapes = 0
        self.fallen: list[tuple[str, float, float]] = []

    def _run(self) -> None:
        while not self._stop.is_set():
            for family in text_string_to_metric_families(self._worker.get("/metrics").text):
                for sample in family.samples:
                    if sample.name.endswith(("_total", "_count", "_sum", "_bucket")):
                        self._note(sample.name + str(sorted(sample.labels.items())), sample.value)
            self.scrapes += 1

    def _note(self, series: str, value: float) -> None:
        last = self._last.get(series, 0.0)
        if value < last:
            self.fallen.append((series, last, value))
        self._last[series] = value

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)


def test_no_counter_goes_back_when_a_process_crashes(site: Deployment) -> None:
    """Scraped all the while, two processes' counters only grow, though one is killed twice and replaced."""
    schema_id, written = site.write_customers(1, 2_000)
    settings = site.settings(schema_id, changes="[delivery]\nmax_records = 50\n[processes]\nrestart_s = 0.1\n")
    kills = (200, 1_000)
    # What dies between a commit and its count has written a batch of each of two routes that nobody counts.
    uncounted = 2 * 50 * len(kills)

    with running(site, settings, "--processes", "2") as worker:
        worker.until(lambda: bool(worker.events("starting")), "it serves")
        with Watch(worker) as watch:
            for seen in kills:
                worker.until(lambda seen=seen: worker.metric("worker_records_total") >= seen, "records flow")  # type: ignore[misc]
                killed = worker.pid(1)
                os.kill(killed, signal.SIGKILL)
                worker.until(lambda killed=killed: worker.pid(1) != killed, "a successor is started")  # type: ignore[misc]
            counted = 2 * len(written) - uncounted
            worker.until(lambda: worker.metric("worker_records_total") >= counted, "all are counted")
        worker.process.terminate()
        worker.process.wait(60)

    assert watch.scrapes > 3
    assert watch.fallen == []


@pytest.mark.heavy
def test_a_process_that_does_not_stop_in_time_says_so(site: Deployment) -> None:
    """A frozen process is killed when its stop is over; log and exit code say so, with its log's last error."""
    schema_id, _ = site.write_customers(1, 20)
    settings = site.settings(schema_id, changes="[delivery]\nstop_s = 1\n")
    place = urlsplit(site.dsn)
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(place.port or 5432, place.hostname or "127.0.0.1"))
        through = replace(site, dsn=site.dsn.replace(f"{place.hostname}:{place.port}", proxy.address))
        run = stack.enter_context(running(through, settings, "--processes", "2"))
        run.until(lambda: len(run.events("verified")) == 2, "both begin")
        lose(proxy, "refused")
        site.write_customers(2, 200)
        run.until(lambda: {e["process"] for e in run.events("paused")} == {0, 1}, "both have an error")
        run.until(lambda: "process 0: paused, sink away" in run.get("/readyz").text, "the parent has heard of it")
        os.kill(run.pid(0), signal.SIGSTOP)

        run.process.send_signal(signal.SIGTERM)
        code = run.process.wait(60)

    ended = {event["process"]: event for event in run.events("process_ended")}
    assert "did not stop within 16 s and was killed" in str(ended[0]["error"])
    assert "its log's last error is paused: route table, PostgreSQL (DATABASE_URL)" in str(ended[0]["error"])
    assert (ended[1]["exit_code"], code) == (0, 137)
    assert "did not stop within" in str(run.events("failed")[0]["error"])
