"""Whatever is lost pauses a whole worker, which says so in log, metric and /readyz, loses nothing, and resumes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import time_machine
from confluent_kafka import Producer
from structlog.testing import capture_logs

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.program import COMMAND
from tests.proxy import Proxy
from tests.running import Running, arrived, each_once, produce, until
from worker.app import Worker
from worker.authority.dev import read_env
from worker.config import Settings
from worker.local import LocalKafka
from worker.local.process import Program

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]
REGION = "eu-central-1"
FIRST, MORE = 50, 50


@contextmanager
def proxied_database(
    kafka: Kafka, dsn: str, authority: dict[str, str], directory: Path
) -> Iterator[tuple[Deployment, Proxy]]:
    """Give a deployment whose worker and whose tests reach the database through a proxy."""
    place = urlsplit(dsn)
    with Proxy(place.port or 5432, place.hostname or "127.0.0.1") as proxy:
        through = dsn.replace(f"{place.hostname}:{place.port}", proxy.address)
        site = Deployment(kafka=kafka, dsn=through, authority=authority, directory=directory)
        site.prepare()
        yield site, proxy


@contextmanager
def proxied_authority(
    kafka: Kafka, dsn: str, authority: dict[str, str], directory: Path
) -> Iterator[tuple[Deployment, Proxy]]:
    """Give a deployment whose worker reaches the authority through a proxy."""
    place = urlsplit(authority["CS_CTS_HOST"])
    with Proxy(place.port or 80) as proxy:
        through = f"http://{proxy.address}/"
        env = {**authority, "CS_CTS_HOST": through, "CS_ZEROKMS_HOST": through}
        # The token names the authority's own address besides.
        site = Deployment(kafka=kafka, dsn=dsn, authority=env, directory=directory, hosts=(place.netloc,))
        site.prepare()
        yield site, proxy


def impatient(settings: Settings, timeout_s: float) -> Settings:
    """Return the settings with less patience for silent sinks."""
    routes = tuple(
        r.model_copy(update={"sink": r.sink.model_copy(update={"timeout_s": timeout_s})}) for r in settings.routes
    )
    return settings.model_copy(update={"routes": routes})


def dynamic(settings: Settings) -> Settings:
    """Return the settings without static membership: a join that meets silence can fence a static member by itself."""
    routes = tuple(
        r.model_copy(update={"source": r.source.model_copy(update={"static_membership": False})})
        for r in settings.routes
    )
    return settings.model_copy(update={"routes": routes})


def lose(proxy: Proxy, fault: str) -> None:
    """Let what is behind a proxy be gone, or keep its connections and answer nothing."""
    if fault == "refused":
        proxy.refuse = True
        proxy.cut()
    else:
        proxy.half_open = True


@pytest.mark.parametrize("fault", ["refused", "half-open"])
def test_a_lost_database(
    kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path, fault: str
) -> None:
    """A database that resets or swallows connections pauses its route alone; afterwards every record is there once."""
    with ExitStack() as stack:
        site, proxy = stack.enter_context(proxied_database(kafka, new_database(region=REGION), authority, tmp_path))
        schema_id = produce(site, 1, FIRST)
        logs = stack.enter_context(capture_logs())
        worker = stack.enter_context(Worker(impatient(site.load(schema_id), 2.0), site.environ))
        running = stack.enter_context(Running(worker))
        until(lambda: arrived(site, FIRST), "the first records arrive")
        lose(proxy, fault)
        produce(site, 2, MORE)
        until(lambda: running.says("sink"), "the route says that its sink is away")
        proxy.refuse = proxy.half_open = False
        until(lambda: arrived(site, FIRST + MORE), "the rest arrives")
        until(lambda: running.is_ready() and not running.paused("sink"), "the worker is ready again")
        each_once(site, FIRST + MORE)

    told = [(entry["event"], entry["reason"]) for entry in logs if entry["event"] in ("paused", "resumed")]
    assert [event for event, reason in told if reason == "sink"] == ["paused", "resumed"]


@pytest.mark.parametrize("fault", ["refused", pytest.param("half-open", marks=pytest.mark.heavy)])
def test_a_lost_authority(
    kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path, fault: str
) -> None:
    """While the authority resets or swallows connections nothing passes; afterwards work resumes."""
    with proxied_authority(kafka, new_database(region=REGION), authority, tmp_path) as (site, proxy):
        schema_id = produce(site, 1, FIRST)
        changes = "[keys]\nmax_age_s = 0\nwait_s = 1\n[authority.client]\ntimeout_s = 1\nconnect_timeout_s = 1\n"
        settings = site.load(schema_id, changes=changes)
        with Worker(settings, site.environ) as worker, Running(worker) as running:
            until(lambda: arrived(site, FIRST), "the first records arrive")
            lose(proxy, fault)
            produce(site, 2, MORE)
            until(lambda: running.says("authority"), "the routes say that the authority is away")
            before = len(site.rows())
            proxy.refuse = proxy.half_open = False
            until(lambda: arrived(site, FIRST + MORE), "the rest arrives")
            until(lambda: running.is_ready() and not running.paused("authority"), "the worker is ready again")
            each_once(site, FIRST + MORE)

    assert before == FIRST


def test_without_a_key_a_dead_letter_waits(
    kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path
) -> None:
    """Poison is neither written unsealed nor skipped while there is no key to seal it with."""
    with proxied_authority(kafka, new_database(region=REGION), authority, tmp_path) as (site, proxy):
        schema_id = produce(site, 1, 10)
        settings = site.load(schema_id, changes="[keys]\nmax_age_s = 0\nwait_s = 1\n")
        with Worker(settings, site.environ) as worker, Running(worker):
            until(lambda: arrived(site, 10), "the first records arrive")
            lose(proxy, "refused")
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


@pytest.mark.heavy
@pytest.mark.parametrize("fault", ["killed", "half-open"])
def test_a_lost_broker(new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path, fault: str) -> None:
    """A broker that is gone, or keeps its connections and answers nothing, pauses the routes, and they resume."""
    with LocalKafka() as local:
        kafka = Kafka(local.bootstrap, local.cluster_id, dict(local.properties))
        site = Deployment(kafka=kafka, dsn=new_database(region=REGION), authority=authority, directory=tmp_path)
        site.prepare()
        schema_id = produce(site, 1, FIRST)
        settings = dynamic(site.load(schema_id, changes="[delivery]\nverify_interval_s = 1\n"))
        with Worker(settings, site.environ) as worker, Running(worker) as running:
            until(lambda: arrived(site, FIRST), "the first records arrive")
            local.kill() if fault == "killed" else local.send(signal.SIGSTOP)
            until(lambda: running.says("source"), "the routes say that the broker is away")
            local.restart() if fault == "killed" else local.send(signal.SIGCONT)
            until(lambda: running.is_ready() and not running.paused("source"), "the worker is ready again")
            produce(site, 2, MORE)
            until(lambda: arrived(site, FIRST + MORE), "the rest arrives")
            each_once(site, FIRST + MORE)


@contextmanager
def authority_of_its_own(directory: Path) -> Iterator[dict[str, str]]:
    """Run an authority in a process of its own, with a clock of its own; yields its variables."""
    env_file = directory / "authority.env"
    command = [*COMMAND, "authority", "dev", "--region", REGION]
    program = Program([*command, "--env-file", str(env_file)], directory / "authority.log")
    try:
        until(lambda: env_file.exists() or not program.is_running, "the authority starts")
        yield read_env(env_file)
    finally:
        program.stop(10)


@pytest.mark.heavy
def test_a_clock_that_jumps(kafka: Kafka, new_database: DatabaseFactory, tmp_path: Path) -> None:
    """A wall clock set a day on, then two days back, neither stops nor pauses a worker, nor expires its keys."""
    with authority_of_its_own(tmp_path) as authority, time_machine.travel(time.time(), tick=True) as clock:
        site = Deployment(kafka=kafka, dsn=new_database(region=REGION), authority=authority, directory=tmp_path)
        site.prepare()
        schema_id = produce(site, 1, FIRST)
        with capture_logs() as logs, Worker(site.load(schema_id), site.environ) as worker, Running(worker) as running:
            until(lambda: arrived(site, FIRST), "the first records arrive")
            for number, days in enumerate((1, -2), start=2):
                clock.shift(days * 86_400)
                produce(site, number, MORE)
                until(lambda number=number: arrived(site, number * MORE), "records arrive after the jump")  # type: ignore[misc]
            each_once(site, 3 * MORE)
            expired = worker.metrics.registry.get_sample_value(
                "worker_keys_total", {"region": REGION, "event": "expired"}
            )

    assert running.error is None
    assert not expired
    assert [entry for entry in logs if entry["event"] == "paused"] == []
