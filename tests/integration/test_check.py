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
