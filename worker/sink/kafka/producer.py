"""A producer that answers for whole batches: every message of one acknowledged, or an error."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from worker.errors import Fenced, PositionsChanged, SinkUnavailable, WorkerError
from worker.kafka_properties import Property
from worker.sink.kafka.errors import FENCED, MOVED, error_of, unmade, verdict

Message = tuple[str, bytes | None, bytes | None, int, int, Any]
"""Topic, value, key, partition (-1: by key), timestamp in ms (0: now), headers as a list or None."""

_POLL_EVERY = 1000
# Long enough that a live broker answers, short enough that a dead one does not hold a drain up.
_ABORT_S = 10.0
# What a call gets beyond its own timeout before it counts as one that ignores it.
_LATE_S = 5.0


class Deliveries:
    """What became of one batch's messages; late reports of an abandoned batch reach that batch's own object."""

    __slots__ = ("acknowledged", "failed", "failed_topic", "first_error", "handed")

    def __init__(self) -> None:
        self.handed = 0
        self.acknowledged = 0
        self.failed = 0
        self.first_error: KafkaError | None = None
        self.failed_topic: str | None = None

    def report(self, error: KafkaError | None, message: Any) -> None:
        """Take one delivery report; librdkafka calls it from `poll` and `flush`."""
        if error is None:
            self.acknowledged += 1
            return
        self.failed += 1
        if self.first_error is None:
            self.first_error, self.failed_topic = error, message.topic()


class BatchProducer:
    """
    One idempotent producer; after any failure it is thrown away and the next batch opens another.

    Args:
        properties: complete librdkafka properties, called for at every opening.
        name: what messages call it, as `route customers`.
        timeout_s: how long a batch may take to be acknowledged.
    """

    def __init__(self, properties: Callable[[], Mapping[str, Property]], *, name: str, timeout_s: float) -> None:
        self._properties = properties
        self._name = name
        self._timeout_s = timeout_s
        self._producer: Producer | None = None
        self._lost_brokers = False
        self._batch = Deliveries()

    def validate(self) -> None:
        """Make a client and throw it away, taking no transactional id; raises `ConfigError` for its properties."""
        self._made()

    def open(self) -> Producer:
        """Return the client, made if need be; raises `ConfigError` for its properties."""
        if self._producer is None:
            self._producer = self._made()
        return self._producer

    def _made(self) -> Producer:
        conf: dict[str, Any] = {**self._properties(), "error_cb": self._on_error}
        self._lost_brokers = False
        try:
            return Producer(conf, logger=logging.getLogger("librdkafka"))
        except KafkaException as exc:
            raise unmade(exc) from None

    def begin(self) -> None:
        """Start a batch."""
        self.open()
        self._batch = Deliveries()

    def cluster_id(self, topic: str, timeout_s: float) -> str:
        """Return the id of the cluster that this client's own connections lead to now; raises `SinkUnavailable`."""
        try:
            return str(self.open().list_topics(topic, timeout=timeout_s).cluster_id)
        except KafkaException as exc:
            raise verdict(error_of(exc), f"{self._name}: asking for the cluster's identity") from exc

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
                    producer.poll(0)
        except KafkaException as exc:
            raise verdict(error_of(exc), f"{self._name}: produce") from exc

    def flush(self) -> None:
        """
        Return when every message of the batch is acknowledged by all in-sync replicas.

        Raises:
            SinkUnavailable: one was not; the batch's others may have been written.
        """
        producer, batch = self.open(), self._batch
        waiting = producer.flush(self._timeout_s + 1.0)
        if batch.first_error is not None:
            fatal = self._fatal(producer)
            what = f"{self._name}: {batch.failed} of {batch.handed} not delivered"
            raise verdict(fatal or batch.first_error, what, needs={"TOPIC": f"Write on topic {batch.failed_topic}"})
        if waiting or batch.acknowledged != batch.handed:
            missing = batch.handed - batch.acknowledged
            raise SinkUnavailable(f"{self._name}: {missing} of {batch.handed} messages not acknowledged in time")

    def abort(self) -> None:
        """Forget the batch: what is still queued or unanswered goes with the client."""
        if self._batch.handed != self._batch.acknowledged:
            self.discard()
        self._batch = Deliveries()

    def discard(self) -> None:
        """Throw the client away; safe to call twice."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(KafkaException):
                producer.purge()
                producer.poll(0)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
            self._lost_brokers = True

    def _make_room(self, producer: Producer) -> None:
        end = time.monotonic() + self._timeout_s
        before = self._batch.acknowledged + self._batch.failed
        while self._batch.acknowledged + self._batch.failed == before:
            if time.monotonic() > end:
                raise SinkUnavailable(f"{self._name}: the queue to the brokers stays full")
            producer.poll(0.1)

    @staticmethod
    def _fatal(producer: Producer) -> KafkaError | None:
        """Return the client's fatal error; a fenced producer's messages fail as purged, which says less."""
        try:
            producer.poll(0)
        except KafkaException as exc:
            error = error_of(exc)
            return error if error.fatal() else None
        return None


class TransactionalProducer(BatchProducer):
    """
    One transaction a batch.

    Fencing is final; an abortable error aborts; a commit whose fate is unknown throws the client away, because opening
    the next one under the same transactional id settles it.
    """

    def __init__(
        self,
        properties: Callable[[], Mapping[str, Property]],
        *,
        name: str,
        timeout_s: float,
        transactional_id: str = "",
    ) -> None:
        super().__init__(properties, name=name, timeout_s=timeout_s)
        self._id = transactional_id
        self._in_transaction = False
        self._commit_unknown = False

    def open(self) -> Producer:
        """Return the client with its transactional id taken, which fences every older owner of it."""
        if self._producer is None:
            producer = super().open()
            self._settle(lambda: producer.init_transactions(self._timeout_s), "taking the transactional id")
            self._in_transaction = self._commit_unknown = False
        assert self._producer is not None
        return self._producer

    def begin(self) -> None:
        """
        Begin a transaction, aborting one that was left open.

        A client that has lost a broker meanwhile is thrown away: it may wait for its group's old coordinator for ever
        (librdkafka issues 5456 and 5511).
        """
        self.abort()
        if self._producer is not None:
            self._producer.poll(0)
            if self._lost_brokers:
                self.discard()
        super().begin()
        producer = self.open()
        self._settle(producer.begin_transaction, "beginning a transaction")
        self._in_transaction = True

    def commit(self, offsets: Sequence[TopicPartition], group_metadata: object) -> None:
        """
        Commit the transaction with the group's offsets in it.

        Raises:
            SinkUnavailable: it was aborted; nothing of it is visible.
            PositionsChanged: the group has moved the partitions, or the fate of the commit is unknown.
            Fenced: a newer owner is at work.
        """
        producer = self.open()
        if offsets:
            what = "adding offsets to the transaction"
            self._settle(
                lambda: self._bounded(
                    lambda: producer.send_offsets_to_transaction(list(offsets), group_metadata, self._timeout_s), what
                ),
                what,
            )
        # -1 waits as long as the transaction may last: librdkafka warns of a desynchronised state for other values.
        self._settle(lambda: producer.commit_transaction(-1), "committing", uncertain=True)
        self._in_transaction = False

    def abort(self) -> None:
        """
        Abort an open transaction; raises `Fenced`. Any other failure leaves the abort to the next opening.

        A client with messages of unknown fate is thrown away too: after a broker's death its sequence numbers may
        differ from the broker's, and every later transaction would fail on them.
        """
        unsettled = self._batch.handed != self._batch.acknowledged
        self._batch = Deliveries()
        if not self._in_transaction or self._producer is None:
            return
        self._in_transaction = False
        try:
            self._producer.abort_transaction(_ABORT_S)
        except KafkaException as exc:
            unsettled = True
            if error_of(exc).code() in FENCED:
                raise verdict(error_of(exc), f"{self._name}: aborting") from exc
        finally:
            if unsettled:
                self.discard()

    def settle(self) -> None:
        """
        Let the brokers finish a commit of unknown fate, so that the group's committed positions tell it.

        Raises:
            SinkUnavailable: they can't be asked now; the next opening settles it.
        """
        if self._commit_unknown:
            self.open()

    def discard(self) -> None:
        """Throw the client away with its transaction, which the next opening or the broker aborts."""
        self._in_transaction = False
        super().discard()

    def _bounded(self, call: Callable[[], object], what: str) -> None:
        """
        Run a call that may ignore its own timeout (librdkafka issue 5456).

        When it does, its client is left to it; the next one, under the same transactional id, fences that and aborts.
        """
        answer: Future[object] = Future()
        threading.Thread(target=_fulfil, args=(answer, call), name="transaction", daemon=True).start()
        try:
            answer.result(self._timeout_s + _LATE_S)
        except TimeoutError:
            self._in_transaction, self._producer = False, None
            raise SinkUnavailable(f"{self._name}: {what}: no answer in time; another client takes over") from None

    def _settle(self, call: Callable[[], object], what: str, *, uncertain: bool = False) -> None:
        """Run a transactional call to its end, resuming it while it may be resumed."""
        end = time.monotonic() + self._timeout_s
        while True:
            try:
                call()
            except KafkaException as exc:
                error = error_of(exc)
                if error.retriable() and time.monotonic() < end:
                    continue
                raise self._failed(error, what, uncertain) from exc
            return

    def _failed(self, error: KafkaError, what: str, uncertain: bool) -> WorkerError:
        needs = {"TRANSACTIONAL": f"Write on transactional id {self._id}"}
        cause = verdict(error, f"{self._name}: {what}", needs=needs)
        if isinstance(cause, Fenced):
            self.discard()
            return cause
        if error.txn_requires_abort():
            self.abort()
            if error.code() in MOVED:
                return PositionsChanged(f"{self._name}: {what}: {error.name()}; the group has moved the partitions")
            return cause
        self.discard()
        if uncertain:
            self._commit_unknown = True
            return PositionsChanged(f"{self._name}: {what}: {error.name()}; whether it took place is unknown")
        return cause


def _fulfil(answer: Future[object], call: Callable[[], object]) -> None:
    try:
        answer.set_result(call())
    except BaseException as exc:
        answer.set_exception(exc)
