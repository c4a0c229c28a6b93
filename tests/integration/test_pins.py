"""Each pin, broken once on real components, stops the worker with a message that names both sides."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.proxy import Proxy
from tests.running import Running, produce, until
from worker import config
from worker.app import Worker
from worker.assembly.run import RunOptions
from worker.authority import tokens
from worker.authority.dev import DevAuthority
from worker.checks.start import verify
from worker.config import Settings
from worker.errors import RegionViolation
from worker.local import LocalKafka, LocalPostgres
from worker.local.postgres import create_database
from worker.metrics import Metrics
from worker.sink.base import DeadLetter
from worker.sink.kafka import ClusterPin, KafkaDeadLetters
from worker.sink.postgres.residency import signed_text

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def site(kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> Deployment:
    site = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
    site.prepare(partitions=1)
    return site


def test_everything_matches(site: Deployment) -> None:
    """With all pins right nothing is broken, and a plain-text cluster counts as unauthenticated."""
    with Worker(site.load(1), site.environ) as worker:
        findings = {finding.name: finding for finding in verify(worker.graph, create=True)}

    assert [f for f in findings.values() if f.is_broken] == []
    assert findings["topic: kafka cluster"].verdict == "unauthenticated"


def test_a_workspace_of_another_region(site: Deployment, authority_ap: dict[str, str]) -> None:
    """Credentials of another region are refused before anything else is asked."""
    environ = {**site.environ, "CS_WORKSPACE_CRN": authority_ap["CS_WORKSPACE_CRN"]}

    with (
        Worker(site.load(1), environ) as worker,
        pytest.raises(RegionViolation, match=r"(?s)eu-central-1.*ap-southeast-2"),
    ):
        worker.run(RunOptions(until_end=True))


def test_another_cluster(site: Deployment) -> None:
    """A cluster with another id is refused naming both ids."""
    settings = config.load(site.settings(1, cluster_id="another-cluster"), environ={})

    with (
        Worker(settings, site.environ) as worker,
        pytest.raises(RegionViolation, match=f"(?s)another-cluster.*{site.kafka.cluster_id}"),
    ):
        worker.run(RunOptions(until_end=True))


def test_a_database_of_another_region(site: Deployment) -> None:
    """A database that declares another region is refused naming both."""
    with psycopg.connect(site.dsn, autocommit=True) as connection:
        connection.execute("UPDATE worker.residency SET region = 'us-east-1'")

    with (
        Worker(site.load(1), site.environ) as worker,
        pytest.raises(RegionViolation, match=r"(?s)(eu-central-1.*us-east-1|us-east-1.*eu-central-1)"),
    ):
        worker.run(RunOptions(until_end=True))


def test_an_authority_host_that_nobody_listed(site: Deployment) -> None:
    """A key service that is not the region's own and not listed is refused by its host."""
    text = site.settings(1).read_text()
    path = site.directory / "unlisted.toml"
    path.write_text("".join(line for line in text.splitlines(keepends=True) if not line.startswith("allow_hosts")))

    with (
        Worker(config.load(path, environ={}), site.environ) as worker,
        pytest.raises(RegionViolation, match=r"(?s)127\.0\.0\.1.*eu-central-1"),
    ):
        worker.run(RunOptions(until_end=True))


def test_a_registry_of_another_region(site: Deployment) -> None:
    """A registry whose host is neither the region's nor listed is refused before it is asked."""
    path = site.settings(1)
    kept = [line for line in path.read_text().splitlines() if not line.startswith(("local =", "required ="))]
    text = "\n".join(kept).replace("[schemas]", '[schemas]\nregistry = "https://registry.us-east-1.internal"')
    path.write_text(text)

    with (
        Worker(config.load(path, environ={}), site.environ) as worker,
        pytest.raises(RegionViolation, match=r"eu-central-1.*registry\.us-east-1\.internal"),
    ):
        worker.run(RunOptions(until_end=True))


