"""An upgrade in the middle of everything: a version of before is killed in mid-batch, and this one goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.operations.prometheus import free_port
from tests.operations.stand import end
from tests.program import worker
from worker.authority.dev import read_env
from worker.avro import DeclarationOptions, compile_schema
from worker.demo.customers import SCHEMA

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.fault, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
BEFORE = "f846f7e"
MAIN = "from worker.cli import main; main()"
RECORDS = 4_000


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The version of before, from the history."""
    directory = tmp_path_factory.mktemp("before")
    archive = subprocess.run(["git", "archive", BEFORE, "worker"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"commit {BEFORE} is not in this clone's history: git fetch --unshallow")
    subprocess.run(["tar", "-x", "-C", str(directory)], input=archive.stdout, check=True)
    return directory


def start(tree: Path, environ: dict[str, str], log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start the program of a tree."""
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-c", MAIN, *arguments],
            cwd=tree,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tree), **environ},
            stdout=stream,
            stderr=stream,
        )


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_this_version_goes_on_where_the_one_before_was_killed(
    before: Path, kafka: Kafka, new_database: DatabaseFactory, tmp_path: Path
) -> None:
    """Positions, open transactions, ledger, canary, dead letters and the authority's keys are taken over; each once."""
    env, port = tmp_path / "client.env", free_port()
    authority = ["authority", "dev", "--region", "eu-central-1", "--port", str(port)]
    authority += ["--data", str(tmp_path / "authority"), "--env-file", str(env)]
    keys = start(before, {}, tmp_path / "authority.log", *authority)
    try:
        until(lambda: env.exists() and b"ready" in (tmp_path / "authority.log").read_bytes(), "the authority is ready")
        dsn = new_database(region="eu-central-1")
        site = Deployment(kafka=kafka, dsn=dsn, authority=read_env(env), directory=tmp_path)
        site.prepare(partitions=4)
        schema_id, written = site.write_customers(1, RECORDS)
        _poison(site)
        settings = site.settings(schema_id, changes="[delivery]\nmax_records = 100\n")

        old = start(before, site.environ, tmp_path / "before.log", "run", "--config", str(settings))
        until(lambda: len(site.rows()) > RECORDS // 8 and len(site.read(site.sink)) > RECORDS // 8, "it is at work")
        old.kill()
        old.wait(30)
        half = len(site.rows()), len(site.read(site.sink))
    finally:
        end(keys)

    keys = start(ROOT, {}, tmp_path / "authority.log", *authority)
    try:
        until(lambda: (tmp_path / "authority.log").read_bytes().count(b"ready") == 2, "the authority goes on")
        done = worker(site.environ, "run", "--config", str(settings), "--until-end", "--json", timeout_s=300)
        assert done.returncode == 0, done.stderr[-3000:]
        output = tmp_path / "output.avsc"
        output.write_text(compile_schema(SCHEMA, DeclarationOptions()).plan.output_schema, encoding="utf-8")
        decrypt = ("decrypt", "--config", str(settings), "--topic", site.sink, "--schema", str(output))
        opened = worker(site.environ, *decrypt, timeout_s=300)
        letters = worker(site.environ, "dead", "list", "--config", str(settings), "--json", timeout_s=300)
    finally:
        end(keys)

    assert max(half) < RECORDS, "it was not killed in the middle"
    assert sorted(str(row[0]) for row in site.rows()) == sorted(written)
    read = [json.loads(line) for line in opened.stdout.splitlines()]
    assert opened.returncode == 0, opened.stderr[-2000:]
    assert sorted(_id(line) for line in read) == sorted(written)
    assert letters.returncode == 0, letters.stderr
    assert letters.stdout.count(b"bad_magic") == 2, letters.stdout


def _poison(site: Deployment) -> None:
    client: dict[str, str | int | float | bool] = site.kafka.client
    producer = Producer(client)
    producer.produce(site.source, b"no frame", key="poison")
    assert producer.flush(30) == 0


def _id(line: dict[str, object]) -> str:
    value = line["value"]
    assert isinstance(value, dict), line
    return str(value["id"])
