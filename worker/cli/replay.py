"""Dead letters on their way back: through their route, or into their source topic byte for byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from worker.assembly.routes import RouteBuilder
from worker.assembly.run import RunOptions
from worker.config import RouteSettings
from worker.errors import PositionsChanged, SinkRejected
from worker.kafka.properties import Property, client_properties
from worker.model import SourceRecord, batch_of
from worker.model.receipts import Receipts
from worker.pipeline.amplified import Oversized
from worker.pipeline.batch import BatchProcessor
from worker.pipeline.job import Failure
from worker.pipeline.ledger import receipted
from worker.sink.base import Sink
from worker.sink.kafka import ClusterPin
from worker.sink.kafka.message import Message, sent_ms
from worker.sink.kafka.producer import BatchProducer

REPLAYED_HEADER = "worker-replayed"
# librdkafka's largest: the broker that took the record once is the one to judge its size.
_LARGEST_BYTES = 1_000_000_000


class ThroughRoute:
    """
    Puts records through a route again: each batch is one transaction of the sink, without positions.

    Args:
        processor: the route's.
        sink: the route's; its positions are not touched.
        receipts: what the authority's audit said, for the sink's ledger.
    """

    def __init__(self, processor: BatchProcessor, sink: Sink, receipts: Receipts | None) -> None:
        self._processor, self._sink, self._receipts = processor, sink, receipts

    def put(self, records: Sequence[SourceRecord]) -> list[Failure]:
        """Write what can be written, and return what fails again; raises `TransientError` or `FatalError`."""
        try:
            result = self._processor.process(batch_of(records))
        except Oversized:
            return self._in_halves(records)
        if not len(result.output):
            return result.failures
        self._sink.begin()
        try:
            try:
                self._sink.write(result.output)
                self._sink.flush()
            except (SinkRejected, PositionsChanged) as exc:
                # Replayed records lie below the table's position by nature: that says nothing here.
                self._sink.abort()
                return self._without(records, exc)
            with receipted(result.ledger, self._receipts) as ledger:
                self._sink.commit({}, ledger, None)
        except BaseException:
            self._sink.abort()
            raise
        return result.failures

    def _without(self, records: Sequence[SourceRecord], error: SinkRejected | PositionsChanged) -> list[Failure]:
        """Go on without the refused records, which are found by halving where the sink can't name them."""
        refused = set(error.positions) if isinstance(error, SinkRejected) else set()
        if len(records) == 1 or refused:
            known = refused or {records[0].position}
            failures = [Failure(r, SinkRejected(str(error)), "sink") for r in records if r.position in known]
            rest = [r for r in records if r.position not in known]
            return failures + (self.put(rest) if rest else [])
        return self._in_halves(records)

    def _in_halves(self, records: Sequence[SourceRecord]) -> list[Failure]:
        middle = len(records) // 2
        return self.put(records[:middle]) + self.put(records[middle:])


@contextmanager
def through_route(builder: RouteBuilder, route: RouteSettings) -> Iterator[ThroughRoute]:
    """Open a route's sink for a replay."""
    run = RunOptions()
    source = builder.source(route, run)
    try:
        sink: Sink = builder.sink(route, source)
        try:
            yield ThroughRoute(builder.processor(route), sink, builder.receipts(route, run))
        finally:
            sink.close()
    finally:
        source.close()


def to_source(connection: Mapping[str, Property], records: Sequence[SourceRecord], pin: ClusterPin) -> None:
    """
    Produce records as they were: partition, key, value, headers, timestamp, and a header that says where they were.

    They are in the clear, so the cluster is confirmed over the very connections that take them.

    Raises:
        RegionViolation: the connections lead to another cluster now; nothing was written.
        SinkUnavailable: the broker did not acknowledge every record; some may have been written.
        FatalError, ConfigError: it refuses them.
    """
    # The brokers judge whole batches, and some of these records may be as large as their topic takes.
    sizes: dict[str, Property] = {"message.max.bytes": _LARGEST_BYTES, "batch.num.messages": 1}
    owned: dict[str, Property] = {"enable.idempotence": True, "acks": "all"}
    properties = client_properties(connection, defaults=sizes, owned=owned)
    producer = BatchProducer(lambda: properties, name="replay to the source", timeout_s=60)
    producer.begin()
    try:
        for topic in dict.fromkeys(record.position.topic for record in records):
            pin.confirm(producer, topic)
        producer.send(map(_message, records))
        producer.flush()
    finally:
        producer.discard()


def _message(record: SourceRecord) -> Message:
    at = record.position
    headers = [*record.headers, (REPLAYED_HEADER, str(at).encode())]
    return (
        at.topic,
        record.value,
        record.key,
        at.partition,
        sent_ms(record.timestamp_type, record.timestamp_ms),
        headers,
    )
