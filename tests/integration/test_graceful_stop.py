"""The real worker, stopped gracefully under load, again and again."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.program import COMMAND

pytestmark = [pytest.mark.integration, pytest.mark.fault]
RUN = (*COMMAND, "run")
PARTITIONS = 2


class Load:
    """Writes customers with ids of their own, on and on."""

    def __init__(self, site: Deployment) -> None:
        self._site = site
        self._turn = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.ids: list[str] = []
        self.schema_id = self._write()

    def _write(self) -> int:
        self._turn += 1
        number, ids = self._site.write_customers(self._turn, 100)
        self.ids += ids
        return number

    def _run(self) -> None:
        while not self._stop.is_set():
            self._write()

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@contextmanager
def ends(kafka: Kafka, topic: str) -> Iterator[Consumer]:
    consumer = Consumer({**kafka.client, "group.id": f"ends-{topic}"})
    try:
        yield consumer
    finally:
        consumer.close()


def held(consumer: Consumer, topic: str) -> int:
    """Number of records that the topic has taken."""
    deadline = time.monotonic() + 30
    while True:
        try:
            marks = [consumer.get_watermark_offsets(TopicPartition(topic, p), 10) or (0, 0) for p in range(PARTITIONS)]
        except KafkaException:
            # A client's first answers about a fresh topic may be a moment old.
            if time.monotonic() > deadline:
                raise
            continue
        return sum(mark[1] for mark in marks)


@pytest.mark.parametrize(
    "stops",
    [
        pytest.param(3, marks=pytest.mark.timeout(180)),
        pytest.param(20, marks=[pytest.mark.heavy, pytest.mark.timeout(1200)]),
    ],
)
def test_stops_under_load_double_nothing_at_least_once(
    kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path, stops: int
) -> None:
    """SIGTERM in mid-stream delivers what was taken, exits with 0, and leaves neither a gap nor a duplicate."""
    site = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
    site.prepare(partitions=PARTITIONS)
    codes = []
    with (tmp_path / "log").open("wb") as log, ends(kafka, site.sink) as sink, Load(site) as load:
        settings = site.settings(load.schema_id, changes='[delivery]\nmode = "at-least-once"\nmax_records = 200\n')
        command, environ = [*RUN, "--config", str(settings)], {**site.environ, "PATH": os.environ["PATH"]}
        for _ in range(stops):
            before, deadline = held(sink, site.sink), time.monotonic() + 90
            process = subprocess.Popen(command, env=environ, stderr=log)
            while held(sink, site.sink) < before + 200:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.terminate()
            codes.append(process.wait(60))
        before = held(sink, site.sink)
    last = subprocess.run([*command, "--until-end"], env=environ, capture_output=True, timeout=120, check=False)

    assert codes == [0] * stops, (tmp_path / "log").read_text()[-3000:]
    assert last.returncode == 0, last.stderr[-2000:]
    assert b"drain_abandoned" not in (tmp_path / "log").read_bytes()
    # Something was left by the last stop: it came under load.
    assert before < len(load.ids)
    keys = sorted((key or b"").decode() for key, _, _ in site.read(site.sink))
    assert keys == sorted(str(row[0]) for row in site.rows()) == sorted(load.ids)
