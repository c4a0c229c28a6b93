"""A lost authority or database pauses a whole worker, loses nothing, and is picked up again by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Producer

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.proxy import Proxy
from worker.app import Worker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, within a bound that no passing run comes near."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@contextmanager
def running(worker: Worker) -> Iterator[None]:
    """Run a worker on a thread and end it gracefully."""
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(60)
    assert not thread.is_alive()


def paused(worker: Worker, word: str) -> bool:
    return any(word in reason for health in worker.health for reason in health.reasons())


def test_a_lost_database_pauses_and_resumes(
    kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path
) -> None:
    """While the database is away the table's route waits; afterwards every record is there once."""
    dsn = new_database(region="eu-central-1")
    place = urlsplit(dsn)
    with Proxy(place.port or 5432, place.hostname or "127.0.0.1") as proxy:
        through = dsn.replace(f"{place.hostname}:{place.port}", proxy.address)
        site = Deployment(kafka=kafka, dsn=through, authority=authority, directory=tmp_path)
        site.prepare()
        schema_id, _ = site.write_customers(1, 50)
        with Worker(site.load(schema_id), site.environ) as worker, running(worker):
            until(lambda: len(site.rows()) == 50, "the first records arrive")
            proxy.refuse = True
            proxy.cut()
            site.write_customers(2, 50)
            until(lambda: paused(worker, "sink"), "the route says that its sink is away")
            proxy.refuse = False
            until(lambda: len(site.rows()) >= 100, "the rest arrives")
        ids = [row[0] for row in site.rows()]

    assert len(set(ids)) == len(ids) == 100


@pytest.fixture
def behind_proxy(
    kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path
) -> Iterator[tuple[Deployment, Proxy]]:
    """A prepared deployment that reaches its authority through a proxy."""
    place = urlsplit(authority["CS_CTS_HOST"])
    with Proxy(place.port or 80) as proxy:
        env = {**authority, "CS_CTS_HOST": f"http://{proxy.address}/", "CS_ZEROKMS_HOST": f"http://{proxy.address}/"}
        own = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=env, directory=tmp_path)
        # The token names the authority's own address besides.
        site = replace(own, hosts=(place.netloc,))
        site.prepare()
        yield site, proxy


def test_a_lost_authority_pauses_and_resumes(behind_proxy: tuple[Deployment, Proxy]) -> None:
    """While the authority is away nothing passes in the clear and nothing is lost; afterwards work resumes."""
    site, proxy = behind_proxy
    schema_id, _ = site.write_customers(1, 50)
    settings = site.load(schema_id, changes="[keys]\nmax_age_s = 0\nwait_s = 1\n")
    with Worker(settings, site.environ) as worker, running(worker):
        until(lambda: len(site.rows()) == 50, "the first records arrive")
        proxy.refuse = True
        proxy.cut()
        site.write_customers(2, 50)
        until(lambda: paused(worker, "authority"), "the routes say that the authority is away")
        before = len(site.rows())
        proxy.refuse = False
        until(lambda: len(site.rows()) == len(site.read(site.sink)) == 100, "the rest arrives")

    assert before == 50


def test_without_a_key_a_dead_letter_waits(behind_proxy: tuple[Deployment, Proxy]) -> None:
    """Poison is neither written unsealed nor skipped while there is no key to seal it with."""
    site, proxy = behind_proxy
    schema_id, _ = site.write_customers(1, 10)
    settings = site.load(schema_id, changes="[keys]\nmax_age_s = 0\nwait_s = 1\n")
    with Worker(settings, site.environ) as worker, running(worker):
        until(lambda: len(site.rows()) == len(site.read(site.sink)) == 10, "the first records arrive")
        proxy.refuse = True
        proxy.cut()
        producer = Producer(site.kafka.client)
        producer.produce(site.source, b"\7 no frame", key=b"poison")
        assert producer.flush(30) == 0
        until(
            lambda: all(any("authority" in reason for reason in h.reasons()) for h in worker.health),
            "both routes wait for the authority",
        )
        before = site.read(site.dead)
        proxy.refuse = False
        until(lambda: len(site.read(site.dead)) >= 2, "each route seals its letter")

    assert before == []
