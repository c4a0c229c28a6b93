"""The worker as a contestant of `make bench`: into Kafka or PostgreSQL, in one process or several."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.loop import CONFIG, PARTITIONS, SCHEMA, SOURCE
from tests.components import Kafka
from tests.program import COMMAND
from worker.local.postgres import create_database

_TICKS = os.sysconf("SC_CLK_TCK")
BATCH = 20_000
"""Records of a batch, as the worker has them where nobody says otherwise."""
FEW = f"{SOURCE}-few"
"""A topic with a tenth of the records, for the slow ones."""
_SINK = 'sink = {{ kind = "kafka", topic = "{target}", partitioning = "same" }}'


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run it; `table` is the mode of a table, empty for a topic."""

    name: str
    mode: str
    format: str = "leased"
    encrypts: bool = True
    processes: int = 1
    table: str = ""

    @property
    def source(self) -> str:
        """The topic that it reads: a key a value takes its time."""
        return FEW if self.format == "record" else SOURCE


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds by the wall clock, CPU seconds of client, authority and broker, and the client's largest memory."""

    seconds: float
    cpu_s: float
    authority_s: float = 0.0
    broker_s: float = 0.0
    peak_mb: float = 0.0

    def __sub__(self, idle: Figures) -> Figures:
        return Figures(
            self.seconds - idle.seconds,
            self.cpu_s - idle.cpu_s,
            self.authority_s - idle.authority_s,
            self.broker_s - idle.broker_s,
            self.peak_mb,
        )


@dataclass(frozen=True, slots=True)
class Stand:
    """What every contestant meets: the broker and its processes, the authority in this one, the database's server."""

    kafka: Kafka
    env: dict[str, str]
    work: Path
    postgres: str
    brokers: tuple[int, ...]

    def measured(self, command: list[str]) -> Figures:
        """Run a command to its end."""
        before, authority, start = self._broker_s(), time.process_time(), time.monotonic()
        child = subprocess.Popen(command, env={**os.environ, **self.env}, stdout=subprocess.DEVNULL)
        peak_mb = 0.0
        while True:
            pid, status, used = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            # A child's own maximum begins with its parent's memory, so it is looked at while it lives.
            peak_mb = max(peak_mb, memory_mb(child.pid))
            time.sleep(0.05)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise RuntimeError(f"{command} ended with {child.returncode}")
        return Figures(
            time.monotonic() - start,
            used.ru_utime + used.ru_stime,
            time.process_time() - authority,
            self._broker_s() - before,
            peak_mb,
        )

    def _broker_s(self) -> float:
        return sum(cpu_of(pid) for pid in self.brokers)


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mb(pid: int) -> float:
    """What a process holds in memory, those below it included; 0 where it has ended."""
    total = 0.0
    for each in (pid, *descendants(pid)):
        try:
            lines = Path(f"/proc/{each}/status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
    return total


def descendants(pid: int) -> Iterable[int]:
    """Every process below one."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield int(child)
        yield from descendants(int(child))


def run(stand: Stand, way: Way, number: int, turn: int) -> tuple[Figures, str]:
    """Run the worker from the start of the source to its end; returns its figures and where its output is."""
    place = f"worker-{number}-{turn}"
    settings = stand.work / f"{place}.toml"
    schema = stand.work / f"{place}.avsc"
    declared = json.loads(SCHEMA.read_text())
    if not way.encrypts:
        declared["fields"] = [{k: v for k, v in field.items() if k != "encrypted"} for field in declared["fields"]]
    schema.write_text(json.dumps(declared))
    text = _settings(stand, way, place, schema)
    if way.table:
        place = stand.env["BENCH_DSN"] = create_database(stand.postgres, region="eu-central-1")
    else:
        stand.kafka.create_topic(place, partitions=PARTITIONS)
    settings.write_text(text)
    worker = list(COMMAND)
    if way.table:
        stand.measured([*worker, "check", "--create", "--config", str(settings)])
    command = [*worker, "run", "--config", str(settings), "--until-end", "--log-level", "error"]
    command += ["--processes", str(way.processes)] if way.processes > 1 else []
    # A start and a stop that find nothing to do are not part of the figures.
    return stand.measured(command) - stand.measured(command), place


def _settings(stand: Stand, way: Way, place: str, schema: Path) -> str:
    hosts = sorted({urlsplit(stand.env[name]).netloc for name in ("CS_CTS_HOST", "CS_ZEROKMS_HOST")})
    kafka = stand.kafka
    values = {"hosts": hosts, "bootstrap": kafka.bootstrap, "cluster_id": kafka.cluster_id, "schema": schema}
    values |= {"protocol": kafka.properties.get("security.protocol", "PLAINTEXT"), "mode": way.mode}
    text = CONFIG.format(**values, source=way.source, target=place, format=way.format, max_records=BATCH)
    if not way.table:
        return text
    key = ', key = ["id"]' if way.table == "upsert" else ""
    table = f'sink = {{ kind = "postgres", dsn_env = "BENCH_DSN", table = "customers", mode = "{way.table}"{key} }}'
    changed = text.replace(_SINK.format(target=place), table)
    assert changed != text
    return changed
