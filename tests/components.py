"""The suite's Kafka and PostgreSQL: in containers where a Docker daemon answers, native programs elsewhere."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import docker  # type: ignore[import-untyped]
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic
from testcontainers.community.kafka import KafkaContainer
from testcontainers.community.postgres import PostgresContainer

from worker.local import LocalKafka, LocalPostgres


@dataclass(frozen=True, slots=True)
class Kafka:
    """
    One running cluster; `properties` are what a client needs besides `bootstrap.servers`.

    Killing and restarting need a `LocalKafka` of the test's own.
    """

    bootstrap: str
    cluster_id: str
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def client(self) -> dict[str, str | int | float | bool]:
        return {"bootstrap.servers": self.bootstrap, **self.properties}

    def create_topic(
        self, name: str | None = None, *, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> str:
        name = f"t-{uuid.uuid4().hex[:12]}" if name is None else name
        admin = self._admin()
        # No replication factor: the cluster's own default, which on three nodes is three.
        admin.create_topics([NewTopic(name, partitions, config=dict(config or {}))])[name].result(30)
        _await_leaders(admin, name, partitions)
        return name

    def add_partitions(self, topic: str, total: int) -> None:
        admin = self._admin()
        admin.create_partitions([NewPartitions(topic, total)])[topic].result(30)
        _await_leaders(admin, topic, total)

    def _admin(self) -> AdminClient:
        return AdminClient({**self.client, "log_level": 4})


def _await_leaders(admin: AdminClient, topic: str, partitions: int) -> None:
    """Wait for the broker, which hears later of partitions than the controller that answered; a client would not."""
    leaders: list[bool] = []
    while leaders != [True] * partitions:
        found = admin.list_topics(timeout=30).topics.get(topic)
        leaders = [] if found is None else [p.leader >= 0 for p in found.partitions.values()]


def require_program(name: str, remedy: str) -> str:
    """Return a program's path, or skip the test saying what is missing and how to get it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"`{name}` is not on PATH: {remedy}")
    return found


def require_module(name: str, remedy: str) -> None:
    """Skip the test where a Python package is missing, saying how to get it."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"Python package {name} is not installed: {remedy}", allow_module_level=True)


def docker_answers() -> bool:
    """Whether a Docker daemon is there, and not only its command line."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    try:
        if host.startswith("unix://"):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(host.removeprefix("unix://"))
        with contextlib.closing(docker.from_env(timeout=5)) as client:
            return bool(client.ping())
    except (OSError, docker.errors.DockerException):
        return False


@contextlib.contextmanager
def running_kafka() -> Iterator[Kafka]:
    if docker_answers():
        container = KafkaContainer("confluentinc/cp-kafka:8.1.0").with_kraft()
        container.with_env("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1")
        container.with_env("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1")
        container.with_env("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0")
        container.with_env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
        with container:
            bootstrap = str(container.get_bootstrap_server())
            found = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=30)
            yield Kafka(bootstrap, str(found.cluster_id))
    else:
        with LocalKafka() as local:
            yield Kafka(local.bootstrap, local.cluster_id, dict(local.properties))


@contextlib.contextmanager
def running_postgres() -> Iterator[str]:
    """Yield an administrator's connection URI."""
    if docker_answers():
        with PostgresContainer("postgres:18", driver=None) as container:
            yield str(container.get_connection_url())
    else:
        with LocalPostgres(under=_memory()) as local:
            yield local.dsn


def _memory() -> Path | None:
    """Where files lie in memory, if there is room: a database of each test makes and removes three hundred of them."""
    place = Path("/dev/shm")
    try:
        return place if shutil.disk_usage(place).free > 4 << 30 and os.access(place, os.W_OK | os.X_OK) else None
    except OSError:
        return None
