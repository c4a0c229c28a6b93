"""A worker that is killed at any step loses nothing and leaks nothing."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.leaks import scan
from tests.program import worker
from worker.demo.customers import ENCRYPTED, Population, customers, write

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.timeout(240)]
RECORDS = 2_000
KILLED = -9
PLACES = ("after_poll", "after_process", "after_write", "after_flush", "before_commit", "after_sink_commit")
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(2**31))


def run(site: Deployment, settings: Path, failpoints: str) -> subprocess.CompletedProcess[bytes]:
    """Run the real command to the present end of the topic, or to its death."""
    environ = {**site.environ, "FAILPOINTS": failpoints}
    return worker(environ, "run", "--config", str(settings), "--until-end")


@pytest.mark.parametrize("mode", ["exactly-once", "at-least-once"])
def test_two_kills_in_mid_stream_lose_nothing(
    kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path, mode: str
) -> None:
    """Killed twice at places drawn from a printed seed, then let finish: every record is there, none in the clear."""
    print(f"SEED={SEED}")
    chosen = random.Random(SEED)
    site = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
    site.prepare()
    client = {name: str(value) for name, value in kafka.client.items()}
    population = customers(Population({"DE": "de_DE"}, seed=11), RECORDS)
    schema_id, written = write(population, site.source, client, registry=site.name, progress=lambda: None)
    settings = site.settings(schema_id, changes=f'[delivery]\nmode = "{mode}"\nmax_records = 200\n')

    for place in chosen.sample(PLACES, 2):
        ended = run(site, settings, f"seed={SEED};{place}=kill@{chosen.randint(2, 4)}")
        assert ended.returncode == KILLED, (SEED, place, ended.stderr[-2000:])
    finished = run(site, settings, "")

    assert finished.returncode == 0, (SEED, finished.stderr[-2000:])
    topic = site.read(site.sink)
    keys, rows = [(key or b"").decode() for key, _, _ in topic], [str(row[0]) for row in site.rows()]
    assert set(keys) == set(rows) == written.keys()
    assert sorted(rows) == sorted(written)
    if mode == "exactly-once":
        assert sorted(keys) == sorted(written)
    secrets = [str(record[name]) for record in list(written.values())[:200] for name in ENCRYPTED if record[name]]
    assert scan(secrets, {"topic": b"\0".join(value or b"" for _, value, _ in topic), "log": finished.stderr}) == []
