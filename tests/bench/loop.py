"""
`make bench-loop`: the worker's loop beside a loop that only copies and a plain-Python encryptor, in one run.

All of them read the same topic and write to one of their own on the same broker, one after the other, so that the
ratios hold on any machine where the absolute figures do not. Records: 8 fields, 3 of them encrypted strings, about 80
bytes. A worker's start and stop, measured by a second run that finds nothing to do, are not part of its figures. Of
several rounds the best figure of each loop counts: what else the machine does can only make one worse.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import fastavro
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.components import Kafka, running_kafka
from tests.program import COMMAND
from worker.authority.dev import DevAuthority

PARTITIONS = 3
SOURCE = "source"
PII = ("name", "email", "phone")
SCHEMA = Path(__file__).with_name("loop.avsc")
CONFIG = """region = "eu-central-1"
[authority]
allow_hosts = {hosts}
[kafka]
bootstrap = "{bootstrap}"
cluster_id = "{cluster_id}"
properties = {{ "security.protocol" = "{protocol}" }}
[schemas]
local = {{ "1" = {{ input = "{schema}", output_id = 2 }} }}
[encryption]
format = "{format}"
[delivery]
mode = "{mode}"
max_records = {max_records}
[http]
listen = "127.0.0.1:0"
[[routes]]
name = "bench"
group = "bench-{target}"
clear = ["bench.Customer"]
source = {{ topics = ["{source}"] }}
sink = {{ kind = "kafka", topic = "{target}", partitioning = "same" }}
"""


@dataclass(frozen=True, slots=True)
class Result:
    """One loop's figures: records a second by the wall clock, CPU seconds of the client per million records."""

    name: str
    records: int
    seconds: float
    cpu_s: float

    @property
    def rate(self) -> float:
        return self.records / self.seconds

    @property
    def cpu_per_million(self) -> float:
        return self.cpu_s / self.records * 1e6


@cache
def _schema() -> dict[str, object]:
    parsed: dict[str, object] = fastavro.parse_schema(json.loads(SCHEMA.read_text()))  # type: ignore[assignment]
    return parsed


def datum(n: int) -> bytes:
    """The n-th framed record."""
    out = io.BytesIO(b"\0\0\0\0\1")
    out.seek(5)
    record = {"id": n, "country": "DE", "active": True, "score": n / 7, "since": n % 20_000}
    record |= {"name": f"Customer {n:07}", "email": f"c{n:07}@mail.example", "phone": f"+49 30 {n:07}"}
    fastavro.schemaless_writer(out, _schema(), record)
    return out.getvalue()


def fill(kafka: Kafka, topic: str, count: int) -> None:
    """Produce `count` framed records."""
    producer = Producer({**kafka.client, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000})
    for n in range(count):
        producer.produce(topic, datum(n), key=str(n), partition=n % PARTITIONS)
        producer.poll(0)
    assert producer.flush(120) == 0


@contextmanager
def _clients(kafka: Kafka, source: str) -> Iterator[tuple[Consumer, Producer]]:
    settings = {"group.id": "bench", "enable.partition.eof": True, "fetch.queue.backoff.ms": 10}
    consumer = Consumer({**kafka.client, **settings, "enable.auto.commit": False})
    consumer.assign([TopicPartition(source, n, 0) for n in range(PARTITIONS)])
    producer = Producer({**kafka.client, "linger.ms": 5, "queue.buffering.max.messages": 1_000_000})
    try:
        yield consumer, producer
    finally:
        consumer.close()


def in_process(
    name: str, kafka: Kafka, source: str, target: str, change: Callable[[list[bytes]], list[bytes]]
) -> Result:
    """Run consume, change, produce, flush until the end of the source."""
    cpu, start = time.process_time(), time.monotonic()
    records = ended = 0
    with _clients(kafka, source) as (consumer, producer):
        while ended < PARTITIONS:
            batch: list[Message] = []
            for message in consumer.consume(10_000, 0.2):
                if (error := message.error()) is None:
                    batch.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended += 1
            for message, value in zip(batch, change([m.value() or b"" for m in batch]), strict=True):
                producer.produce(target, value, key=message.key(), partition=message.partition() or 0)
            producer.flush()
            records += len(batch)
    return Result(name, records, time.monotonic() - start, time.process_time() - cpu)


