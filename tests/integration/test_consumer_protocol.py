"""Members of a `consumer` group (KIP-848) whose coordinator answers late."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from tests.components import Kafka
from tests.conftest import TopicFactory
from tests.coordinator_proxy import CoordinatorProxy
from tests.integration.test_delivery_holes import until
from tests.integration.test_delivery_kafka import Member, produce, read_all
from worker.errors import SourceUnavailable
from worker.kafka.groups import Member as Told
from worker.kafka.groups import consumer_described
from worker.kafka.properties import connection_properties
from worker.local import LocalKafka
from worker.model import TopicPartition

pytestmark = pytest.mark.integration
_HEARTBEAT_S = 1


@contextmanager
def slow(kafka: Kafka) -> Iterator[tuple[CoordinatorProxy, Kafka]]:
    """Give the same broker as who answers late tells it, and what makes it late."""
    with CoordinatorProxy(int(kafka.bootstrap.rpartition(":")[2])) as proxy:
        yield proxy, Kafka(proxy.address, kafka.cluster_id)


@pytest.fixture(scope="module")
def quick() -> Iterator[Kafka]:
    """A broker whose members are asked for a heartbeat each second."""
    interval = {f"group.consumer.{which}heartbeat.interval.ms": f"{_HEARTBEAT_S * 1000}" for which in ("", "min.")}
    with LocalKafka(overrides=interval) as local:
        yield Kafka(local.bootstrap, local.cluster_id)


def test_what_a_member_is_to_give_up_is_heard_of(quick: Kafka) -> None:
    """The client drops the answer that tells it, and the coordinator tells it no more."""
    source, sink = quick.create_topic(partitions=4), quick.create_topic(partitions=4)
    produce(quick, source, range(1000))
    with slow(quick) as (proxy, through), capture_logs() as logs:
        first = Member(through, source, sink, instance="w0", assignment="consumer").start()
        until(lambda: first.health.assigned == 4)
        proxy.hold_s = 3 * _HEARTBEAT_S
        second = Member(quick, source, sink, instance="w1", assignment="consumer").start()
        until(lambda: proxy.held > 0)
        proxy.hold_s = 0
        until(lambda: (first.health.assigned, second.health.assigned) == (2, 2))
        produce(quick, source, range(1000, 2000))
        found = read_all(quick, sink, lambda ids: len(ids) >= 2000)
        first.stop()
        second.stop()

    assert (first.error, second.error) == (None, None)
    assert sorted(i for _, i in found) == list(range(2000))
    assert [e["event"] for e in logs].count("assignment_unheard") == 1


def test_what_a_member_is_to_take_is_heard_of(quick: Kafka) -> None:
    """The same where another leaves."""
    source, sink = quick.create_topic(partitions=4), quick.create_topic(partitions=4)
    produce(quick, source, range(1000))
    with slow(quick) as (proxy, through):
        first = Member(through, source, sink, instance="w0", assignment="consumer").start()
        second = Member(quick, source, sink, instance="w1", assignment="consumer").start()
        until(lambda: (first.health.assigned, second.health.assigned) == (2, 2))
        proxy.hold_s = 3 * _HEARTBEAT_S
        second.stop()
        until(lambda: proxy.held > 0)
        proxy.hold_s = 0
        until(lambda: first.health.assigned == 4)
        produce(quick, source, range(1000, 2000))
        found = read_all(quick, sink, lambda ids: len(ids) >= 2000)
        first.stop()

    assert (first.error, second.error) == (None, None)
    assert sorted(i for _, i in found) == list(range(2000))


def test_a_group_is_told_as_its_coordinator_has_it(kafka: Kafka, topic: TopicFactory) -> None:
    """Members by their client's id; a group that nobody has made is refused."""
    source = topic(partitions=4)
    connection = connection_properties(kafka.bootstrap, kafka.properties)
    member = Member(kafka, source, topic(partitions=4), instance="w7", assignment="consumer").start()
    until(lambda: member.health.assigned == 4)

    def told() -> list[tuple[str, Told]]:
        return [(each.client, each) for each in consumer_described(connection, f"group-{source}").members]

    whole = frozenset(TopicPartition(source, n) for n in range(4))
    until(lambda: told() == [("worker-w7", Told("", whole))])
    member.stop()

    with pytest.raises(SourceUnavailable, match=f"group nobody-{source} is not described"):
        consumer_described(connection, f"nobody-{source}")
