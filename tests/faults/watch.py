"""Looks at a run from outside, all the time: whatever a stored position claims must be in the sink already."""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition
from psycopg import sql

from tests.faults.checker import ahead, behind, findings, latest
from tests.faults.records import Input, front
from tests.faults.stand import Place, Stand

_EVERY_S = 0.5
_ASK_S = 5.0
# A record may be acknowledged before a new leader shows it, and a transaction be decided before its markers are
# everywhere; within this time both must be over.
_PATIENCE_S = 60.0


class Away(Exception):
    """What was asked did not answer; the look is left out."""


class Watch(ABC):
    """
    Checks on a thread of its own, and tells how far the group is.

    Args:
        stand, place: where to look.
        given: what was produced.
    """

    def __init__(self, stand: Stand, place: Place, given: Input) -> None:
        self._stand, self._place, self._given = stand, place, given
        options = {"group.id": place.group, "enable.auto.commit": False, "log_level": 2}
        self._group = Consumer({**stand.kafka.client, **options})
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.looks = 0
        self.findings: list[str] = []
        self.positions: dict[int, int] = {}

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def look_now(self) -> None:
        """Look again without waiting for the next time."""
        self._wake.set()

    def close(self) -> None:
        """End, after a last look."""
        self._stop.set()
        self._wake.set()
        self._thread.join(_PATIENCE_S + 30)
        self._group.close()

    def reached(self, ends: Mapping[int, int]) -> bool:
        """Whether the group has stored at least these positions."""
        return all(self.positions.get(p, 0) >= end for p, end in ends.items())

    def await_start(self) -> None:
        """Wait until the group has a position of every partition: what is produced from now on must all be read."""
        asked = [TopicPartition(self._place.source, p) for p in range(self._given.partitions)]
        end = time.monotonic() + _PATIENCE_S
        while any(each.offset < 0 for each in self._group.committed(asked, timeout=_ASK_S)):
            if time.monotonic() > end:
                raise TimeoutError("the group stores no start")
            time.sleep(0.1)

    @abstractmethod
    def _look(self) -> None:
        """Look once; raises `Away`."""

    def _run(self) -> None:
        last = False
        while not last:
            last = self._stop.is_set()
            try:
                self._look()
                self.looks += 1
            except (Away, psycopg.Error):
                time.sleep(0.2)
            except Exception as exc:
                self.findings.append(f"the watch itself failed: {exc!r}")
                return
            if not last:
                self._wake.wait(_EVERY_S)
                self._wake.clear()

    def _committed(self) -> dict[int, int]:
        asked = [TopicPartition(self._place.source, p) for p in range(self._given.partitions)]
        try:
            answered = self._group.committed(asked, timeout=_ASK_S)
        except KafkaException as exc:
            raise Away from exc
        if any(each.error is not None for each in answered):
            raise Away
        return {each.partition: max(0, each.offset) for each in answered}

    def _await_input(self, positions: Mapping[int, int]) -> None:
        if not self._given.knows(positions, _PATIENCE_S):
            raise Away

    def _advance(self, positions: dict[int, int]) -> None:
        self.findings += behind(self.positions, positions)
        self.positions = positions


