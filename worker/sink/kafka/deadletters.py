"""Dead letters of a route whose sink is not Kafka."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker.kafka.properties import Property, client_properties
from worker.kafka.topics import Topics
from worker.sink.base import DeadLetter
from worker.sink.kafka.message import Message
from worker.sink.kafka.pin import ClusterPin
from worker.sink.kafka.producer import BatchProducer
from worker.sink.kafka.topics import ensure_dead_topics
from worker.topic_names import dead_topic

PRODUCER_DEFAULTS: Mapping[str, Property] = {"compression.type": "lz4", "linger.ms": 5}
"""Envelopes hold much that repeats (keyset, tag, descriptor); lz4 is the cheapest that finds it."""


def letter_messages(letters: Sequence[DeadLetter]) -> list[Message]:
    """Return letters as messages: partition by key, the broker's or this process's time."""
    return [(letter.topic, letter.value, letter.key, -1, 0, list(letter.headers)) for letter in letters]


class KafkaDeadLetters:
    """
    Writes sealed dead letters, at least once: they are durable before the batch's rows are committed.

    Args:
        connection: what `worker.kafka.properties.connection_properties` returned.
        route: names the route in messages.
        source_topics: whose dead topics `check` looks at.
        create: create missing dead topics at `check`.
        timeout_s: how long a flush may take.
        pin: the cluster that letters may go to; None leaves that to somebody else.
    """

    def __init__(
        self,
        connection: Mapping[str, Property],
        *,
        route: str,
        source_topics: Sequence[str] = (),
        create: bool = False,
        timeout_s: float = 60.0,
        pin: ClusterPin | None = None,
    ) -> None:
        self._pin = pin
        self._connection = dict(connection)
        self._route = route
        self._source_topics = tuple(source_topics)
        self._create = create
        self._timeout_s = timeout_s
        topic = next(map(dead_topic, self._source_topics), None)
        self._producer = BatchProducer(
            self._properties, name=f"route {route}, dead letters", topic=topic, timeout_s=timeout_s
        )

    def check(self) -> None:
        """Verify the dead topics and their cluster; raises `ConfigError`, `RegionViolation` or `SinkUnavailable`."""
        topics = Topics(self._connection, name=f"route {self._route}", timeout_s=self._timeout_s)
        if self._pin is not None:
            self._pin.compare(topics.describe([])[0])
        ensure_dead_topics(topics, self._source_topics, create=self._create)

    def write(self, letters: Sequence[DeadLetter]) -> None:
        """Hand letters over; raises `RegionViolation` where another cluster answers by now."""
        if letters:
            if self._pin is not None:
                self._pin.confirm(self._producer, letters[0].topic)
            self._producer.send(letter_messages(letters))

    def flush(self) -> None:
        """Wait until every letter is acknowledged; raises `SinkUnavailable`."""
        self._producer.flush()
        self._producer.abort()

    def abort(self) -> None:
        """Forget letters that were not flushed."""
        self._producer.abort()

    def close(self) -> None:
        """Release the connection, which the next letter takes again."""
        self._producer.discard()

    def _properties(self) -> dict[str, Property]:
        """Return a new producer's properties, sized after the dead topics as they are now."""
        topics = Topics(self._connection, name=f"route {self._route}", timeout_s=self._timeout_s)
        _, facts = topics.describe([dead_topic(name) for name in self._source_topics])
        largest = max((f.max_message_bytes for f in facts.values()), default=0)
        room: dict[str, Property] = {"message.max.bytes": largest} if largest else {}
        return client_properties(
            self._connection,
            defaults={**PRODUCER_DEFAULTS, **room},
            owned={
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": "murmur2_random",
                "message.timeout.ms": int(self._timeout_s * 1000),
            },
        )
