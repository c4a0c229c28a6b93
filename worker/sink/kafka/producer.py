"""A producer that answers for whole batches: every message of one acknowledged, or an error."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Producer

from worker.errors import SinkUnavailable, WorkerError
from worker.kafka.clients import make_producer
from worker.kafka.native import adopted
from worker.kafka.properties import Property
from worker.kafka.statistics import INTERVAL_MS
from worker.kafka.verdict import error_of, write_error
from worker.native import extension
from worker.native.batch import NativeOutput
from worker.sink.kafka.deliveries import Deliveries
from worker.sink.kafka.message import Message
from worker.sink.kafka.options import NativeHeaders

if TYPE_CHECKING:
    from worker import _native

_POLL_EVERY = 1000
# How long a client is given to ask about a topic; by itself it does so every five minutes.
_LEARN_S = 5.0
_REQUEST = {"batch.size": 1_000_000, "message.max.bytes": 1_000_000, "batch.num.messages": 10_000}
"""What bounds a partition's request, and librdkafka's defaults."""


@dataclass(slots=True)
class _Rest:
    """An output in native memory, of which so many messages were handed over."""

    native: _native.Client
    topic: str
    by_key: bool
    outgoing: _native.Outgoing
    sent: int = 0


class BatchProducer:
    """
    One idempotent producer; after any failure it is thrown away and the next batch opens another.

    Args:
        properties: complete librdkafka properties, called for at every opening.
        name: what messages call it, as `route customers`.
        topic: one of those that are written to; None leaves it to the client when it looks for its brokers.
        timeout_s: how long a batch may take to be acknowledged.
        statistics: takes librdkafka's statistics, on the thread that produces.
    """

    def __init__(
        self,
        properties: Callable[[], Mapping[str, Property]],
        *,
        name: str,
        topic: str | None = None,
        timeout_s: float,
        statistics: Callable[[str], None] | None = None,
    ) -> None:
        self._topic, self._name = topic, name
        self._properties = properties
        self._statistics = statistics
        self._timeout_s = timeout_s
        self._producer: Producer | None = None
        self._native: _native.Client | None = None
        self._request: tuple[int, int] | None = None
        self._rest: _Rest | None = None
        self._has_lost = False
        self._batch = Deliveries()
        self._confirmed: tuple[_native.Client, int, str] | None = None

    def validate(self) -> None:
        """Make a client and throw it away, taking no transactional id; raises `ConfigError` for its properties."""
        _, native = self._made()
        if native is not None:
            native.end()

    def open(self) -> Producer:
        """Return the client, made if need be; raises `ConfigError` for its properties."""
        if self._producer is None:
            self._producer, self._native = self._made()
            self._reach(self._producer)
            self._has_lost = False
        return self._producer

    def _reach(self, producer: Producer) -> None:
        """
        Have a new client find its brokers, if they answer.

        Before any is up librdkafka looks twice a second only for who gives a producer its id, and the connection that
        gives the first answer ends with it: it leads to an address, not to a broker known by its number.
        """
        if self._topic is not None:
            with contextlib.suppress(KafkaException):
                for _ in range(2):
                    producer.list_topics(self._topic, timeout=_LEARN_S)

    @property
    def has_lost(self) -> bool:
        """Whether the client of now, or else the last one, has lost a connection."""
        return self._has_lost

    def _made(self) -> tuple[Producer, _native.Client | None]:
        # Without one the client tells no failure of its own, the fatal ones included.
        conf: dict[str, Any] = {**self._properties(), "error_cb": lambda _error: None}
        if self._statistics is not None:
            conf = {"statistics.interval.ms": INTERVAL_MS, **conf, "stats_cb": self._statistics}
        made = adopted(partial(make_producer, lost=self._on_lost), conf)
        # librdkafka has refused what is no number to it; of one that is written as C alone does there are no rounds.
        self._request = None
        with contextlib.suppress(ValueError):
            size, largest, messages = (int(conf.get(name, usual)) for name, usual in _REQUEST.items())
            self._request = min(size, largest), messages
        return made

    def begin(self) -> None:
        """Start a batch."""
        self.open()
        self._batch, self._rest = Deliveries(self._native), None

    def cluster_id(self, topic: str, timeout_s: float) -> str:
        """
        Return the id of the cluster that this client's own connections lead to now; raises `SinkUnavailable`.

        Asks again only when the client has made a connection since, where it can tell.
        """
        producer, native = self.open(), self._native
        connections = native.connections() if native is not None else 0
        if self._confirmed is not None and self._confirmed[:2] == (native, connections):
            return self._confirmed[2]
        try:
            found = str(producer.list_topics(topic, timeout=timeout_s).cluster_id)
        except KafkaException as exc:
            raise write_error(error_of(exc), f"{self._name}: asking for the cluster's identity") from exc
        self._confirmed = None if native is None else (native, connections, found)
        return found

    def send(self, messages: Iterable[Message]) -> None:
        """Hand messages over, waiting while librdkafka's queue is full; raises `SinkUnavailable` after `timeout_s`."""
        batch, producer = self._batch, self.open()
        produce, report = producer.produce, batch.report
        try:
            for topic, value, key, partition, timestamp_ms, headers in messages:
                while True:
                    try:
                        # Positional arguments cost 2.6 us a message less than keywords.
                        produce(topic, value, key, partition, report, None, timestamp_ms, headers)
                        break
                    except BufferError:
                        self._make_room(producer)
                batch.handed += 1
                if not batch.handed % _POLL_EVERY:
                    self._served(producer.poll, 0)
        except KafkaException as exc:
            raise self._refused(error_of(exc), topic) from exc

    def send_native(self, topic: str, output: NativeOutput, headers: NativeHeaders, *, by_key: bool) -> bool:
        """
        Hand an output over, keys, timestamps and, unless `by_key`, partitions as its source has them.

        Of each partition no more is handed over at once than fits into one request, the rest by `flush`: librdkafka has
        one of them under way, and polls without sleeping while messages wait behind it.

        Args:
            topic: where to.
            output: the records.
            headers: the names to copy (None: all), the names that never go out, the one that tells the source.
            by_key: let the client choose the partitions.

        Returns:
            whether the client takes one; if not, nothing was handed over.

        Raises:
            SinkUnavailable: a message is refused.
        """
        if self._rest is not None:
            self.flush()
        self.open()
        native = self._native
        if native is None:
            return False
        limit = None if by_key else self._request
        outgoing = extension.Outgoing(output.native, output.outputs, output.rows_of, headers, limit)
        self._rest = _Rest(native, topic, by_key, outgoing)
        self._go_on(self._rest)
        return True

    def _go_on(self, rest: _Rest) -> int:
        """Hand over the next round of an output in native memory; returns how many messages the client took."""
        taken, code = rest.native.produce(rest.topic, rest.by_key, rest.outgoing, rest.sent)
        rest.sent += taken
        self._batch.handed += taken
        if code:
            raise self._refused(KafkaError(code), rest.topic)
        if rest.sent == len(rest.outgoing):
            self._rest = None
        return taken

    def _refused(self, error: KafkaError, topic: str) -> WorkerError:
        """Return why a message was not taken; a partition that the client has not heard of may have been added."""
        if error.code() == KafkaError._UNKNOWN_PARTITION:
            with contextlib.suppress(KafkaException):
                self.open().list_topics(topic, timeout=_LEARN_S)
        return write_error(error, f"{self._name}: produce")

    def flush(self) -> None:
        """
        Hand over what is left of the batch, and return when all in-sync replicas have acknowledged every message of it.

        Raises:
            SinkRejected: a topic refuses one for good; the batch's others may have been written.
            SinkUnavailable: one was not, or is larger than the queue; the same.
        """
        self._flush()
        while (rest := self._rest) is not None:
            # Nothing is queued here: what is not taken now never will be.
            if not self._go_on(rest):
                raise SinkUnavailable(
                    f"{self._name}: a message to {rest.topic} is larger than the queue to the brokers; "
                    "raise queue.buffering.max.kbytes"
                )
            self._flush()

    def _flush(self) -> None:
        producer, batch = self.open(), self._batch
        waiting = self._served(producer.flush, self._timeout_s + 1.0)
        batch.look()
        if batch.first_error is not None:
            fatal = self._fatal(producer)
            what = f"{self._name}: {batch.failed} of {batch.handed} not delivered"
            raise write_error(fatal or batch.first_error, what, needs={"TOPIC": f"Write on topic {batch.failed_topic}"})
        if waiting or batch.acknowledged != batch.handed:
            missing = batch.handed - batch.acknowledged
            raise SinkUnavailable(f"{self._name}: {missing} of {batch.handed} messages not acknowledged in time")

    def abort(self) -> None:
        """Forget the batch: what is still queued or unanswered goes with the client, and so does what it gave up."""
        if self._batch.is_unsettled():
            self.discard()
        self._batch, self._rest = Deliveries(), None

    def rest(self) -> None:
        """Let the client go until the next `open`; safe to call twice."""
        self.discard()

    def discard(self) -> None:
        """Throw the client away; safe to call twice."""
        producer, self._producer = self._producer, None
        native, self._native = self._native, None
        self._rest = None
        if producer is not None:
            with contextlib.suppress(KafkaException, WorkerError):
                producer.purge()
                self._served(producer.poll, 0)
        if native is not None:
            native.end()

    def _on_lost(self) -> None:
        self._has_lost = True

    def _make_room(self, producer: Producer) -> None:
        end = time.monotonic() + self._timeout_s
        before = self._batch.acknowledged + self._batch.failed
        while self._batch.acknowledged + self._batch.failed == before:
            if time.monotonic() > end:
                raise SinkUnavailable(f"{self._name}: the queue to the brokers stays full")
            self._served(producer.poll, 0.1)

    def _served(self, serve: Callable[[float], int], timeout_s: float) -> int:
        """
        Let the client call back, for so long at most.

        One that has failed for good raises from there, beside a report as a `SystemError` (confluent-kafka 2.16).
        """
        try:
            return serve(timeout_s)
        except (KafkaException, SystemError) as exc:
            cause = exc if isinstance(exc, KafkaException) else exc.__cause__
            if isinstance(cause, KafkaException):
                raise write_error(error_of(cause), f"{self._name}: writing") from exc
            raise SinkUnavailable(f"{self._name}: the client has failed") from exc

    @staticmethod
    def _fatal(producer: Producer) -> KafkaError | None:
        """Return the client's fatal error; a fenced producer's messages fail as purged, which says less."""
        try:
            producer.poll(0)
        except KafkaException as exc:
            error = error_of(exc)
            return error if error.fatal() else None
        return None