def test_dead_letters_to_another_cluster(site: Deployment) -> None:
    """A dead-letter topic on another cluster is refused at start and again before each letter, naming both."""
    connection = {name: str(value) for name, value in site.kafka.client.items()}
    metrics = Metrics(site.region)
    pin = ClusterPin("another", pin="dead_letter_cluster", name="route r", connection=connection, metrics=metrics)
    letters = KafkaDeadLetters(dict(connection), route="r", source_topics=[site.source], pin=pin)

    with pytest.raises(RegionViolation, match=f"another.*{site.kafka.cluster_id}"):
        letters.check()
    with pytest.raises(RegionViolation, match=f"another.*{site.kafka.cluster_id}"):
        letters.write([DeadLetter(site.dead, b"k", b"v")])

    assert site.read(site.dead) == []
    shown = metrics.registry.get_sample_value(
        "worker_region_pin", {"region": site.region, "pin": "dead_letter_cluster"}
    )
    assert shown == 0


def test_a_database_that_changes_its_region_in_mid_run(site: Deployment) -> None:
    """A declaration that changes under an open connection stops the worker before the next row."""
    schema_id = produce(site, 1, 50)
    with Worker(site.load(schema_id), site.environ) as worker, Running(worker) as running:
        until(lambda: len(site.rows()) == 50, "the first records arrive")
        with psycopg.connect(site.dsn, autocommit=True) as connection:
            connection.execute("UPDATE worker.residency SET region = 'us-east-1'")
        produce(site, 2, 50)
        error = running.ended()

    assert isinstance(error, RegionViolation)
    assert "us-east-1" in str(error)
    assert "eu-central-1" in str(error)
    assert len(site.rows()) == 50


def test_a_token_that_begins_to_name_another_key_service(
    kafka: Kafka, new_database: DatabaseFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refreshed service token, rightly signed, that names another region's key service stops the worker."""
    # The worker refreshes 90 s before the end.
    monkeypatch.setattr(tokens, "LIFETIME_S", 92)
    elsewhere = "https://ap-southeast-2.aws.viturhosted.net/"
    with DevAuthority("eu-central-1", tmp_path / "authority") as own:
        site = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=own.env, directory=tmp_path)
        site.prepare(partitions=1)
        schema_id = produce(site, 1, 50)
        settings = site.load(schema_id, changes="[keys]\nmax_age_s = 0\n")
        with Worker(settings, site.environ) as worker, Running(worker) as running:
            until(lambda: len(site.rows()) == 50, "the first records arrive")
            own.authority.tokens.base_url = elsewhere
            for seed in range(2, 40):
                produce(site, seed, 5)
                if running.error is not None:
                    break
            error = running.ended()

    assert isinstance(error, RegionViolation)
    assert "ap-southeast-2" in str(error)
    assert "eu-central-1" in str(error)


def with_key(site: Deployment, key: Ed25519PrivateKey) -> Settings:
    """Return the settings with the database's pinned key."""
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    path = site.settings(1)
    table = 'kind = "postgres", '
    path.write_text(path.read_text().replace(table, f'{table}residency_key = "{public}", '))
    return config.load(path, environ={})


