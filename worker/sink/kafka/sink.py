"""The Kafka sink."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from confluent_kafka import TopicPartition as KafkaTopicPartition

from worker.errors import ConfigError, PositionsChanged, SinkRejected
from worker.finding import Finding
from worker.kafka.properties import Property, client_properties
from worker.kafka.statistics import ClientStatistics
from worker.kafka.topics import TopicFacts, Topics
from worker.metrics import Metrics
from worker.model import Header, Output, Run, SinkRecord, TopicPartition
from worker.native.batch import NativeOutput
from worker.sink.base import DeadLetter, LedgerRow, OffsetRange, Positions, SinkRoute
from worker.sink.kafka.checks import check_shape, create_missing, warn
from worker.sink.kafka.deadletters import PRODUCER_DEFAULTS, letter_messages
from worker.sink.kafka.message import Message, sent_ms
from worker.sink.kafka.options import KafkaSinkOptions, header_policy
from worker.sink.kafka.pin import ClusterPin
from worker.sink.kafka.producer import BatchProducer
from worker.sink.kafka.tenure import Tenure
from worker.sink.kafka.topics import missing_topic
from worker.sink.kafka.transactions import Ownership, TransactionalProducer
from worker.sink.ledger import Chain
from worker.topic_names import dead_topic

# A batch of one record is this much larger than key, value and headers: batch header 61, record framing up to 40.
_FRAMING_BYTES = 128
_BATCH_BYTES = 1_000_000


class KafkaSink:
    """
    Writes records, dead letters and ledger entries; with a transactional id all of them and the offsets in one
    transaction, without one at least once.

    Args:
        options: the route's sink.
        route: whom it serves; its cluster's pin is looked at whenever a producer is opened.
        connection: what `worker.kafka.properties.connection_properties` returned.
        transactional_id: `worker.<region>.<group>.<instance>.<process>`, None for at-least-once.
        metrics: where the cluster's pin, transactions and librdkafka's statistics are told.
    """

    def __init__(
        self,
        options: KafkaSinkOptions,
        route: SinkRoute,
        connection: Mapping[str, Property],
        *,
        transactional_id: str | None,
        metrics: Metrics,
    ) -> None:
        self._options = options
        self._connection = dict(connection)
        self._name = f"route {route.name}"
        self._transactional_id = transactional_id
        self._source_topics = tuple(route.topics)
        self._pin = ClusterPin(
            route.cluster_id or None, pin="sink_cluster", name=self._name, connection=connection, metrics=metrics
        )
        self.ledger_topic = f"worker.ledger.{route.region}"
        self._headers = header_policy(options)
        self._limit = 0
        self._facts: dict[str, TopicFacts] = {}
        self._admin: Topics | None = None
        self._chain = Chain()
        self._transactions: TransactionalProducer | None = None
        statistics = ClientStatistics(metrics, route=route.name, client="sink")
        if transactional_id is None:
            self._producer = BatchProducer(
                self._opening, name=self._name, topic=options.topic, timeout_s=options.timeout_s, statistics=statistics
            )
        else:
            tenure = Tenure(transactional_id, connection)
            self._transactions = TransactionalProducer(
                self._opening,
                Ownership(transactional_id, options.transaction_timeout_s, options.topic, tenure),
                name=self._name,
                timeout_s=options.timeout_s,
                statistics=statistics,
                ended=lambda outcome: metrics.inc("worker_transactions_total", route=route.name, outcome=outcome),
            )
            self._producer = self._transactions

    @property
    def owns_positions(self) -> bool:
        """Positions are the consumer group's."""
        return False

    def check(self) -> None:
        """
        Verify topics, sizes, the cluster's pin and the client's properties; create what may be created.

        Takes no transactional id, so that a check beside a running worker does not fence it.

        Raises:
            ConfigError: a topic is missing, too small or has another number of partitions.
            RegionViolation: the cluster is not the pinned one.
        """
        topics = self._topics()
        facts = create_missing(topics, self._describe(topics), self._options, self._source_topics, self.ledger_topic)
        check_shape(facts, self._options, self._source_topics)
        warn(facts, self._options, self._source_topics)
        self._producer.validate()

    def findings(self) -> list[Finding]:
        """Return what an operator should know of the topics without it stopping the worker; asks the brokers."""
        told = warn(self._describe(self._topics()), self._options, self._source_topics)
        return [Finding("sink topic", "warning", found=text) for text in told]

    @property
    def tables(self) -> None:
        """Topics are no tables."""
        return None

    def positions(self, partitions: Mapping[TopicPartition, int | None]) -> Positions:
        """Return the given positions: the group's own are the truth."""
        return Positions({place: start for place, start in partitions.items() if start is not None})

    def stored(self, _partitions: Collection[TopicPartition]) -> None:
        """Return None: the group has the positions."""

    def begin(self) -> None:
        """Start a batch, or its transaction; raises `RegionViolation` where another cluster answers by now."""
        self._producer.begin()
        self._pin.confirm(self._producer, self._options.topic)

    def write(self, output: Output) -> None:
        """
        Hand records over in order.

        Raises:
            SinkRejected: records are larger than the topic takes; none of this call was handed over.
        """
        self._refuse_too_large(output)
        if not self._send_native(output):
            self._producer.send(self._messages(output))

    @property
    def keeps_letters(self) -> bool:
        """Outside a transaction an acknowledged letter stays."""
        return self._transactions is None

    def write_dead(self, letters: Sequence[DeadLetter]) -> None:
        """Hand dead letters over: in the batch's transaction, or, where there is none, to the end."""
        if letters:
            self._producer.send(letter_messages(letters))
            if self._transactions is None:
                self._producer.flush()

    def flush(self) -> None:
        """Wait until every message is acknowledged; raises `SinkUnavailable` if one was not, or `Fenced`."""
        self._producer.flush()

    def commit(
        self,
        offsets: Mapping[TopicPartition, OffsetRange],
        ledger: Sequence[LedgerRow],
        group_metadata: object | None,
    ) -> None:
        """
        Write the ledger, and with a transactional id the offsets too, and make the batch visible.

        Raises:
            SinkUnavailable: nothing became visible (exactly-once), or the ledger was not acknowledged.
            PositionsChanged: the group has moved the partitions, or the commit's fate is unknown.
        """
        if offsets and self._transactions is not None and group_metadata is None:
            raise ConfigError(f"{self._name}: a transaction with offsets needs the consumer's group metadata")
        entries = self._chain.link(ledger) if self._options.ledger else []
        try:
            if entries:
                chain = self._chain.name.encode()
                self._producer.send((self.ledger_topic, e.as_json(), chain, -1, 0, None) for e in entries)
                self._producer.flush()
            if self._transactions is not None:
                moved = [
                    KafkaTopicPartition(tp.topic, tp.partition, done.next, done.metadata)
                    for tp, done in offsets.items()
                ]
                self._transactions.commit(moved, group_metadata)
        except BaseException as exc:
            # Of an aborted transaction nothing is visible; of anything else some or all of it may be.
            if entries and (self._transactions is None or isinstance(exc, PositionsChanged)):
                self._chain.doubt()
            raise
        self._chain.kept(entries)

    def abort(self) -> None:
        """Abort the transaction, or learn the fate of its commit; without one, forget what is not acknowledged."""
        self._producer.abort()
        if self._transactions is not None:
            self._transactions.settle()

    def rest(self) -> None:
        """Let the producer go, with its threads and connections; what takes its name meanwhile keeps it."""
        self._producer.rest()

    def close(self) -> None:
        """Abort what is open and release the connection."""
        try:
            self._producer.abort()
        finally:
            self._producer.discard()

    def _send_native(self, output: Output) -> bool:
        """Hand an output in native memory over as it is, where it has one topic."""
        if not isinstance(output, NativeOutput) or output.topics:
            return False
        by_key = self._options.partitioning == "key"
        return self._producer.send_native(self._options.topic, output, self._headers.native, by_key=by_key)

    def _refuse_too_large(self, output: Output) -> None:
        limit = self._limit or _BATCH_BYTES
        # Nearly no value is half as large as its topic takes: only beside those it matters what else a record holds.
        if output.largest * 2 <= limit:
            return
        records = (output.record(i) for i, value in enumerate(output.values) if len(value or b"") * 2 > limit)
        too_large = [r.position for r in records if _size(r) > limit]
        if too_large:
            raise SinkRejected(
                f"{self._name}: {len(too_large)} records exceed what topic {self._options.topic} takes, {limit} bytes; "
                "raise its max.message.bytes",
                positions=too_large,
            )

    def _messages(self, output: Output) -> Iterator[Message]:
        topic, by_key, topics = self._options.topic, self._options.partitioning == "key", output.topics
        for run in output.runs:
            span = slice(run.start, run.stop)
            place = -1 if by_key else run.partition
            columns = zip(output.values[span], output.keys[span], output.stamps[span], strict=True)
            for i, headers, (value, key, (kind, at_ms)) in zip(
                range(run.start, run.stop), self._headers_of(output, run), columns, strict=True
            ):
                stamp = sent_ms(kind, at_ms)
                if topics and i in topics:
                    yield topics[i], value, key, -1, stamp, headers
                else:
                    yield topic, value, key, place, stamp, headers

    def _headers_of(self, output: Output, run: Run) -> Sequence[list[Header] | None]:
        given = output.headers
        count = run.stop - run.start
        if given is None and not self._options.source_header:
            return [None] * count
        headers = [()] * count if given is None else given[run.start : run.stop]
        place, choose = run.place, self._headers
        return [choose(h, place, o) for h, o in zip(headers, output.offsets[run.start : run.stop], strict=True)]

    def _topics(self) -> Topics:
        if self._admin is None:
            self._admin = Topics(self._connection, name=self._name, timeout_s=min(30.0, self._options.timeout_s))
        return self._admin

    def _describe(self, topics: Topics) -> dict[str, TopicFacts]:
        dead = [dead_topic(name) for name in self._source_topics]
        wanted = [self._options.topic, self.ledger_topic, *self._source_topics, *dead]
        cluster_id, facts = topics.describe(wanted)
        self._pin.compare(cluster_id)
        return facts

    def _opening(self) -> dict[str, Property]:
        """
        Return a new producer's properties, sized after the topics as they are now.

        Where a broker was lost they are as they were: the question might go to that one, and wait for it.
        """
        if not (self._facts and self._producer.has_lost):
            self._facts = self._describe(self._topics())
        facts = self._facts
        if self._options.topic not in facts:
            raise missing_topic(self._options.topic)
        written = [f.max_message_bytes for name, f in facts.items() if name not in self._source_topics]
        self._limit = facts[self._options.topic].max_message_bytes - _FRAMING_BYTES
        owned: dict[str, Property] = {
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "message.timeout.ms": int(self._options.timeout_s * 1000),
        }
        if self._transactional_id is not None:
            transaction_s = self._options.transaction_timeout_s
            owned["transactional.id"] = self._transactional_id
            owned["transaction.timeout.ms"] = int(transaction_s * 1000)
            owned["message.timeout.ms"] = int(min(self._options.timeout_s, transaction_s) * 1000)
        # librdkafka does not split a batch that the broker calls too large: no batch may outgrow the smallest topic.
        sizes: dict[str, Property] = {"message.max.bytes": max(written), "batch.size": min(_BATCH_BYTES, *written)}
        return client_properties(self._connection, defaults={**PRODUCER_DEFAULTS, **sizes}, owned=owned)


def _size(record: SinkRecord) -> int:
    headers = sum(len(name) + len(value or b"") + 10 for name, value in record.headers)
    return len(record.value or b"") + len(record.key or b"") + headers
