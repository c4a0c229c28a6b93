"""What the group is told of positions: as the truth where it keeps them, as a report where the sink does."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

import structlog

from worker import failpoints
from worker.errors import TransientError
from worker.model import TopicPartition
from worker.pipeline.assignment import Assignment
from worker.pipeline.options import DeliveryOptions
from worker.source.base import Source

_log = structlog.get_logger(__name__)


class GroupOffsets:
    """
    Lets the group have the positions of what is durable, until it says that it has them.

    On the loop's thread alone: the client's lock is not fair, and beside a loop of polls another thread's call starves.

    Args:
        source: stores, and answers within its `poll`.
        assignment: whose positions.
        owned: whether the sink owns positions, so that the group's are a report.
        options: pauses between attempts.
        away: told of what is away.
        route: named in the log.
    """

    def __init__(
        self,
        source: Source,
        assignment: Assignment,
        *,
        owned: bool,
        options: DeliveryOptions,
        away: Callable[[TransientError], None],
        route: str,
    ) -> None:
        self._source, self._assignment, self._owned = source, assignment, owned
        self._options, self._away, self._route = options, away, route
        self._at = 0.0

    def store(self) -> None:
        """Begin to store what the group does not have; the answer comes within a later poll."""
        if time.monotonic() < self._at:
            return
        unstored = self._assignment.unstored()
        if not unstored:
            return
        try:
            self._source.store(unstored)
        except TransientError as exc:
            self._away(exc)
            self._at = time.monotonic() + max(self._options.retry_s, exc.retry_after_s or 0)
        else:
            self._assignment.storing(unstored)

    def stored(self, offsets: Mapping[TopicPartition, int], *, taken: bool) -> None:
        """The group has answered: it has these offsets, or is asked again a moment later."""
        for partition, offset in offsets.items():
            self._assignment.stored(partition, offset, taken=taken)
        if taken:
            failpoints.hit("after_commit")
        else:
            self._at = time.monotonic() + self._options.retry_s

    def store_now(self, partitions: Collection[TopicPartition]) -> None:
        """Store what is durable of partitions that go away; giving up only repeats records, or delays a report."""
        lanes = {p: lane for p in partitions if (lane := self._assignment.get(p)) is not None}
        owed = {p: lane.durable for p, lane in lanes.items() if lane.durable != lane.stored}
        if not owed:
            return
        try:
            if self._owned:
                self._source.store(owed)
            elif not self._source.commit(owed):
                _log.info("offsets_not_stored", route=self._route, reason="the group has moved on")
        except TransientError as exc:
            self._away(exc)
        else:
            failpoints.hit("after_commit")