def sign(dsn: str, key: Ed25519PrivateKey, *, region: str = "eu-central-1") -> None:
    """Sign a database's declaration as docs/sinks.md tells an administrator to."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute("SELECT system_identifier, current_database() FROM pg_control_system()").fetchone()
        assert row is not None
        signature = base64.b64encode(key.sign(signed_text(region, str(row[0]), str(row[1])))).decode()
        connection.execute("UPDATE worker.residency SET signature = %s", [signature])


def test_a_signed_database(site: Deployment) -> None:
    """A declaration signed for its very server counts as authenticated; unsigned it counts for less."""
    key = Ed25519PrivateKey.generate()
    sign(site.dsn, key)

    with Worker(with_key(site, key), site.environ) as worker:
        signed = {f.name: f.verdict for f in verify(worker.graph, create=True)}
    with Worker(site.load(1), site.environ) as worker:
        unsigned = {f.name: f.verdict for f in verify(worker.graph)}

    assert (signed["table: database"], unsigned["table: database"]) == ("ok", "unauthenticated")


@pytest.mark.parametrize("fault", ["unsigned", "another key", "copied"])
def test_a_signature_that_does_not_hold(site: Deployment, new_database: DatabaseFactory, fault: str) -> None:
    """A declaration without signature, of another key, or copied from another database stops the worker."""
    key = Ed25519PrivateKey.generate()
    if fault == "another key":
        sign(site.dsn, Ed25519PrivateKey.generate())
    if fault == "copied":
        other = new_database(region="eu-central-1")
        sign(other, key)
        with psycopg.connect(other) as there, psycopg.connect(site.dsn) as here:
            copied = there.execute("SELECT signature FROM worker.residency").fetchone()
            here.execute("UPDATE worker.residency SET signature = %s", copied)

    with (
        Worker(with_key(site, key), site.environ) as worker,
        pytest.raises(RegionViolation, match=r"(?s)expected region 'eu-central-1' signed.*found a declaration"),
    ):
        worker.run(RunOptions(until_end=True))


@pytest.mark.heavy
def test_another_server_behind_the_database_address(
    kafka: Kafka, postgres: str, authority: dict[str, str], tmp_path: Path
) -> None:
    """A server that takes over the address with a copy of the declaration stops the worker at the reconnect."""
    key = Ed25519PrivateKey.generate()
    dsn = create_database(postgres, region="eu-central-1")
    place, name = urlsplit(dsn), urlsplit(dsn).path.removeprefix("/")
    with LocalPostgres() as second, Proxy(place.port or 5432) as proxy:
        through = dsn.replace(f"{place.hostname}:{place.port}", proxy.address)
        site = Deployment(kafka=kafka, dsn=through, authority=authority, directory=tmp_path)
        site.prepare(partitions=1)
        sign(dsn, key)
        twin = second.create_database(name, region="eu-central-1")
        replace(site, dsn=twin).prepare_table()
        with psycopg.connect(twin, autocommit=True) as there, psycopg.connect(dsn) as here:
            there.execute(f"ALTER ROLE admin PASSWORD '{place.password}'")
            there.execute(
                "UPDATE worker.residency SET signature = %s",
                here.execute("SELECT signature FROM worker.residency").fetchone(),
            )
        produce(site, 1, 50)
        with Worker(with_key(site, key), site.environ) as worker, Running(worker) as running:
            until(lambda: len(site.rows()) == 50, "the first records arrive")
            proxy.lead_to(urlsplit(twin).port or 5432)
            proxy.cut()
            produce(site, 2, 50)
            error = running.ended()
        there_now = replace(site, dsn=twin.replace(urlsplit(twin).password or "", place.password or "")).rows()

    assert isinstance(error, RegionViolation)
    assert "another server" in str(error)
    assert there_now == []


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["topic", "table"])
def test_another_cluster_behind_the_address(
    new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path, kind: str
) -> None:
    """A cluster that takes over the address in mid-run, topics and all, stops the worker before one record of it."""
    with LocalKafka() as first:
        kafka = Kafka(first.bootstrap, first.cluster_id, dict(first.properties))
        site = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
        site.prepare(partitions=1)
        schema_id = produce(site, 1, 50)
        settings = site.load(schema_id)
        alone = settings.model_copy(update={"routes": [r for r in settings.routes if r.name == kind]})

        def written(at: Deployment) -> int:
            return len(at.rows()) if kind == "table" else len(at.read(at.sink))

        with Worker(alone, site.environ) as worker, Running(worker) as running:
            until(lambda: written(site) == 50, "the first records arrive")
            first.kill()
            with LocalKafka(port=int(first.bootstrap.rpartition(":")[2])) as second:
                other = replace(site, kafka=Kafka(second.bootstrap, second.cluster_id))
                for topic in (site.source, site.sink, site.dead):
                    second.create_topic(topic)
                produce(other, 2, 100)
                error = running.ended()
                # The table is the same one and holds what the first cluster gave; the second one's topic is empty.
                found = written(other) - (50 if kind == "table" else 0)

    assert isinstance(error, RegionViolation)
    assert first.cluster_id in str(error)
    assert second.cluster_id in str(error)
    assert found == 0
