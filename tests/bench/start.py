"""
How long a start takes, and what idle routes cost: `make bench-start`.

Commands are started several times, one after the other, and the quickest counts: what else the machine does can only
make one slower. The first record is timed from the process's start to its arrival at a reader of the committed output,
exactly once, from a topic that was there before. Then a worker of `ROUTES` routes (20), each with a topic of its own,
is left alone until its routes rest, and for `SECONDS` (30) more. A record that wakes a route is timed from its
acknowledgement to its arrival, beside one that comes right after it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from tests.bench.keys import Report
from tests.bench.latency import cpu_of, settings, site
from tests.bench.loop import PARTITIONS, fill
from tests.components import Kafka
from tests.program import COMMAND
from worker.pipeline.delivery import REST_AFTER_S

ROUTES = int(os.environ.get("ROUTES", "20"))
SECONDS = float(os.environ.get("SECONDS", "30"))
TURNS = 5
_COLUMNS = "threads, descriptors, CPU s a minute and route"
SCHEMA = Path(__file__).with_name("loop.avsc")
ROUTE = """[[routes]]
name = "bench-{n}"
group = "bench-{target}"
clear = ["bench.Customer"]
source = {{ topics = ["{source}"] }}
sink = {{ kind = "kafka", topic = "{target}", partitioning = "same" }}
"""


def quickest(*arguments: str) -> float:
    """Seconds that a command takes."""
    taken = []
    for _ in range(TURNS):
        began = time.perf_counter()
        subprocess.run([*COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - began)
    return min(taken)


@contextmanager
def running(command: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker; at the end it is stopped."""
    with subprocess.Popen(command, env={**os.environ, **env}) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


def topics(kafka: Kafka) -> tuple[str, str]:
    """Create a source with a few records, its dead letters, and a target; returns source and target."""
    source, target = (kafka.create_topic(partitions=PARTITIONS) for _ in range(2))
    kafka.create_topic(f"{source}.dead", config={"max.message.bytes": str((1 << 20) + 12 + 4096)})
    fill(kafka, source, 10 * PARTITIONS)
    return source, target


def first_record(kafka: Kafka, env: dict[str, str], work: Path) -> float:
    """Seconds from a worker's start to its first committed record."""
    source, target = topics(kafka)
    reader = Consumer({**kafka.client, "group.id": target, "isolation.level": "read_committed"})
    reader.assign([TopicPartition(target, n, 0) for n in range(PARTITIONS)])
    reader.poll(0.1)
    command = settings(kafka, work, source, target, "leased")
    began = time.perf_counter()
    with running(command, env):
        await_record(reader)
        took = time.perf_counter() - began
    reader.close()
    return took


def await_record(reader: Consumer) -> None:
    """Wait for the first record."""
    deadline = time.monotonic() + 60
    while (message := reader.poll(0.05)) is None or message.error() is not None:
        assert time.monotonic() < deadline, "no record arrives"


def on_its_way(kafka: Kafka, source: str, target: str) -> float:
    """Seconds from a record's acknowledgement to its arrival."""
    own = {"group.id": target, "isolation.level": "read_committed", "fetch.queue.backoff.ms": 1}
    reader = Consumer({**kafka.client, **own})
    reader.assign([TopicPartition(target, n, OFFSET_END) for n in range(PARTITIONS)])
    reader.poll(1)
    fill(kafka, source, 1)
    began = time.perf_counter()
    await_record(reader)
    took = time.perf_counter() - began
    reader.close()
    return took


def cost(pid: int, seconds: float) -> tuple[str, float]:
    """Return a worker's threads, descriptors and CPU seconds a minute and route as a line, and those seconds."""
    threads = int(re.findall(r"Threads:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0])
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    before = cpu_of(pid)
    time.sleep(seconds)
    used = (cpu_of(pid) - before) * 60 / seconds / ROUTES
    return f"{threads}, {descriptors}, {used:.3f}", used


def idle(report: Report, kafka: Kafka, env: dict[str, str], work: Path) -> None:
    """Many routes that have nothing to do."""
    pairs = [topics(kafka) for _ in range(ROUTES)]
    command = settings(kafka, work, *pairs[0], "leased")
    path = Path(command[command.index("--config") + 1])
    rest = [ROUTE.format(n=n, source=source, target=target) for n, (source, target) in enumerate(pairs[1:], 1)]
    path.write_text(path.read_text() + "".join(rest))
    with running(command, env) as process:
        for _, target in pairs:
            reader = Consumer({**kafka.client, "group.id": target, "isolation.level": "read_committed"})
            reader.assign([TopicPartition(target, n, 0) for n in range(PARTITIONS)])
            await_record(reader)
            reader.close()
        time.sleep(5)
        report.show(f"{ROUTES} idle routes before they rest: {_COLUMNS}", cost(process.pid, REST_AFTER_S / 2)[0])
        time.sleep(REST_AFTER_S)
        shown, used = cost(process.pid, SECONDS)
        woken, awake = (on_its_way(kafka, *pairs[0]) for _ in range(2))
    report.show(f"{ROUTES} routes at rest: {_COLUMNS}", shown)
    report.show("a record that wakes a route, one right after it, ms", f"{woken * 1000:.0f}, {awake * 1000:.0f}")
    report.check(f"{ROUTES} routes at rest: CPU s a minute and route", used, 0.05, at_least=False)


def main() -> int:
    """Run everything, print the table, and return 1 where a promise is broken."""
    report = Report()
    report.check("worker --help, s", quickest("--help"), 0.25, at_least=False)
    report.check("worker plan, s", quickest("plan", str(SCHEMA)), 0.4, at_least=False)
    with site() as (kafka, env, work):
        taken = [first_record(kafka, env, work) for _ in range(TURNS)]
        report.check("first record after the process's start, s", min(taken), 1.5, at_least=False)
        idle(report, kafka, env, work)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
