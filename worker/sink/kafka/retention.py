"""The ledger's topic as its keeper sees it: chains followed, and their starts removed behind a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from worker.kafka.clients import make_admin
from worker.kafka.properties import Property, client_properties
from worker.kafka.verdict import error_of, write_error
from worker.kafka.whole import read_batches
from worker.model import SourceRecord, records_of
from worker.sink.checkpoint import ChainReport, Checkpoint, Follower, KeyOf, Told, ignored, parse_checkpoint
from worker.sink.kafka.producer import BatchProducer
from worker.sink.ledger import parse

_REQUEST_S = 30.0


@dataclass(slots=True)
class LedgerTopic:
    """
    One region's ledger topic.

    Args:
        topic: its name.
        connection: the cluster's properties, secrets included.
        cluster_id: the cluster that it must be; None takes any.
        key_of: gives the index keys under which checkpoints are signed.
    """

    topic: str
    connection: Mapping[str, Property]
    cluster_id: str | None
    key_of: KeyOf = field(repr=False)

    def verify(self, told: Told = ignored) -> Iterator[ChainReport]:
        """
        Follow every chain to its end.

        Args:
            told: each receipt of the authority's audit.

        Raises:
            FatalError: an entry is altered, missing or out of order, or a checkpoint is not this region's.
            ConfigError: there is no such topic, or a right is missing.
            SourceUnavailable: the brokers do not answer.
        """
        kept, _ = self._survey()
        for follower in self._follow(kept, told=told).values():
            yield follower.report()

    def trim(self, before: datetime, keyset: UUID) -> Iterator[ChainReport]:
        """
        Remove all entries from before a time, once every chain verifies; a signed checkpoint is durable before.

        Args:
            before: each partition is cut at its first message from then or later.
            keyset: whose index key signs.

        Raises:
            FatalError, ConfigError, SourceUnavailable: as `verify`; nothing is removed then.
            SinkUnavailable: the brokers do not answer.
        """
        kept, cuts = self._survey(int(before.timestamp() * 1000))
        # All of it first: what does not verify is not cut short.
        self._follow(kept)
        followers = self._follow(kept, cuts)
        self._write([f.checkpoint(keyset, self.key_of) for f in followers.values()])
        self._remove(cuts)
        yield from self.verify()

    def _follow(
        self, kept: Mapping[str, Checkpoint], cuts: Mapping[int, int] | None = None, told: Told = ignored
    ) -> dict[str, Follower]:
        """Follow the chains that begin before the cuts, up to them; None follows all to their ends."""
        followers: dict[str, Follower] = {}
        for record in self._records(cuts):
            document = record.value or b""
            if (found := parse_checkpoint(document)) is not None:
                followers.setdefault(found.chain, Follower(found.chain, kept[found.chain], told))
                continue
            link = parse(document)
            chain = str(link.fields["chain"])
            followers.setdefault(chain, Follower(chain, kept.get(chain), told)).take([link])
        return followers

    def _survey(self, before_ms: int = 0) -> tuple[dict[str, Checkpoint], dict[int, int]]:
        """Return each chain's newest checkpoint, and before which offset each partition's old messages end."""
        kept: dict[str, Checkpoint] = {}
        cuts: dict[int, int] = {}
        closed: set[int] = set()
        for record in self._records():
            at = record.position
            if record.timestamp_ms >= before_ms:
                closed.add(at.partition)
            if at.partition not in closed:
                cuts[at.partition] = at.offset + 1
            found = parse_checkpoint(record.value or b"")
            if found is None:
                continue
            if found.chain not in kept or found.head.sequence >= kept[found.chain].head.sequence:
                found.check(self.key_of)
                kept[found.chain] = found
        return kept, cuts

    def _records(self, cuts: Mapping[int, int] | None = None) -> Iterator[SourceRecord]:
        for batch in read_batches(self.topic, self.connection, cluster_id=self.cluster_id):
            for record in records_of(batch):
                at = record.position
                if cuts is None or at.offset < cuts.get(at.partition, 0):
                    yield record

    def _write(self, checkpoints: list[Checkpoint]) -> None:
        owned: dict[str, Property] = {"enable.idempotence": True, "acks": "all"}
        properties = client_properties(self.connection, defaults={}, owned=owned)
        producer = BatchProducer(lambda: properties, name=f"checkpoints of {self.topic}", timeout_s=_REQUEST_S)
        producer.begin()
        try:
            producer.send((self.topic, kept.as_json(), kept.chain.encode(), -1, 0, None) for kept in checkpoints)
            producer.flush()
        finally:
            producer.discard()

    def _remove(self, cuts: Mapping[int, int]) -> None:
        admin = make_admin(dict(self.connection))
        wanted = [KafkaPartition(self.topic, partition, offset) for partition, offset in cuts.items()]
        try:
            for future in admin.delete_records(wanted, request_timeout=_REQUEST_S).values() if wanted else ():
                future.result(_REQUEST_S)
        except KafkaException as exc:
            needs = {"TOPIC": f"Delete on topic {self.topic}"}
            raise write_error(error_of(exc), f"removing records of {self.topic}", needs=needs) from None
