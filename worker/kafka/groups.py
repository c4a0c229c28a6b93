"""A consumer group as its coordinator has it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.errors import SourceUnavailable
from worker.kafka.kafka_python import admin_client
from worker.kafka.properties import Property
from worker.model import TopicPartition


@dataclass(frozen=True, slots=True)
class Member:
    """
    One member.

    Args:
        instance: a static member's name, empty for others.
        partitions: its share.
        client: its client's id.
    """

    instance: str
    partitions: frozenset[TopicPartition]
    client: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Group:
    """
    What a coordinator says of a group.

    Args:
        is_stable: whether it has been shared, and no member has asked to share it anew.
        members: all that it counts, those included that died and whose session has not ended.
    """

    is_stable: bool
    members: Sequence[Member]


def described(connection: Mapping[str, Property], group: str) -> Group:
    """
    Ask a group's coordinator, as the brokers name it now, for the group; waits for several requests' timeouts at most.

    Not by librdkafka (2.16): where the coordinator dies under `describe_consumer_groups`, it aborts the process
    (`rd_kafka_enq_once_del_source_return: Assertion 'eonce->refcnt > 0' failed`).

    Args:
        connection: what `worker.kafka.properties.connection_properties` returned.
        group: a group of the classic protocol.

    Raises:
        SourceUnavailable: kafka-python has no equal for a property, or no broker says what can be read of this group.
    """
    return _asked(connection, group, lambda client: _read(client.describe_groups([group])[group]))


def consumer_described(connection: Mapping[str, Property], group: str) -> Group:
    """
    Ask as `described` does for a group of the `consumer` protocol (KIP-848), which that request does not show.

    A member's share is what the coordinator lets it have and wants it to keep: the member may not know of it yet.
    """
    return _asked(connection, group, lambda client: _read_consumers(client._manager.run(_describe, client, group)))


def _asked(connection: Mapping[str, Property], group: str, ask: Callable[[Any], Group]) -> Group:
    try:
        with contextlib.closing(admin_client(connection)) as client:
            return ask(client)
    except SourceUnavailable as exc:
        raise SourceUnavailable(f"group {group} is not described: {exc}") from None
    except Exception as exc:
        # An answer may be anything, and is read by the library and here.
        raise SourceUnavailable(f"group {group} is not described: {type(exc).__name__}") from None


async def _describe(client: Any, group: str) -> Any:
    from worker.kafka.schemas import ConsumerGroupDescribeRequest  # kafka-python may be missing

    coordinators = await client._find_coordinator_ids([group])
    request = ConsumerGroupDescribeRequest(group_ids=[group], include_authorized_operations=False)
    return (await client._manager.send(request, node_id=coordinators[group])).groups[0]


def _read_consumers(told: Any) -> Group:
    if told.error_code:
        raise SourceUnavailable(told.error_message or f"error {told.error_code}")
    members = []
    for each in told.members:
        # What it is to give up stays in its assignment until it has; what others have not given up is only a target.
        partitions = _assigned(each.assignment) & _assigned(each.target_assignment)
        members.append(Member(each.instance_id or "", partitions, each.client_id))
    return Group(told.group_state == "Stable", members)


def _assigned(told: Any) -> frozenset[TopicPartition]:
    return frozenset(TopicPartition(topic.topic_name, n) for topic in told.topic_partitions for n in topic.partitions)


def _read(told: Mapping[str, Any]) -> Group:
    if told["error"] is not None:
        raise SourceUnavailable(str(told["error"]))
    return Group(told["group_state"] == "Stable", [_member(each) for each in told["members"]])


def _member(told: Mapping[str, Any]) -> Member:
    # Before it has been given anything a member has no share, not an empty one.
    share = (told["member_assignment"] or {}).get("assigned_partitions", ())
    partitions = frozenset(TopicPartition(each["topic"], n) for each in share for n in each["partitions"])
    return Member(str(told.get("group_instance_id") or ""), partitions, str(told["client_id"]))
