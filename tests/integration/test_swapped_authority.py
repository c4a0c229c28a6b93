"""An authority that was restored from the wrong backup must not be able to destroy data."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Connection, update

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from worker.app import Worker
from worker.authority import schema
from worker.authority.dev import DevAuthority
from worker.demo.customers import Population, customers, write
from worker.errors import CanaryError

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
REGION = "eu-central-1"


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, within a bound that no passing run comes near."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def produce(site: Deployment, seed: int) -> int:
    records = customers(Population({"DE": "de_DE"}, seed=seed), 50)
    renamed = ({**record, "id": f"{seed}-{record['id']}"} for record in records)
    client = {name: str(value) for name, value in site.kafka.client.items()}
    return write(renamed, site.source, client, registry=site.name, progress=lambda: None)[0]


def restore_wrongly(directory: Path, port: int) -> DevAuthority:
    """Start the authority again with all its clients and tokens, and other secrets of every keyset."""
    running = DevAuthority(REGION, directory, port)
    store = running.authority.store

    def change(connection: Connection) -> None:
        for identity in store.state.keysets:
            other = store.sealer.seal(os.urandom(64), what=f"keyset/{identity}")
            connection.execute(update(schema.keysets).where(schema.keysets.c.id == identity).values(secrets=other))

    store.write(change)
    return running


def test_a_worker_stops_before_it_writes_under_keys_of_another_authority(
    kafka: Kafka, new_database: DatabaseFactory, tmp_path: Path
) -> None:
    """The idle worker never saw its authority go; the first key over the new connection stops it, nothing is lost."""
    ended: list[BaseException] = []

    def run(worker: Worker) -> None:
        try:
            worker.run()
        except CanaryError as exc:
            ended.append(exc)

    own = DevAuthority(REGION, tmp_path / "authority")
    port = urlsplit(own.url).port or 0
    env: Mapping[str, str] = own.env
    site = Deployment(kafka=kafka, dsn=new_database(region=REGION), authority=env, directory=tmp_path)
    site.prepare()
    schema_id = produce(site, 1)
    with Worker(site.load(schema_id, changes="[keys]\nmax_age_s = 0\n"), site.environ) as worker:
        thread = threading.Thread(target=run, args=(worker,))
        thread.start()
        try:
            until(lambda: len(site.rows()) == len(site.read(site.sink)) == 50, "the first records arrive")
            own.stop()
            with restore_wrongly(tmp_path / "authority", port):
                produce(site, 2)
                thread.join(60)
        finally:
            worker.stop()
            thread.join(60)

    assert [type(error) for error in ended] == [CanaryError]
    assert "Nothing is written" in str(ended[0])
    assert len(site.rows()) == len(site.read(site.sink)) == 50
    assert site.read(site.dead) == []
