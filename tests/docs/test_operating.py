"""The commands of operators, as the pages have them, on a region that is there."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from confluent_kafka import Producer

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.docs.pages import ROOT, run
from tests.docs.test_commands import environment, require_psql
from tests.docs.walks import WALKS
from tests.operations.prometheus import free_port
from worker.sink.postgres.residency import DeclaredRegion

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(300)]
PARTITIONS, TOMBSTONES = 4, 5_000
SYSTEMCTL = """#!{python}
# Stands in for systemd: a unit is started as its file says, beneath this directory.
import os, pathlib, re, subprocess, sys
assert sys.argv[1:] in (["daemon-reload"], ["enable", "--now", "residency-worker@eu-central-1"]), sys.argv
if sys.argv[1] == "enable":
    unit = pathlib.Path("etc/systemd/system/residency-worker@.service").read_text().replace("%i", "eu-central-1")
    command = re.search("^ExecStart=/(.*)$", unit, re.M)[1].replace(" /etc/", " etc/")
    secrets = dict(re.findall("^LoadCredential=([A-Z_]+):/(.*)$", unit, re.M))
    environ = {{name: value for name, value in os.environ.items() if name not in secrets}}
    told = {{f"{{name}}_FILE": path for name, path in secrets.items() if os.path.exists(path)}}
    process = subprocess.Popen(command.split(), env={{**environ, **told}}, stderr=open("unit.log", "w"))
    pathlib.Path("unit.pid").write_text(str(process.pid))
"""


@pytest.fixture
def site(kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> Deployment:
    """A region whose file is called as the pages call it, with a route `customers` into a topic, one into a table."""
    place = tmp_path / "region"
    place.mkdir()
    made = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=place)
    made.prepare(partitions=PARTITIONS)
    return made


def configured(site: Deployment, to: Path) -> str:
    """Write the region's file with records to be read, and return the topic's name."""
    schema_id, _ = site.write_customers(1, 50)
    text = site.settings(schema_id).read_text().replace('name = "topic"', 'name = "customers"')
    to.write_text(text.replace("static_membership = true, session_timeout_s = 6", 'start = "earliest"'))
    return site.source


def test_looking_and_moving(site: Deployment, tmp_path: Path) -> None:
    """Traces asked for, sinks looked into, positions moved; each name of the page is one of the region's."""
    topic = configured(site, tmp_path / "eu-central-1.toml")
    producer = Producer(site.kafka.client)
    for _ in range(TOMBSTONES):
        producer.produce(topic, None, key=b"gone", partition=PARTITIONS - 1)
    assert producer.flush(30) == 0
    files, lines = WALKS["operate"].script()
    lines = [line.replace("customers/3", f"{topic}/3") for line in lines]
    whole = "worker run --config eu-central-1.toml --until-end"

    done = run(files, [lines[0], whole, *lines[1:]], tmp_path, environment(**site.environ), 250)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "INC-42" in done.stderr
    assert [line for line in done.stderr.splitlines() if "position_moved" in line and '"after": 4711' in line]


def test_a_machine(site: Deployment, tmp_path: Path) -> None:
    """What the page installs starts as its unit says, with its secrets as files, and tells its status."""
    (tmp_path / "bin").mkdir()
    _program(tmp_path / "bin" / "systemctl", SYSTEMCTL.format(python=sys.executable))
    _program(tmp_path / "bin" / "make", f'#!/bin/sh\nexec {shutil.which("make")} --dry-run -C {ROOT} "$@"\n')
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    worker = Path(sys.executable).with_name("worker")
    # `make image` runs the real one.
    _program(tmp_path / "deploy/image/install.sh", f'#!/bin/sh\nmkdir -p "$2/bin" && ln -s {worker} "$2/bin/worker"\n')
    configured(site, tmp_path / "own.toml")
    files, lines = WALKS["a machine"].script()
    lines = [re.sub(r"(^|\s)/(etc|opt)/", r"\1\2/", line) for line in lines]
    (tmp_path / "own.toml").write_text(
        (tmp_path / "own.toml").read_text().replace("127.0.0.1:0", f"127.0.0.1:{free_port()}")
    )
    own = "cp own.toml etc/residency/eu-central-1.toml"
    secrets = [f"printenv {name} > etc/residency/eu-central-1/{name}" for name in site.environ if "WORKER" not in name]
    ready = "until worker status --config own.toml; do kill -0 $(cat unit.pid) || exit 1; sleep 0.2; done"
    start = next(n for n, line in enumerate(lines) if "systemctl enable" in line)
    before, after = ["mkdir -p etc/systemd/system", *lines[:start], own, *secrets], lines[start + 1 :]

    variables = {**environment(**site.environ), "PATH": f"{tmp_path / 'bin'}:{environment()['PATH']}"}
    done = run(files, [*before, lines[start], ready, *after, "kill $(cat unit.pid)"], tmp_path, variables, 200)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def _program(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def test_signing_a_database(new_database: DatabaseFactory, tmp_path: Path) -> None:
    """The page's signature holds under the page's key, as the sink verifies it."""
    require_psql()
    dsn = new_database(region="eu-central-1")
    address = urlsplit(dsn)
    server = {"PGHOST": address.hostname, "PGPORT": str(address.port), "PGDATABASE": address.path[1:]}
    user = {"PGUSER": address.username, "PGPASSWORD": address.password}
    variables = environment(**{name: value for name, value in (server | user).items() if value})
    files, lines = WALKS["sign a database"].script()

    done = run(files, lines, tmp_path, variables, 50)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    residency = DeclaredRegion("eu-central-1", done.stdout.splitlines()[-1])
    with psycopg.connect(dsn) as connection:
        residency.verify(connection)
