"""What a fault run stands on: brokers, a database and an authority that can be broken, and four topologies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from tests.components import Kafka
from tests.faults.records import OUTPUT_ID, PARTITIONS, SCHEMA, SCHEMA_ID
from tests.program import COMMAND, said
from worker.authority.dev import read_env
from worker.local import LocalKafka, LocalPostgres
from worker.local.process import Program, free_ports

REGION = "eu-central-1"
# KIP-848's session is the broker's to set, and its default of 45 s would make a killed member's partitions wait.
_BROKER = {
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.session.timeout.ms": "6000",
    "group.consumer.heartbeat.interval.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "1000",
}
_VARIABLES = (
    "CS_CTS_HOST", "CS_ZEROKMS_HOST", "CS_WORKSPACE_CRN", "CS_CLIENT_ACCESS_KEY", "CS_CLIENT_ID", "CS_CLIENT_KEY",
)  # fmt: skip
_SETTINGS = """
region = "{region}"
[authority]
allow_hosts = {hosts}
[kafka]
bootstrap = "{bootstrap}"
cluster_id = "{cluster_id}"
properties = {{ "security.protocol" = "{protocol}" }}
[schemas]
local = {{ "{schema_id}" = {{ input = "{schema}", output_id = {output_id} }} }}
required = ["faults.Numbered/email"]
[delivery]
mode = "{mode}"
max_records = 500
max_latency_ms = 50
stop_s = 20
max_retry_s = 2
[dead_letters]
max_per_minute = 1000000
max_per_partition = 1000000
[[routes]]
name = "{name}"
group = "{group}"
source = {{ topics = ["{source}"], start = "{start}", {membership} }}
sink = {{ {sink} }}
"""


@dataclass(frozen=True, slots=True)
class Topology:
    """One route under fault."""

    name: str
    sink: Literal["kafka", "append", "upsert"]
    mode: Literal["exactly-once", "at-least-once"] = "exactly-once"
    assignment: Literal["cooperative", "eager", "consumer"] = "cooperative"
    static: bool = False
    lanes: int = 60
    start: Literal["earliest", "latest"] = "earliest"
    session_s: int = 6
    transaction_s: int = 15

    @property
    def membership(self) -> str:
        """How members share partitions, as settings; with KIP-848 the session is the broker's to say."""
        session = "" if self.assignment == "consumer" else f", session_timeout_s = {self.session_s}"
        return f'assignment = "{self.assignment}", static_membership = {str(self.static).lower()}{session}'

    @property
    def is_exact(self) -> bool:
        return self.mode == "exactly-once" or self.sink != "kafka"


TOPOLOGIES = {
    each.name: each
    for each in (
        Topology("kafka-exactly-once", "kafka"),
        Topology("kafka-at-least-once", "kafka", "at-least-once", "consumer"),
        Topology("kafka-from-the-end", "kafka", start="latest"),
        Topology("postgres-append", "append"),
        Topology("postgres-upsert", "upsert", assignment="eager", static=True, lanes=3_000),
    )
}


class AuthorityProcess:
    """An authority in a process of its own; killed, it comes back on its port with its keys."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._port = directory, free_ports(1)[0]
        directory.mkdir()
        self._start()
        self.env = {**read_env(directory / "client.env")}

    @property
    def audit_path(self) -> Path:
        return self._directory / "audit.jsonl"

    def kill(self) -> None:
        self._program.kill()

    def restart(self) -> None:
        self._start()

    def stop(self) -> None:
        self._program.stop(15)

    def _start(self) -> None:
        ready, env_file = self._directory / "authority.log", self._directory / "client.env"
        ready.unlink(missing_ok=True)
        arguments = ["authority", "dev", "--region", REGION, "--port", str(self._port)]
        arguments += ["--data", str(self._directory), "--env-file", str(env_file)]
        self._program = Program([*COMMAND, *arguments], ready)
        end = time.monotonic() + 60
        while "authority ready" not in self._program.output():
            if not self._program.is_running or time.monotonic() > end:
                raise RuntimeError(self._program.output())
            time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Clock:
    """A wall clock that processes are given in place of the true one; their monotonic clock is left alone."""

    library: Path
    file: Path

    @property
    def environ(self) -> dict[str, str]:
        """The variables of a process that is to have it."""
        return {"LD_PRELOAD": str(self.library), "LEAP_FILE": str(self.file)}

    def leap(self, hours: int) -> None:
        """Put it ahead of the true one, or behind."""
        self.file.write_text(str(hours * 3600), encoding="utf-8")


def make_clock(directory: Path) -> Clock | None:
    """Return a clock that leaps, None where no C compiler is."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    made = Clock(directory / "leap.so", directory / "leap")
    source = Path(__file__).with_name("leap.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", made.library, source, "-ldl"], check=True)
    made.leap(0)
    return made


