"""Builds one route: its source, its keys, its processor, its sink, its dead letters and the loop over them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from worker import environment
from worker.assembly.context import Context
from worker.assembly.keys import KeyCaches
from worker.assembly.run import RunOptions
from worker.assembly.schemas import output_subject
from worker.avro import SchemaSource
from worker.avro.embedded import EmbeddedSchemas
from worker.config import RouteSettings
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.errors import ConfigError
from worker.kafka.properties import Property
from worker.kafka.statistics import ClientStatistics
from worker.model.receipts import Receipts
from worker.pipeline.amplified import Amplification
from worker.pipeline.batch import BatchProcessor, Steps
from worker.pipeline.deadletter import DeadLetters
from worker.pipeline.files import FileEncryptor
from worker.pipeline.health import RouteHealth
from worker.pipeline.keys import KeyRules, RecordKeys
from worker.pipeline.residency import Residency
from worker.pipeline.runner import RouteRunner
from worker.pipeline.schemas import InputSchemas, SchemaRules
from worker.pipeline.search import SearchTerms
from worker.pipeline.stages import Stages
from worker.pipeline.verify import OutputVerifier
from worker.sink.base import Sink
from worker.sink.dry import DrySink
from worker.sink.kafka import ClusterPin, KafkaDeadLetters, KafkaSink, KafkaSinkOptions, transactional_id
from worker.sink.postgres import PostgresSinkOptions
from worker.source.kafka import KafkaSource
from worker.source.properties import GroupMember
from worker.zerokms.keys import KeyCache

if TYPE_CHECKING:
    from worker.sink.postgres import PostgresSink


class RouteBuilder:
    """
    Builds routes of one region's worker.

    Args:
        context: the worker's.
        connection: what every client of the region's cluster is told, secrets included.
        keys: makes the routes' caches.
        schemas: the schema source.
    """

    def __init__(
        self, context: Context, connection: Mapping[str, Property], keys: KeyCaches, schemas: SchemaSource
    ) -> None:
        self._context, self._settings = context, context.settings
        self._connection = dict(connection)
        self._keys, self._schemas = keys, schemas

    def source(self, route: RouteSettings, run: RunOptions) -> KafkaSource:
        """Build the route's consumer; closed by the loop, or by whoever only asks it."""
        options = route.source
        if run.start is not None:
            options = options.model_copy(update={"start": run.start})
        group = f"{route.group}.dry-run.{os.urandom(4).hex()}" if run.dry_run else route.group
        return KafkaSource(
            options,
            GroupMember(group, self._context.instance),
            self._connection,
            cluster_id=self._settings.kafka.cluster_id,
            bounded=run.is_bounded,
            statistics=ClientStatistics(self._context.metrics, route=route.name, client="source"),
        )

    def sink(self, route: RouteSettings, source: KafkaSource, *, create: bool = False) -> KafkaSink | PostgresSink:
        """Build the route's sink; closed by the loop, or by whoever only asks it."""
        options = route.sink
        if create:
            options = options.model_copy(update={"create": True})
        if options.kind == "kafka":
            return self._kafka_sink(route, options)
        return self._postgres_sink(route, options, source)

    def runner(self, route: RouteSettings, health: RouteHealth, run: RunOptions) -> RouteRunner:
        """Build the route's loop."""
        source = self.source(route, run)
        sink: Sink = DrySink(route.name) if run.dry_run else self.sink(route, source)
        return RouteRunner(
            Stages(source, self.processor(route), sink, self.dead_letters(route), self.receipts(route, run)),
            options=self._settings.delivery,
            health=health,
            metrics=self._context.metrics,
            bounds=run.bounds,
            limit=run.limit,
        )

    def files(self, route: RouteSettings) -> FileEncryptor:
        """Build what encrypts files as the route's records are encrypted."""
        if route.residency is not None and route.residency.foreign == "forward":
            raise ConfigError(f'route {route.name}: foreign = "forward" has no place in a file')
        if route.residency is not None and route.residency.header is not None:
            raise ConfigError(f"route {route.name}: residency by header, and records of a file have no headers")
        known = [version for topic in route.source.topics for version in self._schemas.history(topic)]
        schemas = EmbeddedSchemas(known)
        return FileEncryptor(
            self.processor(route, schemas),
            schemas,
            self.dead_letters(route),
            declaration=self._settings.declaration(route),
            options=self._settings.delivery,
        )

    def receipts(self, route: RouteSettings, run: RunOptions) -> Receipts | None:
        """Return what the authority's audit said, where the route's sink keeps a ledger for it."""
        return self._keys.receipts if route.sink.ledger and not run.dry_run else None

    def dead_letters(self, route: RouteSettings) -> DeadLetters:
        """Build what seals the route's failures."""
        return DeadLetters(
            self._settings.dead_letters,
            self._encryptor(self._keys.encryption(route.name, "dead")),
            route=route.name,
            instance=self._context.instance,
            region=self._settings.region,
        )

    def reader(self, route: RouteSettings, extract: Sequence[str]) -> InputSchemas:
        """Build what reads the route's records and extracts some fields of the root."""
        rules = SchemaRules(self._settings.declaration(route), output_subject(route), topics=route.source.topics)
        return InputSchemas(self._schemas, rules, keys=None, extract=extract)

    def processor(self, route: RouteSettings, schemas: SchemaSource | None = None) -> BatchProcessor:
        """Build what turns the route's records into encrypted ones, by schemas of their own where they have those."""
        settings = self._settings
        own = schemas is not None
        rules = SchemaRules(
            settings.declaration(route),
            output_subject(route),
            accepted=self._accepted,
            opener=self._opener(route),
            topics=() if own else route.source.topics,
        )
        steps = Steps(
            # Records of files have no keys.
            keys=None if own else self.record_keys(route),
            residency=Residency(route.residency, settings.region) if route.residency is not None else None,
            verifier=self._verifier(route),
            terms=None if own else self._search_terms(route),
            amplification=Amplification(settings.delivery.max_record_values, settings.delivery.max_record_bytes),
            seals_erased=route.erased == "dead",
        )
        return BatchProcessor(
            self._schemas if schemas is None else schemas,
            rules,
            self._encryptor(self._keys.encryption(route.name, "encrypt")),
            steps,
            route=route.name,
            metrics=self._context.metrics,
        )

    def record_keys(self, route: RouteSettings) -> RecordKeys:
        """Build what becomes of the route's record keys."""
        rules = KeyRules(route.key, route.key_format, route.sink.key_subject, route.sink.key_columns)
        declaration = self._settings.declaration(route)
        return RecordKeys(rules, self._schemas, declaration, pseudonyms=self._keys.pseudonyms, route=route.name)

    def _search_terms(self, route: RouteSettings) -> SearchTerms | None:
        columns = route.sink.searchable
        if not columns:
            return None
        keyset = self._settings.encryption.keyset
        return SearchTerms(self._keys.index_key, default_keyset=keyset, columns=columns)

    def _encryptor(self, keys: KeyCache) -> BatchEncryptor:
        return BatchEncryptor(keys, default_keyset=self._settings.encryption.keyset)

    def _accepted(self) -> frozenset[UUID]:
        """Return the keysets that the config lists: the default and those that schemas may name."""
        encryption = self._settings.encryption
        return frozenset(self._keys.resolve(name) for name in {encryption.keyset, *encryption.keysets})

    def _opener(self, route: RouteSettings) -> BatchDecryptor | None:
        if route.already_encrypted != "pass" or route.verify == "none":
            return None
        return BatchDecryptor(self._keys.decryption(route.name, "decrypt"))

    def _verifier(self, route: RouteSettings) -> OutputVerifier | None:
        rate = self._settings.delivery.verify
        if not rate:
            return None
        decryptor = BatchDecryptor(self._keys.decryption(route.name, "canary"))
        return OutputVerifier(decryptor, rate=rate, route=route.name, metrics=self._context.metrics)

    def _kafka_sink(self, route: RouteSettings, options: KafkaSinkOptions) -> KafkaSink:
        exactly_once = self._settings.delivery.mode == "exactly-once"
        name = transactional_id(self._settings.region, route.group, self._context.instance)
        return KafkaSink(
            options,
            self._context.sink_route(route),
            self._connection,
            transactional_id=name if exactly_once else None,
            metrics=self._context.metrics,
        )

    def _postgres_sink(self, route: RouteSettings, options: PostgresSinkOptions, source: KafkaSource) -> PostgresSink:
        if route.residency is not None and route.residency.foreign == "forward":
            raise ConfigError(f'route {route.name}: foreign = "forward" needs a Kafka sink')
        # Here, since its client takes a part of every start, and most workers have none of it.
        from worker.sink.postgres import PostgresSink

        pin = ClusterPin(
            self._settings.kafka.cluster_id,
            pin="dead_letter_cluster",
            name=f"route {route.name}, dead letters",
            connection=self._connection,
            metrics=self._context.metrics,
        )
        letters = KafkaDeadLetters(
            self._connection,
            route=route.name,
            source_topics=route.source.topics,
            create=options.create,
            pin=pin,
        )
        return PostgresSink(
            options,
            self._context.sink_route(route),
            dsn=environment.require(self._context.environ, options.dsn_env, f"route {route.name}: the database"),
            topic_ids=source.topic_id,
            metrics=self._context.metrics,
            dead_letters=letters,
        )
