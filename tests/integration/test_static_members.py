"""Members that keep their names in the group through a restart."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]

from tests.components import Kafka
from tests.conftest import TopicFactory
from tests.integration.test_delivery_holes import until
from tests.integration.test_delivery_kafka import Member, produce, read_all
from worker.model import TopicPartition

pytestmark = pytest.mark.integration


def test_a_partition_that_is_added_while_static_members_restart_is_read(kafka: Kafka, topic: TopicFactory) -> None:
    """
    The brokers hand each its old partition, and to none of them is the third one a change.

    The others are read and delivered meanwhile: what they had under way when one leaves to mend it comes once.
    """
    source, sink = topic(partitions=2), topic(partitions=4)

    def started() -> list[Member]:
        properties = {"topic.metadata.refresh.interval.ms": 500}
        settings: dict[str, object] = {"static_membership": True, "properties": properties}
        members = [Member(kafka, source, sink, instance=f"w{n}", **settings).start() for n in range(2)]
        until(lambda: all(member.health.assigned == 1 for member in members))
        return members

    for member in started():
        member.stop()
    admin = AdminClient(kafka.client)
    admin.create_partitions([NewPartitions(source, 3)])[source].result(20)
    members, total = started(), 0

    def is_read() -> bool:
        nonlocal total
        produce(kafka, source, range(total, total + 300), partitions=3)
        total += 300
        return any(TopicPartition(source, 2) in member.runner.progress().spans for member in members)

    until(is_read, timeout_s=8)
    found = read_all(kafka, sink, lambda ids: len(ids) >= total)
    for member in members:
        member.stop()

    assert [member.error for member in members] == [None, None]
    assert sorted(i for _, i in found) == list(range(total))