def plain_encryptor() -> Callable[[list[bytes]], list[bytes]]:
    """Return what one would write by hand: fastavro both ways and one cached AES-GCM key."""
    declared = json.loads(SCHEMA.read_text())
    schema = fastavro.parse_schema(declared)
    output = fastavro.parse_schema(
        {
            "type": "record",
            "name": "Out",
            "fields": [
                {"name": each["name"], "type": "bytes" if each["name"] in PII else each["type"]}
                for each in declared["fields"]
            ],
        }
    )
    cipher = AESGCM(AESGCM.generate_key(256))

    def change(values: list[bytes]) -> list[bytes]:
        changed = []
        for value in values:
            record = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
            assert isinstance(record, dict)
            for name in PII:
                nonce = os.urandom(12)
                record[name] = nonce + cipher.encrypt(nonce, str(record[name]).encode(), b"")
            out = io.BytesIO()
            out.write(value[:5])
            fastavro.schemaless_writer(out, output, record)
            changed.append(out.getvalue())
        return changed

    return change


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the worker."""

    name: str
    mode: str
    format: str = "leased"
    encrypts: bool = True
    max_records: int = 10_000


COPY, PLAIN, LEASED, EXACT = (
    "copy loop",
    "plain Python, one AES-GCM key",
    "worker, leased",
    "worker, leased, exactly once",
)
SMALL = 500
VARIANTS = (
    Variant("worker, nothing declared", "at-least-once", encrypts=False),
    Variant(LEASED, "at-least-once"),
    Variant(EXACT, "exactly-once"),
    Variant(f"{LEASED}, {SMALL} a batch", "at-least-once", max_records=SMALL),
    Variant(f"{EXACT}, {SMALL} a batch", "exactly-once", max_records=SMALL),
    Variant("worker, record", "at-least-once", "record"),
)


def worker(kafka: Kafka, env: dict[str, str], variant: Variant, count: int, work: Path, turn: int) -> Result:
    """Run `worker run --until-end`; its CPU seconds are the child's."""
    hosts = sorted({urlsplit(env[name]).netloc for name in ("CS_CTS_HOST", "CS_ZEROKMS_HOST")})
    number = f"{VARIANTS.index(variant)}-{turn}"
    schema, settings = work / f"{number}.avsc", work / f"{number}.toml"
    declared = json.loads(SCHEMA.read_text())
    if not variant.encrypts:
        declared["fields"] = [{k: v for k, v in field.items() if k != "encrypted"} for field in declared["fields"]]
    schema.write_text(json.dumps(declared))
    target = kafka.create_topic(f"worker-{number}", partitions=PARTITIONS)
    values = {"hosts": hosts, "bootstrap": kafka.bootstrap, "cluster_id": kafka.cluster_id, "schema": schema}
    values |= {"protocol": kafka.properties.get("security.protocol", "PLAINTEXT"), "mode": variant.mode}
    settings.write_text(
        CONFIG.format(**values, source=SOURCE, target=target, format=variant.format, max_records=variant.max_records)
    )
    command = [*COMMAND, "run", "--config", str(settings)]
    command += ["--until-end", "--log-level", "warning"]
    seconds, cpu = _timed(command, {**os.environ, **env})
    idle_s, idle_cpu = _timed(command, {**os.environ, **env})
    return Result(variant.name, count, seconds - idle_s, cpu - idle_cpu)


def _timed(command: list[str], environ: dict[str, str]) -> tuple[float, float]:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, env=environ, check=True)
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def best(rounds: Sequence[Result]) -> Result:
    """Return one loop's best time and best CPU time of several rounds."""
    first = rounds[0]
    return Result(first.name, first.records, min(r.seconds for r in rounds), min(r.cpu_s for r in rounds))


def report(results: list[Result]) -> None:
    """Print the figures, with their ratios to the first result."""
    print(f"{'loop':<42}{'records/s':>12}{'of the copy':>13}{'CPU s/million':>15}{'of the copy':>13}")
    first = results[0]
    for each in results:
        rate, cpu = each.rate / first.rate, each.cpu_per_million / first.cpu_per_million
        print(f"{each.name:<42}{each.rate:>12,.0f}{rate:>13.3f}{each.cpu_per_million:>15.1f}{cpu:>13.1f}")


def judge(results: list[Result]) -> None:
    """Compare the loops with each other; raises `AssertionError` where one has become much dearer."""
    found = {each.name: each for each in results}
    small = f", {SMALL} a batch"
    costs = {
        "exactly once against at least once, time": found[LEASED].rate / found[EXACT].rate,
        f"the same{small}": found[LEASED + small].rate / found[EXACT + small].rate,
        "leased against plain Python, CPU": found[LEASED].cpu_per_million / found[PLAIN].cpu_per_million,
        "leased against the copy loop, CPU": found[LEASED].cpu_per_million / found[COPY].cpu_per_million,
    }
    for (name, ratio), most in zip(costs.items(), (1.5, 4.0, 2.0, 15.0), strict=True):
        print(f"{name}: {ratio:.2f}")
        assert ratio < most, f"{name}: at most {most}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    count = asked.records
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka = stack.enter_context(running_kafka())
        authority = stack.enter_context(DevAuthority("eu-central-1", work / "authority"))
        kafka.create_topic(SOURCE, partitions=PARTITIONS)
        kafka.create_topic("source.dead", config={"max.message.bytes": str((1 << 20) + 12 + 4096)})
        fill(kafka, SOURCE, count)
        env = dict(authority.env)
        changes = ((COPY, lambda values: values), (PLAIN, plain_encryptor()))
        rounds = []
        for turn in range(asked.rounds):
            targets = [kafka.create_topic(f"plain-{n}-{turn}", partitions=PARTITIONS) for n in range(len(changes))]
            measured = [in_process(c[0], kafka, SOURCE, t, c[1]) for c, t in zip(changes, targets, strict=True)]
            rounds.append(measured + [worker(kafka, env, v, count, work, turn) for v in VARIANTS])
        results = [best(each) for each in zip(*rounds, strict=True)]
    report(results)
    judge(results)


if __name__ == "__main__":
    main()
