"""The compose file's services as processes: the same commands, files and settings, on a broker and database here."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from tests.components import Kafka, require_program
from tests.conftest import DatabaseFactory
from tests.operations.prometheus import MISSING, Prometheus, Target, free_port
from tests.operations.queries import RULES
from tests.operations.stand import end
from tests.program import COMMAND
from worker.local import LocalKafka
from worker.verifier.envelope import is_envelope

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(400)]
ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SERVICES: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


class Stage:
    """One region's services, each started as the file says, with the machine's own places for the containers'."""

    def __init__(self, kafka: Kafka, dsn: str, directory: Path, stack: contextlib.ExitStack) -> None:
        self.kafka, self.dsn, self.directory, self._stack = kafka, dsn, directory, stack
        self.port, self.authority_port = free_port(), free_port()
        self.data = directory / "data"
        self.data.mkdir()
        schema = ROOT / "worker" / "demo" / "customer.avsc"
        settings = directory / "worker.toml"
        self._places = {
            "/etc/worker/worker.toml": str(settings),
            "/opt/worker/bin/python": sys.executable,
            "kafka-eu:9092": kafka.bootstrap,
            "/etc/worker/customer.avsc": str(schema),
            "/customer.avsc": str(schema),
            "/load.py": str(DEPLOY / "compose" / "load.py"),
            "/data": str(self.data),
            "8081": str(self.authority_port),
            "0.0.0.0:9464": f"127.0.0.1:{self.port}",
            SERVICES["kafka-eu"]["environment"]["CLUSTER_ID"]: kafka.cluster_id,
        }
        settings.write_text(self.here((DEPLOY / "compose" / "eu-central-1.toml").read_text()))

    def here(self, text: str) -> str:
        # Each once: what has been put in is looked at no more.
        there = "|".join(map(re.escape, sorted(self._places, key=len, reverse=True)))
        return re.sub(there, lambda found: self._places[found[0]], text)

    def start(self, command: list[str], environ: Mapping[str, str], log: str) -> subprocess.Popen[bytes]:
        with (self.directory / log).open("wb") as stream:
            process = subprocess.Popen(
                list(map(self.here, command)), env={"PATH": PATH, **environ}, stdout=stream, stderr=stream
            )
        self._stack.callback(end, process)
        return process

    def until(self, condition: Callable[[], bool], log: str) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline, (self.directory / log).read_text()[-3000:]
            time.sleep(0.1)

    def metric(self, pattern: str) -> float:
        """Return the sum of a metric's series."""
        try:
            page = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=30).text
        except httpx.HTTPError:
            return 0.0
        return sum(float(value) for value in re.findall(rf"^{pattern} (\S+)$", page, re.MULTILINE))


@pytest.fixture
def stage(new_database: DatabaseFactory, tmp_path: Path) -> Iterator[Stage]:
    require_program("prometheus", MISSING)
    require_program("psql", "apt-get install -y --no-install-recommends postgresql-client")
    with LocalKafka() as broker, contextlib.ExitStack() as stack:
        kafka = Kafka(broker.bootstrap, broker.cluster_id, dict(broker.properties))
        yield Stage(kafka, new_database(), tmp_path, stack)


def test_a_region_of_the_compose_file_runs(stage: Stage) -> None:
    """Database, authority, load and worker do what their lines say: rows and records are sealed, the rest is told."""
    where = psycopg.conninfo.conninfo_to_dict(stage.dsn)
    administrator = {**SERVICES["postgres-eu"]["environment"], "POSTGRES_DB": where["dbname"]}
    administrator |= {"POSTGRES_USER": where["user"], "PGHOST": where["host"], "PGPORT": where["port"]}
    script = ["/bin/sh", str(DEPLOY / "compose" / "database.sh")]
    secret = {"PGPASSWORD": str(where.get("password", ""))}
    subprocess.run(script, env={"PATH": os.environ["PATH"], **secret, **administrator}, check=True)

    stage.start([*COMMAND, *SERVICES["authority-eu"]["command"]], {}, "authority")
    stage.start(SERVICES["load-eu"]["entrypoint"], {"TMPDIR": str(stage.directory)}, "load")
    stage.until((stage.directory / "ready").exists, "load")
    stage.until((stage.data / "client.env").exists, "authority")
    stage.start(SERVICES["worker-eu"]["entrypoint"], {"WORKER_INSTANCE": "eu", "DATABASE_URL": stage.dsn}, "worker")

    def finished(route: str, outcome: str) -> float:
        return stage.metric(f'worker_records_total{{.*outcome="{outcome}".*route="{route}".*}}')

    stage.until(lambda: finished("customers", "encrypted") > 250, "worker")
    stage.until(lambda: finished("customers-table", "encrypted") > 250, "worker")
    stage.until(lambda: finished("customers", "dead") > 0, "worker")
    with psycopg.connect(stage.dsn) as connection:
        rows = connection.execute("SELECT email, name FROM crm.customers").fetchall()
    assert [value for row in rows for value in row if not is_envelope(value)] == []
    assert httpx.get(f"http://127.0.0.1:{stage.port}/readyz", timeout=30).status_code == 200


def test_what_watches_an_authority_is_let_in(stage: Stage) -> None:
    """The watch's script takes the key from where the authority puts it, and its configuration is one."""
    stage.start([*COMMAND, *SERVICES["authority-eu"]["command"]], {}, "authority")
    stage.until((stage.data / "client.env").exists, "authority")
    stand_in = stage.directory / "prometheus"
    stand_in.write_text("#!/bin/sh\necho started\n")
    stand_in.chmod(0o755)
    environ = {
        "PATH": f"{stage.directory}:{os.environ['PATH']}",
        "DATA": str(stage.data),
        "TMPDIR": str(stage.directory),
    }
    subprocess.run(["/bin/sh", str(DEPLOY / "compose" / "watch.sh")], env=environ, check=True)

    target = Target(
        job="residency-authority", address=f"127.0.0.1:{stage.authority_port}", token=stage.directory / "token"
    )
    with Prometheus(stage.directory / "data-of-prometheus", [target]) as prometheus:
        prometheus.until(lambda: prometheus.has_data("authority_build_info"), "the authority is seen")
    for name in ("prometheus.yaml", "authority.yaml"):
        text = (DEPLOY / "compose" / name).read_text().replace("/tmp/token", str(stage.directory / "token"))
        text = text.replace("/etc/prometheus/rules", str(RULES))
        copied = stage.directory / name
        copied.write_text(text)
        checked = subprocess.run(
            ["promtool", "check", "config", str(copied)], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
