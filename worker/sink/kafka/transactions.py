"""A producer whose batches are transactions."""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from worker.errors import Fenced, PositionsChanged, SinkUnavailable, TransactionExpired, WorkerError
from worker.kafka.properties import Property
from worker.kafka.verdict import FENCED, MOVED, error_of, write_error
from worker.sink.kafka.deliveries import Deliveries
from worker.sink.kafka.message import Message
from worker.sink.kafka.producer import BatchProducer
from worker.sink.kafka.tenure import Tenure

# Long enough that a live broker answers, short enough that a dead one does not hold a drain up.
_ABORT_S = 10.0
# What a call gets beyond its own timeout before it counts as one that ignores it.
_LATE_S = 5.0
# What it gets where the client has lost a connection: a coordinator that is there answers within milliseconds.
_LOST_S, _GLANCE_S = 0.5, 0.1


class Ownership(NamedTuple):
    """
    A transactional id, stable over restarts, a transaction's timeout at the brokers in seconds, and a topic; and what
    tells whether another one took the id while this one was at rest.
    """

    transactional_id: str
    expires_s: float
    topic: str
    tenure: Tenure | None = None


class TransactionalProducer(BatchProducer):
    """
    One transaction a batch.

    Fencing is final, unless the transaction had outlived its timeout: then the brokers themselves have ended it. An
    abortable error aborts; a commit whose fate is unknown throws the client away, because opening
    the next one under the same transactional id settles it.

    Args:
        ownership: under which name, and for how long.
        ended: told of each transaction's end: committed, aborted, unknown or fenced.
    """

    def __init__(
        self,
        properties: Callable[[], Mapping[str, Property]],
        ownership: Ownership,
        *,
        name: str,
        timeout_s: float,
        statistics: Callable[[str], None] | None = None,
        ended: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        super().__init__(properties, name=name, topic=ownership.topic, timeout_s=timeout_s, statistics=statistics)
        self._id, self._expires_s = ownership.transactional_id, ownership.expires_s
        self._tenure, self._ended = ownership.tenure, ended
        self._began_at = 0.0
        self._in_transaction = False
        self._commit_unknown = False

    def open(self) -> Producer:
        """Return the client with its transactional id taken, which fences every older owner of it."""
        if self._producer is None:
            producer = super().open()
            self._resume()
            self._settle(lambda: producer.init_transactions(self._timeout_s), "taking the transactional id")
            self._in_transaction = self._commit_unknown = self._has_lost = False
        assert self._producer is not None
        return self._producer

    def begin(self) -> None:
        """
        Begin a transaction, aborting one that was left open.

        A client that has lost a broker meanwhile is thrown away: where that was its group's coordinator and is none
        of the brokers any more, it waits for it for ever (librdkafka issues 5456 and 5511).
        """
        self.abort()
        if self._producer is not None:
            self._served(self._producer.poll, 0)
            if self._has_lost:
                self.discard()
        super().begin()
        producer = self.open()
        self._began_at = _now()
        self._settle(producer.begin_transaction, "beginning a transaction")
        self._in_transaction = True

    def send(self, messages: Iterable[Message]) -> None:
        """Hand messages over; raises as `BatchProducer.send`, and `TransactionExpired`."""
        with self._judging():
            super().send(messages)

    def flush(self) -> None:
        """Wait until every message is acknowledged; raises as `BatchProducer.flush`, and `TransactionExpired`."""
        with self._judging():
            super().flush()

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
        self._ended("committed")

    def abort(self) -> None:
        """
        Abort an open transaction; raises `Fenced`. Any other failure leaves the abort to the next opening.

        A client with messages of unknown fate is thrown away too: after a broker's death its sequence numbers may
        differ from the broker's, and every later transaction would fail on them.
        """
        unsettled = self._batch.is_unsettled()
        self._batch, self._rest = Deliveries(), None
        if not self._in_transaction or self._producer is None:
            return
        self._in_transaction = False
        self._ended("aborted")
        try:
            self._producer.abort_transaction(_ABORT_S)
        except KafkaException as exc:
            unsettled = True
            if error_of(exc).code() in FENCED:
                raise self._judged(write_error(error_of(exc), f"{self._name}: aborting")) from exc
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

    def rest(self) -> None:
        """Let the client go until the next `open`, which raises `Fenced` where another process has the id by then."""
        if self._producer is not None and self._tenure is not None:
            self._tenure.leave()
        self.discard()

    def _resume(self) -> None:
        if self._tenure is not None:
            try:
                self._tenure.resume(self._name)
            except Fenced:
                self.discard()
                raise

    def discard(self) -> None:
        """Throw the client away with its transaction, which the next opening or the broker aborts."""
        self._in_transaction = False
        super().discard()

    @contextlib.contextmanager
    def _judging(self) -> Iterator[None]:
        try:
            yield
        except Fenced as exc:
            raise self._judged(exc) from exc

    def _judged(self, fenced: WorkerError) -> WorkerError:
        """Tell a newer owner from brokers that gave the transaction up; both look alike to the client."""
        age_s = _now() - self._began_at
        self.discard()
        if age_s < self._expires_s:
            self._ended("fenced")
            return fenced
        self._ended("aborted")
        return TransactionExpired(
            f"{self._name}: a transaction of {age_s:.0f} s outlived its timeout of {self._expires_s:.0f} s, and the "
            "brokers have ended it; nothing of it is visible"
        )

    def _bounded(self, call: Callable[[], object], what: str) -> None:
        """
        Run a call that may ignore its own timeout, and does where it waits for a broker that is gone (issue 5456).

        Its client is then left to it; the next one, under the same transactional id, fences that and aborts.
        """
        answer: Future[object] = Future()
        bound = contextvars.copy_context()
        threading.Thread(target=bound.run, args=(_fulfil, answer, call), name="transaction", daemon=True).start()
        began, producer = time.monotonic(), self.open()
        while not wait([answer], _GLANCE_S).done:
            with contextlib.suppress(WorkerError):
                self._served(producer.poll, 0)
            if time.monotonic() - began > (_LOST_S if self._has_lost else self._timeout_s + _LATE_S):
                self._in_transaction, self._producer = False, None
                raise SinkUnavailable(f"{self._name}: {what}: no answer in time; another client takes over")
        answer.result()

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
        cause = write_error(error, f"{self._name}: {what}", needs=needs)
        if isinstance(cause, Fenced):
            return self._judged(cause)
        if error.txn_requires_abort():
            self.abort()
            if error.code() in MOVED:
                return PositionsChanged(f"{self._name}: {what}: {error.name()}; the group has moved the partitions")
            return cause
        self.discard()
        if uncertain:
            self._commit_unknown = True
            self._ended("unknown")
            return PositionsChanged(f"{self._name}: {what}: {error.name()}; whether it took place is unknown")
        return cause


def transactional_id(region: str, group: str, instance: str) -> str:
    """
    Return the name that a route's producer takes at the brokers: `worker.<region>.<group>.<instance>.0`.

    A dot within group or instance is `%2E`, a percent sign `%25`: no two pairs of them have one name.
    """
    parts = (part.replace("%", "%25").replace(".", "%2E") for part in (group, instance))
    return ".".join(("worker", region, *parts, "0"))


def _now() -> float:
    """Seconds that go on while the machine sleeps, as they do for the brokers."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _fulfil(answer: Future[object], call: Callable[[], object]) -> None:
    try:
        answer.set_result(call())
    except BaseException as exc:
        answer.set_exception(exc)
