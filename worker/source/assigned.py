"""What its group has assigned to a member, where the member never heard of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from worker.kafka.groups import Group
from worker.model import TopicPartition
from worker.source.looks import AGAIN_S, DOUBLINGS, Looks

_SOON_S = 1.0
# What a coordinator wants it tells with the next heartbeat, which comes within 5 s by default.
_HEARD_S = 6.0
# A coordinator that answers late may also have begun late.
_SETTLED_S = 10.0
_NONE: frozenset[TopicPartition] = frozenset()


class Assigned(Looks):
    """
    Tells when a member of a `consumer` group must leave and join again, since it does not know what it was assigned.

    librdkafka (2.16) drops a heartbeat's answer that comes later than the group's heartbeat interval, and does not ask
    for its assignment in the heartbeats after it (KIP-848: a member should, after any error). The coordinator takes it
    for told: it says it no more, and what the member should read or give up stands still. Joining is being told anew.

    So the group is looked at after each request without an answer, until it has agreed with this member for a while.
    Each attempt in vain doubles a member's patience.

    Args:
        client: this member's client id.
        clock: seconds, monotonic.
    """

    event = "assignment_unheard"

    def __init__(self, client: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._client = client
        self._share = _NONE
        self._moved_at = self._settled_at = clock()
        self._apart_since: float | None = None

    def exists(self, partitions: frozenset[TopicPartition]) -> bool:
        """Take partitions that there are: here the coordinator knows them."""
        return False

    def given(self, share: frozenset[TopicPartition]) -> None:
        """Take what this member owns from now on."""
        self._share, self._moved_at = share, self._clock()
        self._apart_since = None

    def late(self) -> None:
        """Take that an answer was dropped."""
        now = self._clock()
        self._settled_at = now + _SETTLED_S
        self._pause_s = AGAIN_S
        if self.look_at is None or self.look_at > now + _SOON_S:
            self.look_at = now + _SOON_S

    def judge(self, group: Group, asked_at: float) -> frozenset[TopicPartition]:
        """Return the partitions that this member must leave for, given or taken unheard, mostly none."""
        now = self._clock()
        self._pause_s, self.look_at = AGAIN_S, now + AGAIN_S
        if asked_at < self._moved_at:
            return _NONE
        # One that died under this name is still a member until its session ends.
        assigned = [member.partitions for member in group.members if member.client == self._client]
        if not assigned or self._share in assigned:
            self._apart_since = None
            if now >= self._settled_at:
                self.look_at, self._attempts = None, 0
            return _NONE
        if self._apart_since is None:
            self._apart_since = now
        if now - self._apart_since < _HEARD_S * 2**self._attempts:
            return _NONE
        self._attempts = min(DOUBLINGS, self._attempts + 1)
        self._apart_since, self._settled_at = None, now + _SETTLED_S
        return frozenset().union(*(each ^ self._share for each in assigned))
