"""Partitions that no member of a group owns, where its members are static."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import structlog
from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import ConsumerGroupDescription  # type: ignore[attr-defined]

from worker.errors import SourceUnavailable
from worker.kafka.administration import administration, settle
from worker.kafka.properties import Property
from worker.model import TopicPartition
from worker.source.options import SourceOptions
from worker.source.properties import GroupMember

_log = structlog.get_logger(__name__)
_REQUEST_S = 5.0
# A client asks for its topics every `topic.metadata.refresh.interval.ms`: by then every member's has, and its group has
# had the time to share what it found.
_ROUNDS, _LEAST_S = 1.5, 1.0
_NONE: frozenset[TopicPartition] = frozenset()


class Ownership:
    """
    Tells when a static member must leave its group and join again, so that the group shares its partitions anew.

    Brokers hand a static member that starts again its old partitions and ask nobody else. Where one was added
    meanwhile, the group's leader may know of it from its start, which is no change to it, and a follower that sees one
    is handed its old partitions likewise. Somebody's leaving is what makes such a group share.

    Members wait in the order of their names, so that one leaves and the others see what came of it; each attempt in
    vain doubles a member's wait.

    Args:
        instance: this member's name.
        patience_s: how long the group may take by itself.
        clock: seconds, monotonic.
    """

    def __init__(self, instance: str, patience_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._instance, self._patience_s, self._clock = instance, patience_s, clock
        self._wait_s = patience_s
        self._owned = _NONE
        self._since: float | None = None

    def is_known(self, partitions: frozenset[TopicPartition]) -> bool:
        """Whether each of these has been seen with an owner; an owner's share goes to another one, never to nobody."""
        return partitions <= self._owned

    def moved(self) -> None:
        """The group has given partitions: what was seen before that counts no more."""
        self._since = None

    def judge(
        self, partitions: frozenset[TopicPartition], group: ConsumerGroupDescription
    ) -> frozenset[TopicPartition]:
        """Return the partitions without an owner for whose sake this member must leave now, mostly none."""
        names = sorted(member.group_instance_id for member in group.members if member.group_instance_id)
        if group.state is not ConsumerGroupState.STABLE or self._instance not in names:
            self._since = None
            return _NONE
        unowned = partitions - {
            TopicPartition(p.topic, p.partition) for member in group.members for p in member.assignment.topic_partitions
        }
        if not unowned:
            self._owned, self._since, self._wait_s = partitions, None, self._patience_s
            return _NONE
        now = self._clock()
        if self._since is None:
            self._since = now
        if now - self._since < self._wait_s * (1 + names.index(self._instance)):
            return _NONE
        self._since = None
        self._wait_s *= 2
        return unowned


class GroupWatch:
    """
    Looks at a group until it has an owner for every partition; never waits.

    Args:
        connection: how to reach the cluster.
        member: whose group, and whose turn.
        refresh_s: how often its client asks for its topics.
    """

    def __init__(self, connection: Mapping[str, Property], member: GroupMember, *, refresh_s: float) -> None:
        self._held = administration(connection, unavailable=SourceUnavailable)
        self._group = member.group
        self._ownership = Ownership(member.instance, max(_LEAST_S, _ROUNDS * refresh_s))
        self._asked: Future[Any] | None = None
        self._given = 0

    def turn(self, partitions: frozenset[TopicPartition], *, given: int) -> bool:
        """
        Take the answer to the last call's question, and ask anew while an owner is missing.

        Args:
            partitions: which must have one.
            given: how often the group has given this member its partitions.

        Returns:
            Whether this member must leave and join again.
        """
        if self._asked is not None and not self._asked.done():
            return False
        asked, self._asked = self._asked, None
        if given != self._given:
            self._given = given
            self._ownership.moved()
        elif asked is not None and asked.exception() is None:
            unowned = self._ownership.judge(partitions, asked.result())
            if unowned:
                _log.warning("partitions_unowned", partitions=sorted(str(p) for p in unowned))
                return True
        if not self._ownership.is_known(partitions):
            self._ask()
        return False

    def close(self) -> None:
        """Let no answer come after the client is gone."""
        if self._asked is not None:
            settle(self._held.client, [self._asked], _REQUEST_S)

    def _ask(self) -> None:
        try:
            asked = self._held.client.describe_consumer_groups([self._group], request_timeout=_REQUEST_S)
        except KafkaException:
            return
        self._asked = asked[self._group]


def group_watch(
    options: SourceOptions, member: GroupMember, connection: Mapping[str, Property], consumer: Mapping[str, Any]
) -> GroupWatch | None:
    """Return the watch of a group that can leave a partition without an owner; its broker shares a `consumer` group."""
    if not options.static_membership or options.protocol == "consumer":
        return None
    return GroupWatch(connection, member, refresh_s=int(str(consumer["topic.metadata.refresh.interval.ms"])) / 1000)
