"""
Memory where small records become large: `make bench-memory`.

Records of about 5 kB with 1,000 encrypted items each go through a worker with default settings; an item of 4 bytes
becomes an envelope of more than a hundred. The most that the process had resident stands beside the bound that
docs/delivery.md states.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import fastavro
from confluent_kafka import Producer

from tests.bench.keys import Report
from tests.bench.latency import site
from tests.bench.loop import CONFIG, PARTITIONS
from tests.components import Kafka
from tests.program import COMMAND

BOUND_MB = 485
ITEMS = 1_000
RECORDS = {"leased": 3_000, "record": 300}
ITEM = {"type": "record", "name": "Item", "fields": [{"name": "text", "type": "string", "encrypted": True}]}
SCHEMA = {
    "type": "record",
    "name": "Customer",
    "namespace": "bench",
    "fields": [{"name": "items", "type": {"type": "array", "items": ITEM}}],
}


def fill(kafka: Kafka, topic: str, count: int) -> int:
    """Produce so many records; returns the size of one."""
    out = io.BytesIO()
    fastavro.schemaless_writer(
        out, fastavro.parse_schema(SCHEMA), {"items": [{"text": f"{n:04}"} for n in range(ITEMS)]}
    )
    value = b"\0\0\0\0\1" + out.getvalue()
    producer = Producer({**kafka.client, "queue.buffering.max.messages": 100_000})
    for n in range(count):
        producer.produce(topic, value, partition=n % PARTITIONS)
    assert producer.flush(120) == 0
    return len(value)


def peak_mb(kafka: Kafka, env: dict[str, str], work: Path, kind: str) -> tuple[int, float]:
    """Run a worker to the topic's end; returns a record's size and the most that was resident."""
    source, target = (kafka.create_topic(partitions=PARTITIONS) for _ in range(2))
    kafka.create_topic(f"{source}.dead", config={"max.message.bytes": str((1 << 20) + 12 + 4096)})
    size = fill(kafka, source, RECORDS[kind])
    schema, settings = work / "many.avsc", work / f"{kind}.toml"
    schema.write_text(json.dumps(SCHEMA))
    values = {"bootstrap": kafka.bootstrap, "cluster_id": kafka.cluster_id, "schema": schema, "format": kind}
    values |= {"protocol": kafka.properties.get("security.protocol", "PLAINTEXT"), "mode": "exactly-once"}
    text = CONFIG.format(**values, hosts='["127.0.0.1"]', max_records=10_000, source=source, target=target)
    settings.write_text(text)
    command = [*COMMAND, "run", "--config", str(settings), "--until-end", "--log-level", "error"]
    running = subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(running.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return size, used.ru_maxrss / 1_000


def main() -> int:
    """Run everything, print the table, and return 1 where a promise is broken."""
    report = Report()
    with site() as (kafka, env, work):
        for kind, count in RECORDS.items():
            size, peak = peak_mb(kafka, env, work, kind)
            name = f"{kind}, {count:,} records of {size:,} bytes with {ITEMS:,} encrypted items each"
            report.check(f"{name}: peak MB", peak, BOUND_MB, at_least=False, form="{:,.0f}")
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
