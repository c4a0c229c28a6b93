"""
`make sizing`: what a record, a value and a row cost a worker's processor, and how much memory its process takes.

One route at a time over the same topic of `tests.bench.loop`: nothing declared, three fields `leased`, three fields of
`record`, each into a topic; and three `leased` fields into a table. Differences give each part's cost; a second run
that finds nothing to do takes start and stop out. The figures of docs/operations.md, Sizing, are of this program.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.loop import CONFIG, PARTITIONS, SCHEMA, SOURCE, fill
from tests.components import Kafka, running_kafka, running_postgres
from tests.program import COMMAND
from worker import native
from worker.authority.dev import DevAuthority
from worker.local.postgres import create_database

_TOPIC = 'sink = {{ kind = "kafka", topic = "{target}", partitioning = "same" }}'
_TABLE = 'sink = {{ kind = "postgres", table = "bench", create = true }}'
FIELDS = 3


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to run the worker."""

    name: str
    format: str = "leased"
    encrypts: bool = True
    table: bool = False


KINDS = (
    Kind("nothing declared", encrypts=False),
    Kind("leased"),
    Kind("record", "record"),
    Kind("into a table", table=True),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """One run: records a second, processor seconds, resident bytes at most."""

    rate: float
    cpu_s: float
    bytes: int


def settings(kafka: Kafka, env: dict[str, str], kind: Kind, work: Path) -> Path:
    """Write a run's schema and settings."""
    schema, path = work / f"{kind.name}.avsc", work / f"{kind.name}.toml"
    declared = json.loads(SCHEMA.read_text())
    if not kind.encrypts:
        declared["fields"] = [{k: v for k, v in field.items() if k != "encrypted"} for field in declared["fields"]]
    schema.write_text(json.dumps(declared))
    target = f"sizing-{KINDS.index(kind)}"
    kafka.create_topic(target, partitions=PARTITIONS, config={"max.message.bytes": str(2 << 20)})
    text = CONFIG.replace(_TOPIC, _TABLE) if kind.table else CONFIG
    hosts = sorted({urlsplit(env[name]).netloc for name in ("CS_CTS_HOST", "CS_ZEROKMS_HOST")})
    values = {"hosts": hosts, "bootstrap": kafka.bootstrap, "cluster_id": kafka.cluster_id, "schema": schema}
    values |= {"protocol": kafka.properties.get("security.protocol", "PLAINTEXT"), "mode": "exactly-once"}
    path.write_text(text.format(**values, source=SOURCE, target=target, format=kind.format, max_records=10_000))
    return path


def measured(command: list[str], environ: dict[str, str]) -> tuple[float, float, int]:
    """Run a command; return seconds, processor seconds and the most resident bytes."""
    start = time.monotonic()
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.monotonic() - start, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def cost(path: Path, env: dict[str, str], count: int) -> Cost:
    """Measure one kind."""
    command = list(COMMAND)
    environ = {**os.environ, **env}
    check = [*command, "check", "--create", "--config", str(path)]
    subprocess.run(check, env=environ, check=True, stdout=subprocess.DEVNULL)
    run = [*command, "run", "--config", str(path), "--until-end", "--log-level", "warning"]
    seconds, cpu_s, most = measured(run, environ)
    idle_s, idle_cpu_s, _ = measured(run, environ)
    return Cost(count / (seconds - idle_s), cpu_s - idle_cpu_s, most)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=300_000)
    count = parser.parse_args().records
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka = stack.enter_context(running_kafka())
        postgres = stack.enter_context(running_postgres())
        authority = stack.enter_context(DevAuthority("eu-central-1", work / "authority"))
        kafka.create_topic(SOURCE, partitions=PARTITIONS)
        kafka.create_topic("source.dead", config={"max.message.bytes": str((1 << 20) + 12 + 4096)})
        fill(kafka, SOURCE, count)
        env = {**authority.env, "DATABASE_URL": create_database(postgres, region="eu-central-1")}
        found = {kind.name: cost(settings(kafka, env, kind, work), env, count) for kind in KINDS}
    print(f"extension module: {'used' if native.IS_LOADED else 'not there'}; {count:,} records of about 80 bytes")
    for name, each in found.items():
        print(
            f"{name:<20}{each.rate:>12,.0f} records/s{each.cpu_s / count * 1e6:>9.2f} us of processor a record"
            f"{each.bytes / 2**20:>8.0f} MiB"
        )
    clear, leased, record = (found[kind.name].cpu_s / count * 1e6 for kind in KINDS[:3])
    print(f"a leased value: {(leased - clear) / FIELDS:.2f} us; a record value: {(record - clear) / FIELDS:.2f} us")


if __name__ == "__main__":
    main()
