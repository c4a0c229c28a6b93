"""Members that keep their names in the group through a restart."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer

from tests.components import Kafka
from tests.conftest import TopicFactory
from tests.integration.test_delivery_holes import until
from tests.integration.test_delivery_kafka import Member, produce, read_all
from worker.errors import SourceUnavailable
from worker.kafka.groups import Member as Told
from worker.kafka.groups import described
from worker.kafka.properties import connection_properties
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
    kafka.add_partitions(source, 3)
    members, total = started(), 0

    def is_read() -> bool:
        nonlocal total
        produce(kafka, source, range(total, total + 300), partitions=3)
        total += 300
        return any(TopicPartition(source, 2) in member.runner.progress().spans for member in members)

    until(is_read, timeout_s=40)
    found = read_all(kafka, sink, lambda ids: len(ids) >= total)
    for member in members:
        member.stop()

    assert [member.error for member in members] == [None, None]
    assert sorted(i for _, i in found) == list(range(total))


def test_a_group_is_told_as_its_coordinator_has_it(kafka: Kafka, topic: TopicFactory) -> None:
    """A dead static member counts until its session ends; a group that nobody has made is refused."""
    source = topic(partitions=3)
    connection = connection_properties(kafka.bootstrap, kafka.properties)
    settings = {**kafka.client, "group.id": f"told-{source}", "session.timeout.ms": 60_000}
    members = [Consumer({**settings, "group.instance.id": f"w{n}"}) for n in range(2)]
    for member in members:
        member.subscribe([source])

    def polled() -> list[int]:
        for member in members:
            member.poll(0.05)
        return sorted(len(member.assignment()) for member in members)

    until(lambda: polled() == [1, 2])
    shares = {
        f"w{n}": frozenset(TopicPartition(p.topic, p.partition) for p in member.assignment())
        for n, member in enumerate(members)
    }
    members[0].close()

    told = described(connection, f"told-{source}")
    members[1].close()

    assert told.is_stable
    assert sorted(told.members, key=lambda member: member.instance) == [Told(*each) for each in shares.items()]
    with pytest.raises(SourceUnavailable, match=f"group nobody-{source} is not described"):
        described(connection, f"nobody-{source}")
