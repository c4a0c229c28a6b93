"""Drives numbered records through members that are killed at named places, and reads back what the sink holds."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import psycopg
from confluent_kafka import Consumer, Producer

from tests.components import Kafka
from tests.faults.member import Spec

PLACES = (
    "after_poll",
    "after_process",
    "after_write",
    "after_flush",
    "before_commit",
    "after_sink_commit",
    "after_commit",
)
LANES = 4
Process = subprocess.Popen[bytes]
KILLED = -9
FENCED = 5


class Drive:
    """One topology under fault."""

    def __init__(self, kafka: Kafka, spec: Spec, seed: int) -> None:
        self.kafka, self.spec = kafka, spec
        self.random = random.Random(seed)
        self.seed = seed
        self.produced = 0
        self._logs = Path(tempfile.mkdtemp(prefix="faults-"))

    def produce(self, count: int) -> None:
        producer = Producer({**self.kafka.client, "linger.ms": 5})
        for i in range(self.produced, self.produced + count):
            lane = i % LANES
            producer.produce(self.spec.source, str(i).encode(), str(lane).encode(), lane)
            producer.poll(0)
        assert producer.flush(60) == 0
        self.produced += count

    @contextmanager
    def member(self, instance: str, failpoints: str = "", *, bounded: bool = False) -> Iterator[Process]:
        spec = replace(self.spec, instance=instance, bounded=bounded)
        environ = {**os.environ, "FAILPOINTS": f"seed={self.seed};{failpoints}" if failpoints else ""}
        with (self._logs / instance).open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.member", json.dumps(asdict(spec))], env=environ, stderr=errors
            )
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait(30)

    def killed(self, place: str, hit: int) -> None:
        """Run one member until it dies by its own hand at `place`, at the n-th hit."""
        with self.member("w0", f"{place}=kill@{hit}") as process:
            assert process.wait(60) == KILLED, (self.seed, place, self.logs())

    def finish(self) -> None:
        """Let a bounded member deliver what is left."""
        with self.member("w0", bounded=True) as process:
            assert process.wait(120) == 0, (self.seed, self.logs())

    def logs(self) -> str:
        return "\n".join(p.read_text()[-3000:] for p in self._logs.iterdir())

    def found(self) -> list[tuple[int, int]]:
        """Return (lane, id) as the sink holds them, in order per lane."""
        return self._rows() if self.spec.dsn else self._messages()

    def _rows(self) -> list[tuple[int, int]]:
        with psycopg.connect(self.spec.dsn) as connection:
            rows = connection.execute(f'SELECT lane, id FROM {self.spec.sink} ORDER BY "_partition", "_offset"')
            return [(int(lane), int(i)) for lane, i in rows]

    def _messages(self) -> list[tuple[int, int]]:
        consumer = Consumer(
            {
                **self.kafka.client,
                "group.id": f"checker-{random.random()}",
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            }
        )
        consumer.subscribe([self.spec.sink])
        found: list[tuple[int, int]] = []
        ended: set[int | None] = set()
        try:
            while len(ended) < LANES:
                for message in consumer.consume(1000, 0.5):
                    if message.error() is not None:
                        ended.add(message.partition())
                    else:
                        found.append((int(message.key() or b"-1"), int(message.value() or b"-1")))
        finally:
            consumer.close()
        return found
