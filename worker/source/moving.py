"""A group's stored offsets, looked at and moved from outside of the group, while nobody is in it."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from worker.errors import ConfigError, SourceUnavailable, WorkerError
from worker.kafka.clients import make_admin, make_consumer
from worker.kafka.properties import Property
from worker.kafka.verdict import error_of, read_error
from worker.model import TopicPartition
from worker.source.base import Found, Search
from worker.source.commits import Commits
from worker.source.identity import TopicIdentities
from worker.source.offsets import Offsets, as_kafka
from worker.source.options import SourceOptions, Start
from worker.source.properties import GroupMember, consumer_properties
from worker.source.tags import Tag

_REQUEST_S, _AGAIN_S = 10.0, 0.1


@dataclass(frozen=True, slots=True)
class Extent:
    """What a partition holds, first to last offset + 1, and where in it something asked for lies."""

    start: int
    end: int
    at: int


class GroupPositions:
    """
    One group's stored offsets, for somebody who is no member.

    The brokers refuse to move them while the group has members, so nothing races with a worker that starts meanwhile.

    Args:
        options: the route's `source`.
        member: the consumer group, and what the client is called.
        connection: what `worker.kafka.properties.connection_properties` returned.
        cluster_id: the pin.
    """

    def __init__(
        self,
        options: SourceOptions,
        member: GroupMember,
        connection: Mapping[str, Property],
        *,
        cluster_id: str,
    ) -> None:
        self._options, self._group = options, member.group
        topics = ", ".join(options.topics)
        self._needs = {"TOPIC": f"Read on topic {topics}", "GROUP": f"Read and Describe on group {member.group}"}
        # Of the group's present kind, whichever that is: a stranger's client speaks to its coordinator alone.
        plain = options.model_copy(update={"assignment": None, "static_membership": False})
        self._consumer = make_consumer(consumer_properties(plain, member, connection, bounded=False))
        self._admin = make_admin(connection, unavailable=SourceUnavailable)
        self._identities = TopicIdentities(connection, options.topics, cluster_id=cluster_id)

    def topic_id(self, topic: str) -> str:
        """Return a topic's id."""
        return self._identities.topic_id(topic)

    def partitions(self) -> frozenset[TopicPartition]:
        """Return all partitions of the topics, once the cluster is known to be the pinned one."""
        self._identities.learn()
        if missing := set(self._options.topics) - {p.topic for p in self._identities.partitions}:
            raise ConfigError(f"there is no topic {', '.join(sorted(missing))}, or this identity may not describe it")
        return self._identities.partitions

    def members(self) -> list[str]:
        """Return who is in the group, as `client at host`; empty where nobody is."""
        try:
            described = self._admin.describe_consumer_groups([self._group], request_timeout=_REQUEST_S)
            found = described[self._group].result()
        except KafkaException as exc:
            raise read_error(error_of(exc), f"describing group {self._group}", needs=self._needs) from exc
        return [f"{member.client_id} at {member.host.lstrip('/')}" for member in found.members]

    def stored(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int | None]:
        """
        Return the stored offsets, None where there is none, or only one of an earlier topic of the same name.

        Raises:
            SourceUnavailable: no answer, or an open transaction may still move one.
        """
        try:
            items = self._consumer.committed(as_kafka(partitions), timeout=_REQUEST_S)
        except KafkaException as exc:
            raise self._error(error_of(exc)) from exc
        found: dict[TopicPartition, int | None] = {}
        for item in items:
            if item.error is not None:
                raise self._error(item.error)
            theirs = Tag.read(item.metadata).is_of_another(self.topic_id(item.topic))
            found[TopicPartition(item.topic, item.partition)] = None if item.offset < 0 or theirs else int(item.offset)
        return found

    def extents(self, partitions: Collection[TopicPartition], to: Start) -> dict[TopicPartition, Extent]:
        """Return what the partitions hold, and where a start lies in each."""
        whole = self._offsets("earliest").find(partitions, stored=False, bounded=True, until_ms=None)
        places = self._offsets(to).find(partitions, stored=False, bounded=False, until_ms=None)
        found = {}
        for partition in partitions:
            log, place = _answer(whole[partition]), _answer(places[partition])
            found[partition] = Extent(log.start, log.start if log.end is None else log.end, place.start)
        return found

    def move(self, offsets: Mapping[TopicPartition, int]) -> None:
        """
        Store offsets, with the topics' ids beside them.

        Raises:
            ConfigError: somebody is in the group.
        """
        stores = Commits(self._consumer, self._offsets("earliest"), self._needs)
        if not stores.commit(offsets):
            raise in_use(self._group, self.members())

    def close(self) -> None:
        """Release the connections."""
        self._consumer.close()

    def _offsets(self, start: Start) -> Offsets:
        options = self._options.model_copy(update={"start": start})
        return Offsets(self._consumer, self._identities, options, self._needs)

    def _error(self, error: KafkaError) -> WorkerError:
        return read_error(error, f"asking for the stored offsets of group {self._group}", needs=self._needs)


def _answer(search: Search) -> Found:
    """Return what was found; a leader that is slow is asked again, for a while."""
    deadline = time.monotonic() + _REQUEST_S
    while True:
        try:
            found = search.answer()
        except SourceUnavailable:
            if time.monotonic() > deadline:
                raise
        else:
            if found is not None:
                return found
        time.sleep(_AGAIN_S)


def in_use(group: str, members: Collection[Any]) -> ConfigError:
    """Return the refusal to move the offsets of a group that somebody is in."""
    who = f": {', '.join(sorted(members))}" if members else ""
    return ConfigError(
        f"group {group} is in use{who}; stop its workers first. One with static_membership is counted for "
        "session_timeout_s beyond its end"
    )
