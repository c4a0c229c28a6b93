"""What `worker check` tells an operator without refusing to start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from worker.app import Worker
from worker.checks.start import verify
from worker.config import load

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]
ROOM = {"max.message.bytes": str(2 << 20)}


@pytest.mark.parametrize(
    ("config", "warning"),
    [
        ({**ROOM, "message.timestamp.type": "LogAppendTime"}, "replaces the records' timestamps"),
        ({**ROOM, "retention.ms": "60000"}, "older records vanish on arrival"),
        ({}, "a record near the limit outgrows it"),
    ],
)
def test_a_sink_topic_that_changes_or_loses_records_is_warned_of(
    kafka: Kafka,
    new_database: DatabaseFactory,
    authority: dict[str, str],
    tmp_path: Path,
    config: Mapping[str, str],
    warning: str,
) -> None:
    """Rewritten timestamps, copied ones older than the retention, and no room to grow: told, and the worker starts."""
    site = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
    kafka.create_topic(site.source)
    kafka.create_topic(site.sink, config=config)
    kafka.create_topic(site.dead, config=ROOM)

    with Worker(site.load(1), site.environ) as worker:
        findings = verify(worker.graph, create=True)

    assert [f for f in findings if f.is_broken] == []
    (told,) = [f for f in findings if f.verdict == "warning" and "canary" not in f.name]
    assert told.name == "topic: sink topic"
    assert warning in told.found


def test_a_column_of_no_field_is_warned_of(
    kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path
) -> None:
    """With a slip in its name the field that is meant is stored as if nothing had been said."""
    site = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
    for topic in (site.source, site.sink, site.dead):
        kafka.create_topic(topic, config=ROOM)
    path = site.settings(1)
    given = path.read_text().replace(
        'table = "crm.customers"', 'table = "crm.customers", columns = { emial = "eql", email = "eql" }'
    )
    path.write_text(given)

    with Worker(load(path, environ={}), site.environ) as worker:
        findings = verify(worker.graph, create=True)

    (told,) = [f for f in findings if f.name == "table: columns"]
    assert (told.verdict, "columns names emial, which no schema" in told.found) == ("warning", True)
