"""What a consumer reports between records: ends of partitions, lost positions, trouble with brokers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from confluent_kafka import KafkaError

from worker.errors import Fenced, SourceUnavailable, WorkerError
from worker.kafka.refusals import named, refusal
from worker.kafka.verdict import read_error
from worker.model import TopicPartition
from worker.source.membership import Membership
from worker.source.offsets import lost

_log = structlog.get_logger(__name__)


class Reports:
    """
    Judges what is no record: some of it is a fact, some is logged, some ends the reading.

    Args:
        membership: whose placed partitions may lose their position, and who keeps the client's own failures.
        confirm: refuses another cluster behind the same address.
        needs: permission that a refusal is missing, by the resource's kind.
        static: whether the member's name is its own, which another process may have.
    """

    def __init__(
        self, membership: Membership, confirm: Callable[[], None], needs: Mapping[str, str], *, static: bool
    ) -> None:
        self._membership, self._confirm, self._needs, self._static = membership, confirm, needs, static
        self.ends: dict[TopicPartition, int] = {}
        """The last offset at which the broker said that a partition has no more."""

    def judge(self, message: Any) -> None:
        """
        Take what came in a record's place.

        Raises:
            OffsetLost: the position to continue from is not in the log.
            Fenced: another process has this member's name.
            WorkerError: as `read_error` has it; what a broker's absence brings is logged.
        """
        error = message.error()
        topic, number = message.topic(), message.partition()
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            self.ends[TopicPartition(topic, number)] = message.offset()
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            if TopicPartition(topic, number) in self._membership.placed:
                self._offset_lost(TopicPartition(topic, number))
        elif code in (KafkaError._MAX_POLL_EXCEEDED, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            _log.warning("source_degraded", error=named(error))
        elif code == KafkaError._FATAL and self._static:
            raise Fenced(
                "the group refuses this member: another process has its instance's name, or a dead one's session "
                "has not ended yet; give each its own WORKER_INSTANCE, or start again"
            )
        else:
            failure = self.error(error, f"reading {topic or 'as a group'}")
            if isinstance(failure, SourceUnavailable):
                _log.warning("source_degraded", error=named(error), topic=topic)
            else:
                raise failure

    def error(self, error: KafkaError, doing: str) -> WorkerError:
        """Return the verdict on what the client raised while doing something."""
        return read_error(error, doing, needs=self._needs)

    def on_error(self, error: KafkaError) -> None:
        """The client's `error_cb`."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            _log.warning("source_away", error=named(error))
        elif reason := refusal(error):
            _log.warning("source_refused", error=reason)
        elif error.fatal():
            self._membership.fail(self.error(error, "reading"))
        else:
            _log.info("source_degraded", error=named(error))

    def _offset_lost(self, partition: TopicPartition) -> None:
        # Another cluster has other offsets, and that is the graver finding.
        with contextlib.suppress(SourceUnavailable):
            self._confirm()
        raise lost(str(partition))
