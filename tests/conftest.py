"""
Fixtures of the whole suite.

One Kafka and one PostgreSQL are started when the first test asks for them, or before the first test where several
processes run the suite and share them (`-n 2`); a test gets topics and databases of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
import structlog
from hypothesis import settings

from tests.components import Kafka, running_kafka, running_postgres
from worker.authority.dev import DevAuthority
from worker.local.postgres import create_database, drop_database

# A shared machine makes any example slow at times; the suite's own timeout finds one that hangs.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


_RUNNING = pytest.StashKey[contextlib.ExitStack]()
_SHARED = pytest.StashKey[dict[str, Any]]()
LACKING = pytest.StashKey[list[str]]()
"""Tests that ask for a fixture that nobody has, and its name; of all that were collected, chosen or not."""
_LONG = ("faults", "integration", "mistakes")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Start what all of pytest-xdist's processes use, and tell each of them where it is."""
    stash = node.config.stash
    if _SHARED not in stash:
        stash[_RUNNING] = running = contextlib.ExitStack()
        kafka = running.enter_context(running_kafka())
        stash[_SHARED] = {
            "kafka": dataclasses.asdict(kafka),
            "postgres": running.enter_context(running_postgres()),
        }
    node.workerinput.update(stash[_SHARED])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop it."""
    config.stash.get(_RUNNING, contextlib.ExitStack()).close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the files that take long, in their random order, so that no process is left with one at the end."""
    functions = [item for item in items if isinstance(item, pytest.Function)]
    config.stash[LACKING] = [f"{item.nodeid}: {name}" for item in functions for name in _lacking(item)]
    items.sort(key=lambda item: item.path.parent.name not in _LONG)


def _lacking(item: pytest.Function) -> set[str]:
    given = {"request", *(item.callspec.params if hasattr(item, "callspec") else ())}
    return set(item.fixturenames) - given - item._fixtureinfo.name2fixturedefs.keys()


def pytest_collection_finish() -> None:
    """
    Let the collector of cycles leave alone what stays: the modules and five thousand tests.

    To walk these again and again took a fifth of the processor's time in a process that runs tests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _shared(config: pytest.Config, name: str) -> Any:
    return getattr(config, "workerinput", {}).get(name)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command that a test runs in this process writes its log to a stream that ends with the test."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


class TopicFactory(Protocol):
    """Creates a fresh topic and returns its name; `name` only where the name itself matters."""

    def __call__(
        self, name: str | None = None, *, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> str: ...


class DatabaseFactory(Protocol):
    """Creates a fresh database and returns its URI; `region` declares its residency (CONTRACTS 8)."""

    def __call__(self, *, region: str | None = None) -> str: ...


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> Iterator[Kafka]:
    """The suite's cluster of one node: `bootstrap`, `cluster_id`, `properties`, `client`, `create_topic`."""
    shared = _shared(pytestconfig, "kafka")
    with contextlib.nullcontext(Kafka(**shared)) if shared else running_kafka() as running:
        yield running


@pytest.fixture
def topic(kafka: Kafka) -> TopicFactory:
    """A factory of fresh topics."""
    return kafka.create_topic


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[str]:
    """The administrator's URI of the suite's server."""
    shared = _shared(pytestconfig, "postgres")
    with contextlib.nullcontext(str(shared)) if shared else running_postgres() as dsn:
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
def started_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an authority's first start leaves in eu-central-1; a copy spares a test the tables and the enrolment."""
    directory = tmp_path_factory.mktemp("started") / "once"
    DevAuthority("eu-central-1", directory).stop()
    return directory


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
