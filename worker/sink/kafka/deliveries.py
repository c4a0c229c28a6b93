"""What became of a batch's messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError

if TYPE_CHECKING:
    from worker import _native


class Deliveries:
    """What became of one batch's messages; late reports of an abandoned batch reach that batch's own object."""

    __slots__ = ("_before", "_given", "_native", "_taken", "failed_topic", "first_error", "handed")

    def __init__(self, native: _native.Client | None = None) -> None:
        self.handed = 0
        self._taken = self._given = 0
        self._native = native
        # The client of a batch that did not end well is thrown away, so this is what earlier ones left.
        self._before = native.counts() if native is not None else (0, 0)
        self.first_error: KafkaError | None = None
        self.failed_topic: str | None = None

    @property
    def acknowledged(self) -> int:
        """How many messages all in-sync replicas have."""
        return self._taken + (self._native.counts()[0] - self._before[0] if self._native is not None else 0)

    @property
    def failed(self) -> int:
        """How many messages were given up."""
        return self._given + (self._native.counts()[1] - self._before[1] if self._native is not None else 0)

    def look(self) -> None:
        """Note the first message handed over in native memory that was given up."""
        failure = self._native.first_failure() if self._native is not None and self.first_error is None else None
        if failure is not None:
            self.first_error, self.failed_topic = KafkaError(failure[0]), failure[1]

    def is_unsettled(self) -> bool:
        """Whether a message is unanswered, or was given up, of which a client tells for as long as it lives."""
        self.look()
        return self.handed != self.acknowledged or self.first_error is not None

    def report(self, error: KafkaError | None, message: Any) -> None:
        """Take one delivery report; librdkafka calls it from `poll` and `flush`."""
        if error is None:
            self._taken += 1
            return
        self._given += 1
        if self.first_error is None:
            self.first_error, self.failed_topic = error, message.topic()
