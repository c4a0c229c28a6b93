"""Partitions that no member of a group owns, where its members are static."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from worker.errors import SourceUnavailable
from worker.kafka.groups import Group, described
from worker.kafka.kafka_python import require
from worker.kafka.properties import Property
from worker.model import TopicPartition
from worker.source.options import SourceOptions
from worker.source.properties import GroupMember

_log = structlog.get_logger(__name__)
# Beyond the time in which every member's client asks for its topics: joining takes a heartbeat or two.
_JOIN_S = 2.0
_AGAIN_S, _LONGEST_S = 2.0, 10.0
# One leaves, and the next sees what came of it.
_APART_S = 5.0
_DOUBLINGS = 6
# About a minute: a broker that is away for less is told of by who reads.
_SILENT = 8
_NONE: frozenset[TopicPartition] = frozenset()


class Ownership:
    """
    Tells when a static member must leave its group and join again, so that the group shares its partitions anew.

    Brokers hand a static member that starts again its old partitions and ask nobody else (KIP-345). Where one was added
    meanwhile, the group's leader may know of it from its start, which is no change to it, and a follower that sees one
    is handed its old partitions likewise. Somebody's leaving is what makes such a group share.

    Members act in the order of their names. Each attempt in vain doubles a member's patience.

    Args:
        instance: this member's name.
        patience_s: how long a group may take by itself, since this member saw it move or a partition appear.
        clock: seconds, monotonic.
    """

    def __init__(self, instance: str, patience_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._instance, self._patience_s, self._clock = instance, patience_s, clock
        self._exist, self._share = _NONE, _NONE
        self._moved_at = clock()
        self._unowned_since: float | None = None
        self._pause_s, self._attempts = _AGAIN_S, 0
        self.look_at: float | None = None
        """When to ask for the group next; None: each partition has an owner."""

    def exists(self, partitions: frozenset[TopicPartition]) -> bool:
        """Take partitions that there are; returns whether any is new."""
        if partitions <= self._exist:
            return False
        self._exist |= partitions
        self._attempts = 0
        self._begin()
        return True

    def given(self, share: frozenset[TopicPartition]) -> None:
        """Take what this member owns from now on."""
        self._share = share
        self._begin()

    def unanswered(self) -> None:
        """Ask again, ever less often."""
        self.look_at = self._clock() + self._pause_s
        self._pause_s = min(_LONGEST_S, 2 * self._pause_s)

    def judge(self, group: Group, asked_at: float) -> frozenset[TopicPartition]:
        """Return the partitions without an owner for whose sake this member must leave now, mostly none."""
        if asked_at < self._moved_at:
            return _NONE
        # A coordinator of before, or a group that moves, says something else of this member than the member knows.
        shares = {member.instance: member.partitions for member in group.members if member.instance}
        if not group.is_stable or shares.get(self._instance) != self._share:
            self._unowned_since = None
            self.unanswered()
            return _NONE
        unowned = self._exist.difference(*(member.partitions for member in group.members))
        if not unowned:
            self.look_at, self._attempts = None, 0
            return _NONE
        return unowned if self._is_due(sorted(shares).index(self._instance)) else _NONE

    def _is_due(self, before: int) -> bool:
        now = self._clock()
        if self._unowned_since is None:
            self._unowned_since = now
        if now - self._unowned_since < _AGAIN_S + before * _APART_S:
            self.look_at = now + _AGAIN_S
            return False
        self._attempts += 1
        self._begin()
        return True

    def _begin(self) -> None:
        self._moved_at = self._clock()
        self._unowned_since, self._pause_s = None, _AGAIN_S
        self.look_at = self._moved_at + self._patience_s * 2 ** min(self._attempts, _DOUBLINGS)


class GroupWatch:
    """
    Looks at a group, on a thread of its own, until it has an owner for every partition; then sleeps until it moves.

    Args:
        ask: returns the group, within a bounded time; raises `SourceUnavailable`.
        ownership: judges it.
    """

    def __init__(self, ask: Callable[[], Group], ownership: Ownership) -> None:
        self._ask, self._ownership = ask, ownership
        self._changed = threading.Condition()
        self._closed = False
        self._unowned = _NONE

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._run, name="group-watch", daemon=True).start()

    def exists(self, partitions: frozenset[TopicPartition]) -> None:
        """Take partitions that there are; safe from any thread."""
        with self._changed:
            if self._ownership.exists(partitions):
                self._changed.notify()

    def given(self, share: frozenset[TopicPartition]) -> None:
        """Take what this member owns from now on; safe from any thread."""
        with self._changed:
            self._unowned = _NONE
            self._ownership.given(share)
            self._changed.notify()

    def must_leave(self) -> bool:
        """Return, once each time, that this member must leave and join again; safe from any thread."""
        if not self._unowned:
            return False
        with self._changed:
            unowned, self._unowned = self._unowned, _NONE
        if unowned:
            _log.warning("partitions_unowned", partitions=sorted(str(p) for p in unowned))
        return bool(unowned)

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
                    self._ownership.unanswered()
                continue
            failures = 0
            with self._changed:
                self._unowned = self._ownership.judge(group, asked_at)

    def _await_turn(self) -> bool:
        """Wait until it is time to look; returns whether this goes on."""
        with self._changed:
            while not self._closed:
                at = self._ownership.look_at
                if at is not None and at <= time.monotonic():
                    return True
                self._changed.wait(None if at is None else at - time.monotonic())
        return False


def group_watch(
    options: SourceOptions,
    member: GroupMember,
    connection: Mapping[str, Property],
    consumer: Mapping[str, Property],
) -> GroupWatch | None:
    """
    Return the watch of a group that can leave a partition without an owner; its broker shares a `consumer` group.

    Raises:
        ConfigError: kafka-python, by which it looks, is not installed.
    """
    if not options.static_membership or options.protocol == "consumer":
        return None
    require("static_membership")
    refresh_s = int(str(consumer["topic.metadata.refresh.interval.ms"])) / 1000
    ask = partial(described, connection, member.group)
    return GroupWatch(ask, Ownership(member.instance, max(0.0, refresh_s) + _JOIN_S))