class TopicWatch(Watch):
    """Follows the sink and the dead letters as their readers do, and compares them with the group's offsets."""

    def __init__(self, stand: Stand, place: Place, given: Input) -> None:
        super().__init__(stand, place, given)
        level = "read_committed" if place.topology.mode == "exactly-once" else "read_uncommitted"
        options: dict[str, Any] = {"group.id": f"watch-{place.target}", "enable.auto.commit": False, "log_level": 2}
        self._reader = Consumer({**stand.kafka.client, **options, "isolation.level": level})
        found = [self._reader.list_topics(topic, 30).topics[topic] for topic in (place.target, place.dead)]
        self._assigned = [TopicPartition(each.topic, p, 0) for each in found for p in each.partitions]
        self._reader.assign(self._assigned)
        self._partitions = given.partitions
        self._seen: set[int] = set()

    def close(self) -> None:
        super().close()
        self._reader.close()

    def _look(self) -> None:
        self._follow_added()
        committed = self._committed()
        self._await_input(committed)
        claimed = {i for p, at in committed.items() for i in self._given.upto(p, at)[self._checked(p) :]}
        if self._place.topology.mode == "at-least-once":
            self._read_to(self._high())
        end = time.monotonic() + _PATIENCE_S
        while not claimed <= self._seen and time.monotonic() < end:
            self._read(0.2)
            if self._place.topology.mode == "at-least-once" and self._stand.calm:
                break
        self.findings += ahead(sorted(claimed), self._seen)
        self._advance(committed)

    def _follow_added(self) -> None:
        now = self._given.partitions
        added = [TopicPartition(self._place.target, p, 0) for p in range(self._partitions, now)]
        if added:
            self._reader.incremental_assign(added)
            self._assigned += added
            self._partitions = now

    def _checked(self, partition: int) -> int:
        return len(self._given.upto(partition, self.positions.get(partition, 0)))

    def _high(self) -> dict[tuple[str, int], int]:
        try:
            marks = {
                (tp.topic, tp.partition): self._reader.get_watermark_offsets(tp, timeout=_ASK_S)
                for tp in self._assigned
            }
        except KafkaException as exc:
            raise Away from exc
        if any(each is None for each in marks.values()):
            raise Away
        return {at: high for at, (_, high) in marks.items()}

    def _read_to(self, high: Mapping[tuple[str, int], int]) -> None:
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            at = {(tp.topic, tp.partition): tp.offset for tp in self._reader.position(self._assigned)}
            if all(max(0, at[key]) >= mark for key, mark in high.items()):
                return
            self._read(0.2)

    def _read(self, timeout_s: float) -> None:
        for message in self._reader.consume(2_000, timeout_s):
            if message.error() is not None:
                continue
            if message.topic() == self._place.target:
                self._seen.add(front(message.value() or b"")[1])
            else:
                _, partition, offset = (message.key() or b"").decode().rsplit("/", 2)
                i = self._given.at(int(partition), int(offset))
                self._seen.add(-1 if i is None else i)


class TableWatch(Watch):
    """Takes snapshots of positions and rows together: each must be exactly what was read up to its position."""

    def __init__(self, stand: Stand, place: Place, given: Input) -> None:
        super().__init__(stand, place, given)
        self._state: dict[int, int] = {}

    def _look(self) -> None:
        reported = self._committed()
        with contextlib.closing(psycopg.connect(self._stand.dsn, connect_timeout=5)) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            rows = connection.execute(
                "SELECT partition, next_offset FROM worker.offsets WHERE group_id = %s", [self._place.group]
            )
            positions = {int(p): int(at) for p, at in rows}
            if any(at > positions.get(p, 0) for p, at in reported.items()):
                self.findings.append(f"offsets {reported} are reported beyond the table's positions {positions}")
            self._await_input(positions)
            if self._place.topology.sink == "append":
                self._compare_rows(connection, positions)
            else:
                self._compare_state(connection, positions)
        self._advance(positions)

    def _compare_rows(self, connection: psycopg.Connection[Any], positions: Mapping[int, int]) -> None:
        query = sql.SQL("SELECT id FROM {} WHERE _topic = %s AND _partition = %s AND _offset >= %s").format(
            sql.Identifier(self._place.target)
        )
        for p, at in positions.items():
            before = self.positions.get(p, 0)
            rows = connection.execute(query, [self._place.source, p, before]).fetchall()
            claimed = self._given.upto(p, at)[len(self._given.upto(p, before)) :]
            good = [i for i in claimed if self._given.kind(i) == "good"]
            self.findings += findings(good, [(p, int(i)) for (i,) in rows], exactly_once=True)

    def _compare_state(self, connection: psycopg.Connection[Any], positions: Mapping[int, int]) -> None:
        rows = connection.execute(
            sql.SQL("SELECT lane::int, id FROM {}").format(sql.Identifier(self._place.target))
        ).fetchall()
        for p, at in positions.items():
            before = len(self._given.upto(p, self.positions.get(p, 0)))
            fold(self._given, self._given.upto(p, at)[before:], self._state)
        self.findings += latest(self._state, [(int(lane), int(i)) for lane, i in rows])


def fold(given: Input, ids: Any, state: dict[int, int]) -> None:
    """Apply records to lane -> last id, as a table that keeps the last record of each key does."""
    for i in ids:
        kind = given.kind(i)
        if kind == "good":
            state[given.lane[i]] = i
        elif kind == "tombstone":
            state.pop(given.lane[i], None)
