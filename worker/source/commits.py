"""The group's offsets on their way to the coordinator."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException

from worker.kafka.refusals import Needs
from worker.kafka.verdict import NOT_THE_OWNER, read_error
from worker.model import TopicPartition
from worker.source.offsets import Offsets

_log = structlog.get_logger(__name__)
_REQUEST_S = 5.0


class Commits:
    """
    Stores offsets for one member.

    Args:
        consumer: the group's member.
        offsets: puts the topics' ids beside them.
        needs: the rights that it takes.
    """

    def __init__(self, consumer: Consumer, offsets: Offsets, needs: Needs) -> None:
        self._consumer, self._offsets, self._needs = consumer, offsets, needs

    def store(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Begin to store; the answer comes to the client's `on_commit`. Raises `SourceUnavailable`."""
        try:
            self._consumer.commit(offsets=self._offsets.tagged(offsets), asynchronous=True)
        except KafkaException as exc:
            raise read_error(exc.args[0], "storing offsets", needs=self._needs) from exc

    def commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Store and wait; False where the group no longer counts this member. Raises `SourceUnavailable`."""
        try:
            items = self._consumer.commit(offsets=self._offsets.tagged(offsets), asynchronous=False)
        except KafkaException as exc:
            return self._refused(exc.args[0])
        failed = [item.error for item in items or () if item.error is not None]
        return self._refused(failed[0]) if failed else True

    def holds(self) -> bool:
        """
        Whether this member's generation counts: stores again what is stored for its partitions, which changes nothing.

        Raises:
            SourceUnavailable: the coordinator does not answer, or an open transaction may still move the offsets.
        """
        try:
            owned = self._consumer.committed(self._consumer.assignment(), timeout=_REQUEST_S)
        except KafkaException as exc:
            raise read_error(exc.args[0], "asking for stored offsets", needs=self._needs) from exc
        known = {TopicPartition(p.topic, p.partition): p.offset for p in owned if p.error is None and p.offset >= 0}
        return bool(known) and self.commit(known)

    def _refused(self, error: KafkaError) -> bool:
        if error.code() in NOT_THE_OWNER:
            return False
        raise read_error(error, "committing", needs=self._needs)


def answers(error: KafkaError | None, items: Collection[Any]) -> Iterator[tuple[bool, dict[TopicPartition, int]]]:
    """Part a commit's answer in what was taken and what was not."""
    for taken in (True, False):
        offsets = {
            TopicPartition(p.topic, p.partition): p.offset
            for p in items
            if (error is None and p.error is None) is taken
        }
        if offsets:
            if not taken:
                failed = error or next(p.error for p in items if p.error is not None)
                _log.info("offsets_not_stored", error=failed.name())
            yield taken, offsets
