"""A member of a consumer group: what the client's callbacks say, and to whom it is told."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as KafkaPartition

from worker.model import TopicPartition
from worker.source.base import AssignmentListener
from worker.source.commits import answers

if TYPE_CHECKING:
    from worker import _native


class Membership:
    """
    Takes what the group gives, gives what it takes, and tells a listener.

    The client calls back on the thread that polls. What a callback raises waits until `raise_failure`: an exception
    inside one would make the client drop the records that it is about to return.

    Args:
        incremental: whether the group's protocol gives and takes single partitions.
    """

    def __init__(self, *, incremental: bool) -> None:
        self._incremental = incremental
        self._failure: BaseException | None = None
        self.listener: AssignmentListener | None = None
        self.native: _native.Client | None = None
        self.placed: set[TopicPartition] = set()
        """The member's partitions whose position has been given."""
        self._share: frozenset[TopicPartition] = frozenset()
        self.shared: Callable[[frozenset[TopicPartition]], None] = lambda _share: None
        """Told what the member's share is from now on."""

    def join(self, consumer: Any, topics: Collection[str]) -> None:
        """Let the client join the group."""
        consumer.subscribe(list(topics), on_assign=self.on_assign, on_revoke=self.on_revoke, on_lost=self.on_lost)

    def fail(self, error: BaseException) -> None:
        """Keep an error for the next `raise_failure`."""
        self._failure = error

    def raise_failure(self) -> None:
        """Raise what a callback met since the last call, if anything."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def on_assign(self, consumer: Any, partitions: list[Any]) -> None:
        """The client's `on_assign`."""
        self._act(lambda: self._take(consumer, partitions))

    def on_revoke(self, consumer: Any, partitions: list[Any]) -> None:
        """The client's `on_revoke`."""
        self._act(lambda: self._give(consumer, partitions, lost=False))

    def on_lost(self, consumer: Any, partitions: list[Any]) -> None:
        """The client's `on_lost`."""
        self._act(lambda: self._give(consumer, partitions, lost=True))

    def on_commit(self, error: KafkaError | None, items: Collection[Any]) -> None:
        """The client's `on_commit`."""
        listener = self.listener
        if listener is not None:
            for taken, offsets in answers(error, items):
                self._act(partial(listener.stored, offsets, taken=taken))

    def _act(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as exc:
            self._failure = exc

    def _take(self, consumer: Any, partitions: list[Any]) -> None:
        self._share |= frozenset(_own(partitions))
        self.shared(self._share)
        # Offset 0 while paused: no lookup, no fetch; `seek` gives the true one before `resume`.
        placed = [KafkaPartition(p.topic, p.partition, 0) for p in partitions]
        try:
            if self.native is not None:
                for p in partitions:
                    self.native.watch(p.topic, p.partition)
        finally:
            # Always, and here: else the client asks the group for its protocol, and a group that ends never answers.
            if self._incremental:
                consumer.incremental_assign(placed)
            else:
                consumer.assign(placed)
        consumer.pause(placed)
        if self.listener is not None:
            self.listener.assigned(_own(partitions))

    def _give(self, consumer: Any, partitions: list[Any], *, lost: bool) -> None:
        gone = _own(partitions)
        self._share -= frozenset(gone)
        self.shared(self._share)
        try:
            if self.listener is not None:
                self.listener.revoked(gone, lost=lost)
        finally:
            self.placed -= set(gone)
            if self._incremental:
                consumer.incremental_unassign(partitions)
            else:
                consumer.unassign()


def _own(partitions: Collection[Any]) -> list[TopicPartition]:
    return [TopicPartition(p.topic, p.partition) for p in partitions]
