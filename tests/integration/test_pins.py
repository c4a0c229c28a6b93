"""Each pin, broken once on real components, stops the worker with a message that names both sides."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from worker import config
from worker.app import Worker
from worker.errors import RegionViolation
from worker.routes import RunOptions

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def site(kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> Deployment:
    site = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
    site.prepare(partitions=1)
    return site


def test_everything_matches(site: Deployment) -> None:
    """With all pins right nothing is broken, and a plain-text cluster counts as unauthenticated."""
    with Worker(site.load(1), site.environ) as worker:
        findings = {finding.name: finding for finding in worker.check(create=True)}

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
