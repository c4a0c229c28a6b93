"""An authority that was restored from the wrong backup must not be able to destroy data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.running import Running, arrived, each_once, produce, until
from worker.app import Worker
from worker.authority import schema
from worker.authority.dev import DevAuthority
from worker.authority.transaction import Transaction
from worker.errors import CanaryError

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
REGION = "eu-central-1"


def restore_wrongly(directory: Path, port: int = 0, *, public_url: str | None = None) -> DevAuthority:
    """Start the authority again with all its clients and tokens, and other secrets of every keyset."""
    running = DevAuthority(REGION, directory, port, public_url=public_url)
    store = running.authority.store

    def change(transaction: Transaction) -> None:
        for identity in store.state.keysets:
            other = store.sealer.seal(os.urandom(64), what=f"keyset/{identity}")
            transaction.update(schema.keysets, identity, {"secrets": other})

    store.write(change)
    return running


def test_a_worker_stops_before_it_writes_under_keys_of_another_authority(
    kafka: Kafka, new_database: DatabaseFactory, tmp_path: Path
) -> None:
    """The idle worker never saw its authority go; the first key over the new connection stops it, nothing is lost."""
    own = DevAuthority(REGION, tmp_path / "authority")
    port = urlsplit(own.url).port or 0
    env: Mapping[str, str] = own.env
    site = Deployment(kafka=kafka, dsn=new_database(region=REGION), authority=env, directory=tmp_path)
    site.prepare()
    schema_id = produce(site, 1, 50)
    with (
        Worker(site.load(schema_id, changes="[keys]\nmax_age_s = 0\n"), site.environ) as worker,
        Running(worker) as run,
    ):
        until(lambda: arrived(site, 50), "the first records arrive")
        own.stop()
        with restore_wrongly(tmp_path / "authority", port):
            produce(site, 2, 50)
            error = run.ended()

    assert isinstance(error, CanaryError)
    assert "Nothing is written" in str(error)
    each_once(site, 50)
    assert site.read(site.dead) == []
