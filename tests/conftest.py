"""
Fixtures of the whole suite.

One Kafka and one PostgreSQL are started when the first test asks for them; a test gets topics and databases of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import settings

from tests.components import Kafka, running_kafka, running_postgres
from worker.authority.dev import DevAuthority
from worker.local.postgres import create_database, drop_database

# A shared machine makes any example slow at times; the suite's own timeout finds one that hangs.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


class TopicFactory(Protocol):
    """Creates a fresh topic and returns its name; `name` only where the name itself matters."""

    def __call__(
        self, name: str | None = None, *, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> str: ...


class DatabaseFactory(Protocol):
    """Creates a fresh database and returns its URI; `region` declares its residency (CONTRACTS 8)."""

    def __call__(self, *, region: str | None = None) -> str: ...


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """The suite's cluster of one node: `bootstrap`, `cluster_id`, `properties`, `client`, `create_topic`."""
    with running_kafka() as running:
        yield running


@pytest.fixture
def topic(kafka: Kafka) -> TopicFactory:
    """A factory of fresh topics."""
    return kafka.create_topic


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The administrator's URI of the suite's server."""
    with running_postgres() as dsn:
        yield dsn


@pytest.fixture
def new_database(postgres: str) -> Iterator[DatabaseFactory]:
    """A factory of fresh databases, dropped after the test."""
    made: list[str] = []

    def create(*, region: str | None = None) -> str:
        made.append(create_database(postgres, region=region))
        return made[-1]

    yield create
    for dsn in made:
        drop_database(postgres, dsn)


@pytest.fixture
def database(new_database: DatabaseFactory) -> str:
    """A fresh, empty database's URI; nothing is declared in it (see `worker.local.declare_region`)."""
    return new_database()


@contextlib.contextmanager
def running_authority(region: str, directory: Path) -> Iterator[dict[str, str]]:
    with DevAuthority(region, directory) as running:
        yield dict(running.env)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The suite's authority of eu-central-1 as its CS_* variables; a test that revokes starts one of its own."""
    with running_authority("eu-central-1", tmp_path_factory.mktemp("authority")) as env:
        yield env


@pytest.fixture(scope="session")
def authority_ap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The same of ap-southeast-2."""
    with running_authority("ap-southeast-2", tmp_path_factory.mktemp("authority-ap")) as env:
        yield env
