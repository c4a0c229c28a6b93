"""Who looks at a member's group from beside it, and tells the member to leave it and join again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import structlog

from worker.errors import SourceUnavailable
from worker.kafka.groups import Group, consumer_described, described
from worker.kafka.kafka_python import require
from worker.kafka.properties import Property
from worker.model import TopicPartition
from worker.source.assigned import Assigned
from worker.source.options import SourceOptions
from worker.source.ownership import Ownership
from worker.source.properties import GroupMember

_log = structlog.get_logger(__name__)
# Beyond the time in which every member's client asks for its topics: joining takes a heartbeat or two.
_JOIN_S = 2.0
# About a minute: a broker that is away for less is told of by who reads.
_SILENT = 8
_NONE: frozenset[TopicPartition] = frozenset()


class Judge(Protocol):
    """Compares a group, as its coordinator has it, with what this member knows."""

    event: str
    """What the log says where the member must leave."""
    look_at: float | None
    """When to ask for the group next; None: not before something moves."""

    def exists(self, partitions: frozenset[TopicPartition]) -> bool:
        """Take partitions that there are; returns whether any is new."""

    def given(self, share: frozenset[TopicPartition]) -> None:
        """Take what this member owns from now on."""

    def late(self) -> None:
        """Take that an answer was dropped."""

    def unanswered(self) -> None:
        """Take that the group could not be asked for."""

    def judge(self, group: Group, asked_at: float) -> frozenset[TopicPartition]:
        """Return the partitions for whose sake this member must leave now, mostly none."""


class GroupWatch:
    """
    Looks at a group, on a thread of its own, until its judge has seen enough; then sleeps until something moves.

    Args:
        ask: returns the group, within a bounded time; raises `SourceUnavailable`.
        judge: says when to look, and what of it.
    """

    def __init__(self, ask: Callable[[], Group], judge: Judge) -> None:
        self._ask, self._judge = ask, judge
        self._changed = threading.Condition()
        self._closed = False
        self._concerned = _NONE

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._run, name="group-watch", daemon=True).start()

    def exists(self, partitions: frozenset[TopicPartition]) -> None:
        """Take partitions that there are; safe from any thread."""
        with self._changed:
            if self._judge.exists(partitions):
                self._changed.notify()

    def given(self, share: frozenset[TopicPartition]) -> None:
        """Take what this member owns from now on; safe from any thread."""
        with self._changed:
            self._concerned = _NONE
            self._judge.given(share)
            self._changed.notify()

    def late(self) -> None:
        """Take that the client had no answer in time; safe from any thread."""
        with self._changed:
            self._judge.late()
            self._changed.notify()

    def must_leave(self) -> bool:
        """Return, once each time, that this member must leave and join again; safe from any thread."""
        if not self._concerned:
            return False
        with self._changed:
            concerned, self._concerned = self._concerned, _NONE
        if concerned:
            _log.warning(self._judge.event, partitions=sorted(str(p) for p in concerned))
        return bool(concerned)

    def close(self) -> None:
        """Look no more; waits for no answer."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        failures = 0
        while self._await_turn():
            asked_at = time.monotonic()
            try:
                group = self._ask()
            except SourceUnavailable as exc:
                failures += 1
                if failures == _SILENT:
                    _log.warning("group_unwatched", error=str(exc))
                with self._changed:
                    self._judge.unanswered()
                continue
            failures = 0
            with self._changed:
                self._concerned = self._judge.judge(group, asked_at)

    def _await_turn(self) -> bool:
        """Wait until it is time to look; returns whether this goes on."""
        with self._changed:
            while not self._closed:
                at = self._judge.look_at
                if at is not None and at <= time.monotonic():
                    return True
                self._changed.wait(None if at is None else at - time.monotonic())
        return False


def group_watch(
    options: SourceOptions,
    member: GroupMember,
    connection: Mapping[str, Property],
    consumer: Mapping[str, Property],
    *,
    bounded: bool,
) -> GroupWatch | None:
    """
    Return the watch of a group that may leave a partition without an owner, or a member without its assignment.

    Args:
        options: the route's `source`.
        member: of which group, under which name.
        connection: what `worker.kafka.properties.connection_properties` returned.
        consumer: what `consumer_properties` returned.
        bounded: whether the run has an end.

    Raises:
        ConfigError: kafka-python, by which it looks, is not installed.
    """
    if options.protocol == "consumer":
        require('assignment = "consumer"')
        return GroupWatch(partial(consumer_described, connection, member.group), Assigned(str(consumer["client.id"])))
    if not options.static_membership or bounded:
        return None
    require("static_membership")
    refresh_s = int(str(consumer["topic.metadata.refresh.interval.ms"])) / 1000
    ask = partial(described, connection, member.group)
    return GroupWatch(ask, Ownership(member.instance, max(0.0, refresh_s) + _JOIN_S))
