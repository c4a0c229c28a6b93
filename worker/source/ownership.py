"""Partitions that no member of a group owns, where its members are static."""

from __future__ import annotations

import time
from collections.abc import Callable

from worker.kafka.groups import Group
from worker.model import TopicPartition
from worker.source.looks import AGAIN_S, DOUBLINGS, Looks

# One leaves, and the next sees what came of it.
_APART_S = 5.0
_NONE: frozenset[TopicPartition] = frozenset()


class Ownership(Looks):
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

    event = "partitions_unowned"

    def __init__(self, instance: str, patience_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._instance, self._patience_s = instance, patience_s
        self._exist, self._share = _NONE, _NONE
        self._moved_at = clock()
        self._unowned_since: float | None = None

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

    def late(self) -> None:
        """Take that an answer was dropped: a member of a classic group asks again."""

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
        if now - self._unowned_since < AGAIN_S + before * _APART_S:
            self.look_at = now + AGAIN_S
            return False
        self._attempts += 1
        self._begin()
        return True

    def _begin(self) -> None:
        self._moved_at = self._clock()
        self._unowned_since, self._pause_s = None, AGAIN_S
        self.look_at = self._moved_at + self._patience_s * 2 ** min(self._attempts, DOUBLINGS)
