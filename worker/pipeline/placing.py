"""How a partition comes to be read from the right place: partition by partition, without holding up the loop."""

from __future__ import annotations

import time
from collections.abc import Collection

import structlog

from worker.errors import TransientError
from worker.model import TopicPartition
from worker.pipeline.assignment import Assignment, Lane
from worker.pipeline.delivery import Delivery, away
from worker.pipeline.health import RouteHealth
from worker.pipeline.job import Claim
from worker.pipeline.options import DeliveryOptions
from worker.sink.base import Sink
from worker.source.base import Source

_log = structlog.get_logger(__name__)
# Partitions without a leader are asked for in vain; after so long the loop turns, and the others are asked for next.
_SEARCH_S = 1.0


class Placing:
    """
    Brings arriving partitions to where they are read from.

    ::

        arriving ─(unsettled commits are settled)─▶ asked ─▶ start ─(the group has it)─▶ sought, resumed: active
                                                      │
                          the sink's own position, else the group's, else as the options say

    A start that nobody has stored yet is stored before the first record is read: a worker that dies before its first
    commit begins again there. One that can't be placed now holds no other up.

    Args:
        source: searched, sought and resumed.
        sink: asked where it owns positions, on the delivery's thread.
        delivery: asks the sink.
        assignment: whose lanes arrive.
        options: pauses between attempts.
        health: told what is away.
    """

    def __init__(
        self,
        source: Source,
        sink: Sink,
        delivery: Delivery,
        assignment: Assignment,
        *,
        options: DeliveryOptions,
        health: RouteHealth,
    ) -> None:
        self._source, self._owns, self._delivery, self._assignment = source, sink.owns_positions, delivery, assignment
        self._options, self._health = options, health
        self._claim: Claim | None = None
        self._claimed: dict[TopicPartition, Lane] = {}
        # What a killed predecessor left open under this sink's name counts as a commit of unknown fate.
        self._unsettled = delivery.is_transactional
        self._expired = False
        self._at = 0.0
        self._waiting: dict[TopicPartition, str] = {}

    def unsettle(self, *, expired: bool) -> None:
        """
        Let the sink be opened again before positions are read: a commit's fate is unknown, or its transaction is gone.

        Args:
            expired: the sink's name was fenced; it is taken again only while the group counts this member.
        """
        self._unsettled = True
        self._expired = self._expired or expired

    @property
    def is_unsettled(self) -> bool:
        """Whether the sink is to be opened again before anything is delivered."""
        return self._unsettled

    def turn(self) -> None:
        """Go one step further with every partition that arrives; waits for nothing."""
        self._harvest()
        now = time.monotonic()
        arriving = self._assignment.arriving()
        # A name is taken before anything arrives: what its dead owner left open holds readers, and the group's offsets.
        if now < self._at or not (arriving or (self._unsettled and not self._expired)):
            return
        try:
            if self._unsettled:
                self._settle()
                return
            due = {p: lane for p, lane in arriving.items() if now >= lane.not_before}
            if self._owns:
                self._ask_sink(due)
            self._search({p: lane for p, lane in due.items() if self._is_searched(lane)})
            self._store_starts(arriving)
            self._seek(arriving)
        except TransientError as exc:
            self._pause(exc)
        else:
            self._health.resume("source")

    def _settle(self) -> None:
        """Open the sink again, which settles a commit whose fate is unknown; only then are positions the truth."""
        if self._claim is not None:
            return
        if self._expired and not self._source.holds():
            # The group has moved on: it will say so, and what it gives then is placed anew.
            self._at = time.monotonic() + self._options.retry_s
            return
        self._submit({}, {}, settles=True)

    def _is_searched(self, lane: Lane) -> bool:
        if lane.start is None:
            return lane.asked or not self._owns
        return self._assignment.bounded and lane.end is None

    def _ask_sink(self, arriving: dict[TopicPartition, Lane]) -> None:
        if self._claim is not None:
            return
        fresh = {p: lane for p, lane in arriving.items() if not lane.asked}
        if fresh:
            self._submit(fresh, dict.fromkeys(fresh))

    def _search(self, lanes: dict[TopicPartition, Lane]) -> None:
        """Look where partitions start that nobody else knows of."""
        fresh = [p for p, lane in lanes.items() if lane.search is None]
        if fresh:
            searches = self._source.find(
                fresh,
                stored=not self._owns,
                bounded=self._assignment.bounded,
                until_ms=self._assignment.until_ms,
            )
            for partition, search in searches.items():
                lanes[partition].search = search
        starts: dict[TopicPartition, int] = {}
        end = time.monotonic() + _SEARCH_S
        for partition, lane in lanes.items():
            try:
                found = lane.search.answer() if lane.search is not None else None
            except TransientError as exc:
                lane.search = None
                self._wait(partition, lane, exc)
                if time.monotonic() >= end:
                    break
                continue
            if found is None:
                continue
            self._go_on(partition)
            lane.end, lane.metadata = found.end, found.metadata
            if not self._owns:
                lane.start, lane.stored = found.start, found.stored
            elif lane.start is None:
                starts[partition] = found.start
        if starts and self._claim is None:
            self._submit({p: lanes[p] for p in starts}, dict(starts))

    def _store_starts(self, arriving: dict[TopicPartition, Lane]) -> None:
        """Let the group have the start that it has not stored yet; where the sink owns positions it has them."""
        if self._owns:
            return
        fresh = {p: lane.start for p, lane in arriving.items() if lane.start is not None and lane.unstored is not None}
        if fresh:
            self._source.store(fresh)
            self._assignment.storing(fresh)

    def _seek(self, arriving: dict[TopicPartition, Lane]) -> None:
        ready = {
            p: lane.start
            for p, lane in arriving.items()
            if lane.start is not None
            and (self._owns or lane.stored is not None)
            and (lane.end is not None or not self._assignment.bounded)
        }
        placed = self._source.seek(ready) if ready else set()
        for partition in placed:
            self._assignment.activate(partition, ready[partition])
        if placed:
            self._source.resume(placed)
            self._health.resume("sink")

    def _submit(
        self, lanes: dict[TopicPartition, Lane], partitions: dict[TopicPartition, int | None], *, settles: bool = False
    ) -> None:
        self._claim, self._claimed = Claim(partitions, settles=settles), lanes
        self._delivery.submit(self._claim)

    def _harvest(self) -> None:
        claim = self._claim
        if claim is None or not claim.done.is_set():
            return
        self._claim = None
        if isinstance(claim.error, TransientError):
            self._pause(claim.error)
        elif claim.error is not None:
            raise claim.error
        elif claim.settles:
            self._unsettled = self._expired = False
        for partition, lane in self._claimed.items():
            if not self._assignment.has(partition, lane):
                continue
            if partition in claim.positions.found:
                lane.start = claim.positions.found[partition]
                self._go_on(partition)
            elif partition in claim.positions.held:
                self._wait(partition, lane, claim.positions.held[partition])
            elif claim.error is None:
                lane.asked = True
            else:
                lane.search = None

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """These are gone: nobody waits for them any more."""
        for partition in partitions:
            self._go_on(partition)

    def _wait(self, partition: TopicPartition, lane: Lane, error: TransientError) -> None:
        """Try this partition again a moment later; the first time the log says what for."""
        lane.not_before = time.monotonic() + max(self._options.retry_s, error.retry_after_s or 0)
        if self._waiting.get(partition) != str(error):
            self._waiting[partition] = str(error)
            _log.warning("partition_waits", route=self._health.route, partition=str(partition), error=str(error))
            self._tell()

    def _go_on(self, partition: TopicPartition) -> None:
        if self._waiting.pop(partition, None) is not None:
            self._tell()

    def _tell(self) -> None:
        if self._waiting:
            why = f"{len(self._waiting)} partitions can't be placed: {next(iter(self._waiting.values()))}"
            self._health.pause("placing", why, partitions=len(self._waiting))
        else:
            self._health.resume("placing")

    def _pause(self, error: TransientError) -> None:
        self._at = time.monotonic() + max(self._options.retry_s, error.retry_after_s or 0)
        if self._health.pause(away(error), str(error)):
            _log.warning("paused", route=self._health.route, reason=away(error), error=str(error))
