"""Builds one route: its source, its keys, its processor, its sink, its dead letters and the loop over them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from worker import environment
from worker.assembly.schemas import output_subject
from worker.avro import SchemaSource
from worker.avro.embedded import EmbeddedSchemas
from worker.config import KafkaSettings, RouteSettings, Settings
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.encryption.pseudonym import Pseudonyms
from worker.errors import ConfigError
from worker.kafka.oauth import OauthTokens
from worker.kafka.properties import Property, connection_properties, operators
from worker.kafka.statistics import ClientStatistics
from worker.metrics import Metrics
from worker.model import Audit, KeyService
from worker.pipeline.batch import BatchProcessor
from worker.pipeline.deadletter import DeadLetters
from worker.pipeline.files import FileEncryptor
from worker.pipeline.health import RouteHealth
from worker.pipeline.keys import RecordKeys
from worker.pipeline.residency import Residency
from worker.pipeline.runner import Bounds, RouteRunner
from worker.pipeline.verify import OutputVerifier
from worker.sink.base import Sink
from worker.sink.dry import DrySink
from worker.sink.kafka import ClusterPin, KafkaDeadLetters, KafkaSink, KafkaSinkOptions
from worker.sink.postgres import PostgresSink, PostgresSinkOptions
from worker.source.kafka import KafkaSource
from worker.zerokms.keys import IndexKeys, KeyCache, KeyOptions, RetrievedKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """
    How far one run goes: for ever, to the present end, between two times, or a number of records.

    `hold` is for one of several processes: at the end it stays until it is told to stop.
    """

    dry_run: bool = False
    limit: int | None = None
    start: datetime | None = None
    end: datetime | None = None
    until_end: bool = False
    hold: bool = False

    @property
    def is_bounded(self) -> bool:
        """Whether the run ends by itself."""
        return self.until_end or self.end is not None

    def holding(self) -> RunOptions:
        """Return the same for a process that stays at the end until it is told to stop."""
        return replace(self, hold=True)

    @property
    def bounds(self) -> Bounds | None:
        """The end, where there is one."""
        if not self.is_bounded:
            return None
        until_ms = int(self.end.timestamp() * 1000) if self.end is not None else None
        return Bounds(until_ms=until_ms, hold=self.hold)


def kafka_connection(settings: KafkaSettings, environ: Mapping[str, str]) -> dict[str, Property]:
    """
    Return what every client of the region's cluster is told, secrets and the supply of access tokens included.

    Raises:
        ConfigError: a property, a secret or the first token can't be used.
        SourceUnavailable: the command that gives tokens fails.
    """
    secrets = {
        name: environment.require(environ, variable, f"[kafka] secrets: {name}")
        for name, variable in settings.secrets.items()
    }
    tokens = OauthTokens(settings.oauth) if settings.oauth is not None else None
    if tokens is not None:
        tokens.read()
    return connection_properties(settings.bootstrap, {**settings.properties, **secrets}, tokens=tokens)


class RouteBuilder:
    """
    Builds routes of one region's worker; every object made is closed by `close`.

    Args:
        settings: the region's.
        environ: where secrets are.
        instance: the worker's stable name.
        connection: what every client of the region's cluster is told, secrets included.
        service: the key service, resilient.
        schemas: the schema source.
        metrics: the worker's.
        resolve: a keyset's name, uuid text or None (the client's own) -> its uuid.
        index_keys: keysets with their index keys, for pseudonyms.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        *,
        instance: str,
        connection: Mapping[str, Property],
        service: KeyService,
        schemas: SchemaSource,
        metrics: Metrics,
        resolve: Callable[[str | None], UUID],
        index_keys: IndexKeys,
    ) -> None:
        self._index_keys = index_keys
        self._pseudonyms: dict[UUID, Pseudonyms] = {}
        self._resolve = resolve
        self._settings, self._environ, self._instance = settings, environ, instance
        self.connection = dict(connection)
        self.service, self._schemas, self._metrics = service, schemas, metrics
        self._caches: list[KeyCache] = []
        self._stack = ExitStack()

    def source(self, route: RouteSettings, run: RunOptions) -> KafkaSource:
        """Build the route's consumer; closed by the loop, or by whoever only asks it."""
        options = route.source
        if run.start is not None:
            options = options.model_copy(update={"start": run.start})
        group = f"{route.group}.dry-run.{os.urandom(4).hex()}" if run.dry_run else route.group
        return KafkaSource(
            options,
            bootstrap=self._settings.kafka.bootstrap,
            group=group,
            instance=self._instance,
            properties=self.properties,
            cluster_id=self._settings.kafka.cluster_id,
            bounded=run.is_bounded,
            statistics=ClientStatistics(self._metrics, route=route.name, client="source"),
        )

    def sink(self, route: RouteSettings, source: KafkaSource, *, create: bool = False) -> KafkaSink | PostgresSink:
        """Build the route's sink; closed by the loop, or by whoever only asks it."""
        options = route.sink
        if create:
            options = options.model_copy(update={"create": True})
        if isinstance(options, KafkaSinkOptions):
            return self._kafka_sink(route, options)
        return self._postgres_sink(route, options, source, create=create)

    def runner(self, route: RouteSettings, health: RouteHealth, run: RunOptions) -> RouteRunner:
        """Build the route's loop."""
        source = self.source(route, run)
        sink: Sink = DrySink(route.name) if run.dry_run else self.sink(route, source)
        return RouteRunner(
            source,
            self.processor(route),
            sink,
            self.dead_letters(route),
            options=self._settings.delivery,
            health=health,
            metrics=self._metrics,
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

    def dead_letters(self, route: RouteSettings) -> DeadLetters:
        """Build what seals the route's failures."""
        return DeadLetters(
            self._settings.dead_letters,
            BatchEncryptor(self._keys(route, "dead"), default_keyset=self._default_keyset),
            route=route.name,
            instance=self._instance,
            region=self._settings.region,
        )

    def processor(self, route: RouteSettings, schemas: SchemaSource | None = None) -> BatchProcessor:
        """Build what turns the route's records into encrypted ones, by schemas of their own where they have those."""
        settings = self._settings
        declaration = settings.declaration(route)
        return BatchProcessor(
            route=route.name,
            schemas=self._schemas if schemas is None else schemas,
            declaration=declaration,
            encryptor=BatchEncryptor(self._keys(route, "encrypt"), default_keyset=self._default_keyset),
            metrics=self._metrics,
            subject=output_subject(route),
            rows=schemas is None and isinstance(route.sink, PostgresSinkOptions),
            residency=Residency(route.residency, settings.region) if route.residency is not None else None,
            # Records of files have no keys.
            keys=self.keys(route) if schemas is None else None,
            verifier=self._verifier(route),
            accepted=self._accepted,
        )

    def keys(self, route: RouteSettings) -> RecordKeys:
        """Build what becomes of the route's record keys."""
        return RecordKeys(
            route=route.name,
            schemas=self._schemas,
            declaration=self._settings.declaration(route),
            policy=route.key,
            form=route.key_format,
            pseudonyms=self._pseudonyms_of,
            subject=None if isinstance(route.sink, PostgresSinkOptions) else f"{route.sink.topic}-key",
            columns=route.sink.key_columns if isinstance(route.sink, PostgresSinkOptions) else None,
        )

    def rotate(self) -> None:
        """Drop every key held: pools and leases are filled anew."""
        self._index_keys.forget()
        for cache in self._caches:
            cache.rotate()

    def close(self) -> None:
        """Wipe and close all keys; safe to call twice."""
        self._stack.close()

    @property
    def key_options(self) -> KeyOptions:
        """The bounds of the key caches."""
        return self._settings.keys

    @property
    def properties(self) -> dict[str, Property]:
        """The operator's librdkafka properties with their secrets."""
        return operators(self.connection)

    @property
    def _default_keyset(self) -> str | None:
        return self._settings.encryption.keyset

    def _accepted(self) -> frozenset[UUID]:
        """Return the keysets that the config lists: the default and those that schemas may name."""
        encryption = self._settings.encryption
        return frozenset(self._resolve(name) for name in {encryption.keyset, *encryption.keysets})

    def _pseudonyms_of(self, keyset: str | None) -> Pseudonyms:
        loaded = self._index_keys.get(keyset)
        if loaded.id not in self._pseudonyms:
            self._pseudonyms[loaded.id] = Pseudonyms(loaded.id, loaded.index_key)
        return self._pseudonyms[loaded.id]

    def _keys(self, route: RouteSettings, purpose: str) -> KeyCache:
        audit = Audit(self._instance, route.name, "dead" if purpose == "dead" else "encrypt")
        cache = KeyCache(self.service, options=self._settings.keys, audit=audit, metrics=self._metrics)
        self._caches.append(cache)
        self._stack.callback(cache.close)
        return cache

    def _verifier(self, route: RouteSettings) -> OutputVerifier | None:
        rate = self._settings.delivery.verify
        if not rate:
            return None
        audit = Audit(self._instance, route.name, "canary")
        keys = RetrievedKeys(self.service, options=self._settings.keys, audit=audit, metrics=self._metrics)
        self._stack.callback(keys.close)
        return OutputVerifier(BatchDecryptor(keys), rate=rate, route=route.name, metrics=self._metrics)

    def _kafka_sink(self, route: RouteSettings, options: KafkaSinkOptions) -> KafkaSink:
        exactly_once = self._settings.delivery.mode == "exactly-once"
        transactional_id = f"worker.{self._settings.region}.{route.group}.{self._instance}.0"
        return KafkaSink(
            options,
            transactional_id=transactional_id if exactly_once else None,
            properties=self.connection,
            metrics=self._metrics,
            region=self._settings.region,
            route=route.name,
            source_topics=route.source.topics,
            cluster_id=self._settings.kafka.cluster_id,
        )

    def _postgres_sink(
        self, route: RouteSettings, options: PostgresSinkOptions, source: KafkaSource, *, create: bool
    ) -> PostgresSink:
        if route.residency is not None and route.residency.foreign == "forward":
            raise ConfigError(f'route {route.name}: foreign = "forward" needs a Kafka sink')
        letters = KafkaDeadLetters(
            self.connection,
            route=route.name,
            source_topics=route.source.topics,
            create=create or options.create,
            pin=ClusterPin(
                self._settings.kafka.cluster_id,
                pin="dead_letter_cluster",
                name=f"route {route.name}, dead letters",
                connection=self.connection,
                metrics=self._metrics,
            ),
        )
        return PostgresSink(
            options,
            dsn=environment.require(self._environ, options.dsn_env, f"route {route.name}: the database"),
            region=self._settings.region,
            group=route.group,
            cluster_id=self._settings.kafka.cluster_id,
            topic_ids=source.topic_id,
            instance=self._instance,
            route=route.name,
            metrics=self._metrics,
            dead_letters=letters,
        )
