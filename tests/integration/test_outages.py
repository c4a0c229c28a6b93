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

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.proxy import Proxy
from worker.app import Worker
from worker.demo.customers import Population, customers, write

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


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
        schema_id = produce(site, 1, 50)
        with Worker(site.load(schema_id), site.environ) as worker, running(worker):
            until(lambda: len(site.rows()) == 50, "the first records arrive")
            proxy.refuse = True
            proxy.cut()
            produce(site, 2, 50)
            until(lambda: paused(worker, "sink"), "the route says that its sink is away")
            proxy.refuse = False
            until(lambda: len(site.rows()) >= 100, "the rest arrives")
        ids = [row[0] for row in site.rows()]

    assert len(set(ids)) == len(ids) == 100


def test_a_lost_authority_pauses_and_resumes(
    kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path
) -> None:
    """While the authority is away nothing passes in the clear and nothing is lost; afterwards work resumes."""
    place = urlsplit(authority["CS_CTS_HOST"])
    with Proxy(place.port or 80) as proxy:
        env = {**authority, "CS_CTS_HOST": f"http://{proxy.address}/", "CS_ZEROKMS_HOST": f"http://{proxy.address}/"}
        own = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=env, directory=tmp_path)
        # The token names the authority's own address besides.
        site = replace(own, hosts=(place.netloc,))
        site.prepare()
        schema_id = produce(site, 1, 50)
        settings = site.load(schema_id, changes="[keys]\nmax_age_s = 0\nwait_s = 1\n")
        with Worker(settings, site.environ) as worker, running(worker):
            until(lambda: len(site.rows()) == 50, "the first records arrive")
            proxy.refuse = True
            proxy.cut()
            produce(site, 2, 50)
            until(lambda: paused(worker, "authority"), "the routes say that the authority is away")
            before = len(site.rows())
            proxy.refuse = False
            until(lambda: len(site.rows()) == len(site.read(site.sink)) == 100, "the rest arrives")

    assert before == 50
