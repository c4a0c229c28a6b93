"""
How long a record is under way: `make bench-latency`.

A steady stream goes into a topic; a reader of the committed output compares each record's arrival with the moment at
which it was produced. The worker, exactly once, in both formats, stands beside a bare loop of the same client that
consumes, produces in a transaction and commits it with its offsets: one cycle after the other, whatever lies ready.
The authority is reached over 20 ms. `RATES` are records a second (100,5000), `SECONDS` how long each is measured (15).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from tests.bench.keys import Report, authority
from tests.bench.loop import CONFIG, PARTITIONS, SCHEMA, datum
from tests.components import Kafka, running_kafka
from tests.program import COMMAND

RATES = [int(n) for n in os.environ.get("RATES", "100,5000").split(",")]
SECONDS = float(os.environ.get("SECONDS", "15"))
SETTLED_S = 4.0
LATENCY_S = 0.02
LOOP = """
import sys
from confluent_kafka import Consumer, Producer
bootstrap, source, target = sys.argv[1:]
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": target, "enable.auto.commit": False,
                     "auto.offset.reset": "latest", "isolation.level": "read_committed", "fetch.queue.backoff.ms": 10})
producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": target, "linger.ms": 5})
producer.init_transactions()
consumer.subscribe([source])
while True:
    batch = consumer.consume(10_000, 0.001) or consumer.consume(1, 0.2)
    if not batch:
        continue
    producer.begin_transaction()
    for message in batch:
        producer.produce(target, message.value(), partition=message.partition(), timestamp=message.timestamp()[1])
    producer.send_offsets_to_transaction(consumer.position(consumer.assignment()), consumer.consumer_group_metadata())
    producer.commit_transaction()
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """Milliseconds under way, and the client's CPU seconds a minute."""

    p50: float
    p99: float
    cpu: float


class Arrivals(threading.Thread):
    """Reads a topic's committed records and notes how long each was under way."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        super().__init__(daemon=True)
        self._consumer = Consumer(
            {**kafka.client, "group.id": "reader", "isolation.level": "read_committed", "fetch.queue.backoff.ms": 1}
        )
        self._consumer.assign([TopicPartition(topic, n, 0) for n in range(PARTITIONS)])
        self.taken_ms: list[float] = []
        self.since = float("inf")
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            for message in self._consumer.consume(1_000, 0.05):
                produced_ms = message.timestamp()[1]
                if message.error() is None and produced_ms >= self.since:
                    self.taken_ms.append(time.time() * 1000 - produced_ms)
        self._consumer.close()


def stream(kafka: Kafka, topic: str, rate: int, arrivals: Arrivals) -> None:
    """Produce a steady stream; what is produced after it has settled counts. The output keeps its timestamps."""
    producer = Producer({**kafka.client, "linger.ms": 2})
    values = [datum(n) for n in range(1_000)]
    start, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - start) < SETTLED_S + SECONDS:
        if elapsed >= SETTLED_S and arrivals.since == float("inf"):
            arrivals.since = time.time() * 1000
        while sent < elapsed * rate:
            producer.produce(
                topic, values[sent % len(values)], partition=sent % PARTITIONS, timestamp=int(time.time() * 1000)
            )
            sent += 1
        producer.poll(0)
        time.sleep(0.001)
    producer.flush(10)


def measure(kafka: Kafka, source: str, target: str, rate: int, command: list[str], env: dict[str, str]) -> Measured:
    """Run one client beside the stream."""
    arrivals = Arrivals(kafka, target)
    arrivals.start()
    with subprocess.Popen(command, env={**os.environ, **env}) as running:
        wait_for_member(kafka, source, target, arrivals)
        before = cpu_of(running.pid)
        stream(kafka, source, rate, arrivals)
        used = cpu_of(running.pid) - before
        time.sleep(1)
        running.send_signal(signal.SIGTERM)
    arrivals.done.set()
    arrivals.join()
    found = sorted(arrivals.taken_ms)
    return Measured(found[len(found) // 2], found[int(len(found) * 0.99)], used * 60 / (SECONDS + SETTLED_S))


def wait_for_member(kafka: Kafka, source: str, target: str, arrivals: Arrivals) -> None:
    """Produce until something comes out: the client has its partitions."""
    producer = Producer(kafka.client)
    arrivals.since = 0
    deadline = time.monotonic() + 60
    while not arrivals.taken_ms:
        assert time.monotonic() < deadline, f"nothing arrives in {target}"
        producer.produce(source, datum(0), partition=0)
        producer.flush(5)
        time.sleep(0.2)
    arrivals.since = float("inf")
    arrivals.taken_ms.clear()


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def site() -> Iterator[tuple[Kafka, dict[str, str], Path]]:
    """A broker and an authority that is 20 ms away."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka = stack.enter_context(running_kafka())
        env, far = stack.enter_context(authority([LATENCY_S]))
        yield kafka, {**env, "CS_ZEROKMS_HOST": far[LATENCY_S]}, work


def settings(kafka: Kafka, work: Path, source: str, target: str, kind: str) -> list[str]:
    """Write a worker's settings; returns its command."""
    path = work / f"{target}.toml"
    values = {"bootstrap": kafka.bootstrap, "cluster_id": kafka.cluster_id, "schema": SCHEMA, "format": kind}
    values |= {"protocol": kafka.properties.get("security.protocol", "PLAINTEXT"), "mode": "exactly-once"}
    text = CONFIG.format(**values, hosts='["127.0.0.1"]', max_records=10_000, source=source, target=target)
    path.write_text(text)
    program = [*COMMAND, "run", "--config", str(path)]
    return [*program, "--log-level", "error"]


def main() -> int:
    """Run everything, print the table, and return 1 where a promise is broken."""
    report = Report()
    with site() as (kafka, env, work):
        for rate in RATES:
            found: dict[str, Measured] = {}
            for name in ("bare cycle", "leased", "record"):
                source = kafka.create_topic(partitions=PARTITIONS)
                kafka.create_topic(f"{source}.dead", config={"max.message.bytes": str((1 << 20) + 12 + 4096)})
                target = kafka.create_topic(partitions=PARTITIONS)
                command = [sys.executable, "-c", LOOP, kafka.bootstrap, source, target]
                if name != "bare cycle":
                    command = settings(kafka, work, source, target, name)
                each = found[name] = measure(kafka, source, target, rate, command, env)
                report.show(
                    f"{name} at {rate:,} records/s: p50, p99 (ms), CPU s/minute",
                    f"{each.p50:.1f}, {each.p99:.1f}, {each.cpu:.1f}",
                )
            bare, leased, record = found["bare cycle"], found["leased"], found["record"]
            report.check(f"{rate:,} records/s: leased / bare cycle, p50", leased.p50 / bare.p50, 2, at_least=False)
            report.check(f"{rate:,} records/s: leased / bare cycle, p99", leased.p99 / bare.p99, 3, at_least=False)
            report.check(f"{rate:,} records/s: record / leased, p99", record.p99 / leased.p99, 1.5, at_least=False)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
