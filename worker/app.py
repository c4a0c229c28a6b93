"""Builds and runs one region's worker: the only place that constructs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import structlog

from worker import __version__
from worker.assembly.routes import RouteBuilder, RunOptions, kafka_connection
from worker.assembly.schemas import open_schemas, review
from worker.avro import (
    RegistrySchemas,
    SchemaSource,
    compile_schema,
)
from worker.canary.canary import KeptCanaries
from worker.canary.guard import GuardedKeyService
from worker.canary.keyset import Canaries
from worker.canary.topic import CanaryTopic
from worker.checks import keys as keychecks
from worker.checks import pins
from worker.checks.pins import Finding
from worker.config import RouteSettings, Settings
from worker.errors import TransientError, WorkerError
from worker.http import HttpServer, application
from worker.kafka.properties import Property, is_authenticated
from worker.metrics import Metrics
from worker.pipeline.health import RouteHealth
from worker.pipeline.progress import RouteProgress
from worker.pipeline.runner import RouteRunner
from worker.region import Region
from worker.sink.kafka import KafkaSink
from worker.sink.postgres import PostgresSink
from worker.zerokms.client import LoadedKeyset, ZeroKMSClient
from worker.zerokms.factory import client_from_environment, credentials_from_environment
from worker.zerokms.keys import IndexKeys
from worker.zerokms.resilient import resilient

_log = structlog.get_logger(__name__)
_RETRY_S = 2.0
Observe = Callable[[Sequence[RouteProgress]], None]
_T = TypeVar("_T")


class Worker:
    """
    One region's worker; a context manager that closes what it opened.

    Args:
        settings: validated.
        environ: credentials, secrets and `WORKER_INSTANCE`.
        metrics: where it is measured; its own if not given.

    Raises:
        ConfigError, RegionViolation: a credential or a host is unusable.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str], *, metrics: Metrics | None = None) -> None:
        self._settings, self._environ = settings, environ
        self._region = Region(settings.region)
        self._instance = instance_name(environ)
        self.metrics = Metrics(settings.region) if metrics is None else metrics
        self.metrics.set("worker_build_info", 1, version=__version__, native="none")
        longest = max(route.sink.timeout_s for route in settings.routes)
        batch_s = settings.delivery.max_latency_ms / 1000 + longest
        self.metrics.set("worker_revocation_bound_seconds", batch_s, part="batch")
        self.metrics.set("worker_revocation_bound_seconds", settings.authority.client.timeout_s, part="request")
        self._stop = threading.Event()
        self._runners: list[RouteRunner] = []
        self._health = [RouteHealth(route.name, metrics=self.metrics) for route in settings.routes]
        self._client: ZeroKMSClient | None = None
        self._builder: RouteBuilder | None = None
        self._connection: dict[str, Property] | None = None
        self._source: SchemaSource | None = None

    @property
    def health(self) -> Sequence[RouteHealth]:
        """What each route tells of itself."""
        return self._health

    def check(self, *, create: bool = False) -> list[Finding]:
        """
        Verify everything that `run` verifies, each thing by itself; a failure does not hide the next one.

        Args:
            create: create missing topics, tables and the worker's own schema.
        """
        findings = self._check_identity()
        schemas = _found(findings, "schemas", self._schemas)
        told = self._check_schemas(schemas) if schemas is not None else []
        findings += told
        connection = _found(findings, "kafka connection", self._kafka)
        if self._client is None or schemas is None or connection is None:
            return findings
        builder = self._graph(schemas)
        for route in self._settings.routes:
            # Schemas that may not be used, as those of another region's registry, are asked for nothing more.
            usable = None if any(finding.is_broken for finding in told) else schemas
            findings += self._check_route(builder, route, usable, create=create)
        pins.export(findings, self.metrics)
        return findings

    def run(self, options: RunOptions | None = None, *, observe: Observe | None = None) -> None:
        """
        Run every route until stopped, or to its bounds, and serve HTTP meanwhile.

        Args:
            options: how far to go; for ever if not given.
            observe: called several times a second with how far each route has come.

        Raises:
            WorkerError: the first one that ended a route; the others have been stopped gracefully.
        """
        surface = application(self.metrics.registry, lambda: self._health, {"rotate": self.rotate})
        with HttpServer(surface, self._settings.http.listen) as server:
            _log.info("starting", instance=self._instance, version=__version__, http_port=server.port)
            self.run_routes(RunOptions() if options is None else options, observe=observe)

    def run_routes(self, options: RunOptions, *, observe: Observe | None = None) -> None:
        """Do what `run` does, without HTTP: for one of several processes."""
        builder = self._ready()
        if builder is not None:
            self._run_routes(builder, options, observe or (lambda _progress: None))

    def progress(self) -> list[RouteProgress]:
        """How far each route has come; safe from any thread."""
        return [runner.progress() for runner in self._runners]

    def builder(self) -> RouteBuilder:
        """Verify everything once and return what builds the routes; raises as a failed `check` does."""
        pins.enforce(self.check())
        assert self._builder is not None
        return self._builder

    def stop(self) -> None:
        """Ask every route for a graceful end; safe in a signal handler."""
        self._stop.set()
        for runner in self._runners:
            runner.stop()

    def rotate(self) -> None:
        """Drop every key held; new ones are fetched."""
        if self._builder is not None:
            self._builder.rotate()
            _log.info("keys_rotated")

    def close(self) -> None:
        """Close the key caches and the connections to the key service and the registry."""
        if self._builder is not None:
            self._builder.close()
        if self._client is not None:
            self._client.close()
        if self._source is not None:
            self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ready(self) -> RouteBuilder | None:
        """Verify until nothing is unreachable any more; None where the worker is stopped meanwhile."""
        while not self._stop.is_set():
            try:
                pins.enforce(self.check())
            except TransientError as exc:
                _log.warning("waiting", error=str(exc))
                for health in self._health:
                    health.beat()
                    health.pause("start", "something is not reachable; see the log")
                self._stop.wait(exc.retry_after_s or _RETRY_S)
                continue
            for health in self._health:
                health.resume("start")
            assert self._builder is not None
            return self._builder
        return None

    def _run_routes(self, builder: RouteBuilder, run: RunOptions, observe: Observe) -> None:
        errors: list[BaseException] = []
        threads = []
        for route, health in zip(self._settings.routes, self._health, strict=True):
            runner = builder.runner(route, health, run)
            self._runners.append(runner)
            threads.append(threading.Thread(target=self._guard, args=(runner, errors), name=route.name))
        if self._stop.is_set():
            self.stop()
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            # Short waits, so that the main thread takes its signals.
            for thread in threads:
                thread.join(0.1)
            observe(self.progress())
        observe(self.progress())
        if errors:
            raise errors[0]

    def _guard(self, runner: RouteRunner, errors: list[BaseException]) -> None:
        try:
            runner.run()
        except Exception as exc:
            errors.append(exc)
            _log.error("route_failed", error=str(exc) if isinstance(exc, WorkerError) else type(exc).__name__)
            self.stop()

    def _check_identity(self) -> list[Finding]:
        settings = self._settings
        try:
            credentials = credentials_from_environment(self._environ, crn=settings.authority.workspace_crn)
        except WorkerError as exc:
            return [Finding.of("credentials", exc)]
        findings = [pins.workspace(self._region, credentials.workspace)]
        if findings[0].is_broken:
            return findings
        client = _found(findings, "authority hosts", self._connect)
        if client is None:
            return findings
        allowed = settings.authority.allow_hosts
        findings.append(pins.host("cts host", client.cts, self._region.cts_url, allowed))
        token = _found(findings, "service token", client.tokens.token)
        if token is None:
            return findings
        verified = settings.authority.client.verify_token
        workspace = str(credentials.workspace.workspace)
        findings.append(pins.match("service token", workspace, token.workspace, "", authenticated=verified))
        base = client.zerokms or token.zerokms or ""
        findings.append(pins.host("zerokms host", base, self._region.zerokms_url, allowed))
        for name in sorted(
            {settings.encryption.keyset, settings.dead_letters.keyset, *settings.encryption.keysets}, key=str
        ):
            keyset = _found(findings, f"keyset {name or '(own default)'}", partial(client.load_keyset, name))
            if keyset is not None:
                findings.append(Finding(f"keyset {keyset.name}", "ok", found=str(keyset.id)))
        return findings

    def _connect(self) -> ZeroKMSClient:
        if self._client is None:
            self._client = client_from_environment(
                self._environ,
                crn=self._settings.authority.workspace_crn,
                allow_hosts=self._settings.authority.allow_hosts,
                options=self._settings.authority.client,
                metrics=self.metrics,
            )
        return self._client

    def _schemas(self) -> SchemaSource:
        if self._source is None:
            self._source = open_schemas(self._settings, self._environ)
        return self._source

    def _check_schemas(self, schemas: SchemaSource) -> list[Finding]:
        options = self._settings.schemas
        findings = []
        if isinstance(schemas, RegistrySchemas):
            findings = pins.registry(self._region, schemas.addresses, options.allow_hosts, proxy=schemas.proxy)
        if any(finding.is_broken for finding in findings):
            return findings
        try:
            schemas.check()
            for number, registered in keychecks.local(self._settings, schemas, key=False):
                for route in self._settings.routes:
                    plan = compile_schema(registered.schema, self._settings.declaration(route)).plan
                    detail = f"{plan.name}: {len(plan.fields)} fields encrypted"
                    findings.append(Finding(f"schema {number} on {route.name}", "ok", found=detail))
            for route in self._settings.routes:
                findings += keychecks.check(self._settings, schemas, route)
                if isinstance(schemas, RegistrySchemas):
                    for found in review(schemas, route, self._settings.declaration(route)):
                        schemas.refuse_output(found.subject, found.plan.output_schema)
                        detail = f"{found.plan.name}: {len(found.plan.fields)} fields encrypted; {found.compatibility}"
                        findings.append(Finding(f"schema of {found.topic} on {route.name}", "ok", found=detail))
        except WorkerError as exc:
            findings.append(Finding.of("schemas", exc))
        return findings

    def _graph(self, schemas: SchemaSource) -> RouteBuilder:
        if self._builder is None:
            assert self._client is not None
            client = self._client
            canaries = Canaries(
                client,
                resolve=client.resolve_keyset,
                store=KeptCanaries(CanaryTopic(self._kafka(), region=self._settings.region)),
                instance=self._instance,
            )
            guarded = GuardedKeyService(client, canaries.check, connections=lambda: client.connections)

            def load(keyset: str | None) -> LoadedKeyset:
                # As for data keys: an authority that gives other keys than before would split every key's history.
                canaries.check(keyset)
                return client.load_keyset(keyset, fresh=True)

            self._builder = RouteBuilder(
                self._settings,
                self._environ,
                instance=self._instance,
                connection=self._kafka(),
                service=resilient(guarded, metrics=self.metrics),
                schemas=schemas,
                metrics=self.metrics,
                resolve=client.resolve_keyset,
                index_keys=IndexKeys(load, max_age_s=self._settings.keys.max_age_s),
            )
        return self._builder

    def _kafka(self) -> dict[str, Property]:
        """Return what every client of the region's cluster is told, secrets included."""
        if self._connection is None:
            self._connection = kafka_connection(self._settings.kafka, self._environ)
        return self._connection

    def _check_route(
        self, builder: RouteBuilder, route: RouteSettings, schemas: SchemaSource | None, *, create: bool
    ) -> list[Finding]:
        findings: list[Finding] = []
        source = _found(findings, f"{route.name}: source", lambda: builder.source(route, RunOptions()))
        if source is None:
            return findings
        try:
            cluster = _found(findings, f"{route.name}: kafka cluster", source.cluster_id)
            if cluster is None:
                return findings
            secure = is_authenticated(builder.connection)
            remedy = "point [kafka] bootstrap at this region's cluster, or correct cluster_id"
            pinned = self._settings.kafka.cluster_id
            findings.append(pins.match(f"{route.name}: kafka cluster", pinned, cluster, remedy, authenticated=secure))
            sink = _found(findings, f"{route.name}: sink", lambda: builder.sink(route, source, create=create))
            if sink is not None and not findings[-1].is_broken:
                findings.append(_verdict(f"{route.name}: sink", sink.check))
                if isinstance(sink, KafkaSink):
                    told = _found(findings, f"{route.name}: sink topic", sink.warnings) or ()
                    findings += [Finding(f"{route.name}: sink topic", "warning", found=text) for text in told]
                if isinstance(sink, PostgresSink):
                    if not findings[-1].is_broken:
                        own, signed = self._region.name, sink.is_authenticated
                        findings.append(pins.match(f"{route.name}: database", own, own, "", authenticated=signed))
                    if schemas is not None:
                        findings += self._check_tables(builder, sink, route, schemas, create=create)
                sink.close()
        finally:
            source.close()
        return findings

    def _check_tables(
        self, builder: RouteBuilder, sink: PostgresSink, route: RouteSettings, schemas: SchemaSource, *, create: bool
    ) -> list[Finding]:
        findings = []
        key = keychecks.written(self._settings, schemas, route)
        for _, registered in keychecks.local(self._settings, schemas, key=False):
            plan = compile_schema(registered.schema, self._settings.declaration(route)).plan
            for topic in route.source.topics:
                act = sink.create_table if create else sink.check_schema
                check = partial(act, plan.output_schema, topic=topic, key_schema=key)
                findings.append(_verdict(f"{route.name}: table of {topic}", check))
            findings.append(
                _verdict(f"{route.name}: key columns", partial(builder.keys(route).check_values, plan.fields))
            )
        return findings


def instance_name(environ: Mapping[str, str]) -> str:
    """Return the worker's stable name: `WORKER_INSTANCE`, else the host's."""
    return environ.get("WORKER_INSTANCE") or os.uname().nodename


def _found(findings: list[Finding], name: str, act: Callable[[], _T]) -> _T | None:
    """Return what `act` returns, or None after adding the error as a finding."""
    try:
        return act()
    except WorkerError as exc:
        findings.append(Finding.of(name, exc))
        return None


def _verdict(name: str, act: Callable[[], object]) -> Finding:
    started = time.monotonic()
    try:
        act()
    except WorkerError as exc:
        return Finding.of(name, exc)
    return Finding(name, "ok", found=f"{(time.monotonic() - started) * 1000:.0f} ms")