@dataclass(frozen=True, slots=True)
class Stand:
    """The running components; those that are None can't be broken in this run."""

    kafka: Kafka
    dsn: str
    authority: Mapping[str, str]
    directory: Path
    brokers: LocalKafka | None = None
    server: LocalPostgres | None = None
    keys: AuthorityProcess | None = None
    clock: Clock | None = None
    disturbed: threading.Event = field(default_factory=threading.Event)
    """Set while a broker is away or has just come back."""

    @property
    def calm(self) -> bool:
        return not self.disturbed.is_set()

    @property
    def environ(self) -> dict[str, str]:
        own = {name: self.authority[name] for name in _VARIABLES}
        clock = {} if self.clock is None else self.clock.environ
        return {**own, **clock, "DATABASE_URL": self.dsn, "PATH": os.environ["PATH"]}


@contextmanager
def three_brokers(directory: Path, settings: Mapping[str, str] | None = None) -> Iterator[Stand]:
    """Start all of it: three brokers, with settings of their own besides the stand's, a server, an authority."""
    with ExitStack() as stack:
        brokers = stack.enter_context(LocalKafka(3, overrides={**_BROKER, **(settings or {})}))
        server = stack.enter_context(LocalPostgres())
        keys = AuthorityProcess(directory / "authority")
        stack.callback(keys.stop)
        kafka = Kafka(brokers.bootstrap, brokers.cluster_id, dict(brokers.properties))
        dsn = server.create_database(region=REGION)
        yield Stand(kafka, dsn, keys.env, directory, brokers, server, keys, make_clock(directory))


def kill_database(server: LocalPostgres) -> None:
    """Shut the server down at once: its sessions are dropped, its log is replayed at the next start."""
    server.send(signal.SIGQUIT)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one topology's records lie in a stand."""

    topology: Topology
    source: str
    group: str
    target: str
    """The sink's topic or table."""
    settings: Path

    @property
    def dead(self) -> str:
        return f"{self.source}.dead"


def prepare(stand: Stand, topology: Topology, name: str, *, partitions: int = PARTITIONS) -> Place:
    """Create the source topic, write the settings, and let `worker check --create` make the rest."""
    kafka, source = stand.kafka, f"in-{name}"
    schema, settings = stand.directory / "numbered.avsc", stand.directory / f"{name}.toml"
    schema.write_text(SCHEMA, encoding="utf-8")
    table = name.replace("-", "_")
    sinks = {
        "kafka": f'kind = "kafka", topic = "out-{name}", transaction_timeout_s = {topology.transaction_s}',
        "append": f'kind = "postgres", table = "{table}", timeout_s = 30',
        "upsert": f'kind = "postgres", table = "{table}", timeout_s = 30, mode = "upsert", key = ["lane"]',
    }
    place = Place(topology, source, f"group-{name}", f"out-{name}" if topology.sink == "kafka" else table, settings)
    kafka.create_topic(source, partitions=partitions)
    text = _SETTINGS.format(
        region=REGION,
        hosts=sorted({urlsplit(stand.authority[each]).netloc for each in ("CS_CTS_HOST", "CS_ZEROKMS_HOST")}),
        bootstrap=kafka.bootstrap,
        cluster_id=kafka.cluster_id,
        protocol=kafka.properties.get("security.protocol", "PLAINTEXT"),
        schema_id=SCHEMA_ID,
        schema=schema,
        output_id=OUTPUT_ID,
        mode=topology.mode,
        name=topology.name,
        group=place.group,
        source=source,
        membership=topology.membership,
        start=topology.start,
        sink=sinks[topology.sink],
    )
    settings.write_text(text, encoding="utf-8")
    made = said(stand.environ, "check", "--create", "--config", str(settings), timeout_s=120)
    assert made.returncode == 0, made.stdout + made.stderr
    return place
