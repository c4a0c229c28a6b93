"""A topic encrypted anew into another one, exactly once, up to an offset at which its readers may change over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from worker.assembly.graph import Graph
from worker.assembly.run import RunOptions
from worker.assembly.schemas import output_schemas, output_subject
from worker.checks import pins
from worker.checks.findings import enforce
from worker.checks.identity import check_identity
from worker.checks.routes import check_route
from worker.config import RouteSettings, Settings
from worker.errors import ConfigError
from worker.kafka.whole import ends_of
from worker.pipeline.health import RouteHealth
from worker.pipeline.progress import RouteProgress
from worker.pipeline.runner import RouteRunner
from worker.pipeline.stages import Processor, Stages
from worker.rekey.batches import NoLetters
from worker.rekey.stored import StoredSchemas, fixed, local, registered
from worker.rekey.wanted import Wanted
from worker.version import __version__

Observe = Callable[[RouteProgress], None]


@dataclass(frozen=True, slots=True)
class Place:
    """One partition of a hand-over: all before `source_offset` lies in the new topic, before `target_offset`."""

    partition: int
    source_offset: int
    target_offset: int


@dataclass(frozen=True, slots=True)
class Handover:
    """
    Where readers of the old topic go on in the new one.

    Args:
        source, target: the topics.
        cluster_id: theirs.
        partitions: in their order.
    """

    source: str
    target: str
    cluster_id: str
    partitions: Sequence[Place]

    def as_json(self) -> dict[str, object]:
        """Return it as it is written to a file."""
        places = [
            {"partition": p.partition, "source_offset": p.source_offset, "target_offset": p.target_offset}
            for p in self.partitions
        ]
        return {
            "version": 1,
            "source": self.source,
            "target": self.target,
            "cluster_id": self.cluster_id,
            "partitions": places,
            "worker": __version__,
        }


def rekey_route(settings: Settings, topic: str, into: str) -> RouteSettings:
    """Return the route from a topic to the one that takes its place, named as the route that writes the old one."""
    writer = next((r for r in settings.routes if r.sink.kind == "kafka" and r.sink.topic == topic), None)
    return RouteSettings.model_validate(
        {
            "name": "rekey",
            "group": f"worker-rekey.{topic}.{into}",
            # Whoever comes back after a crash is given its partitions at once.
            "source": {"topics": [topic], "static_membership": True},
            # The requests for keys stand in the authority's audit; the ledger is of what routes encrypt.
            "sink": {"kind": "kafka", "topic": into, "create": True, "ledger": False},
            "subject_strategy": "topic" if writer is None else writer.subject_strategy,
        }
    )


def settings_of(settings: Settings, route: RouteSettings, batch: int | None) -> Settings:
    """Return the settings of a run of this route alone, exactly once, in batches of at most so many records."""
    delivery = settings.delivery.model_copy(
        update={"mode": "exactly-once", "max_records": min(batch or settings.delivery.max_records, 1_000_000)}
    )
    return settings.model_copy(update={"routes": (route,), "delivery": delivery})


def stored_schemas(graph: Graph, wanted: Wanted, route: RouteSettings, text: str | None) -> StoredSchemas:
    """
    Return the schemas of what is stored: the one that was given, those of files, or the registry's.

    Raises:
        RegionViolation: the registry is another region's.
    """
    subject = output_subject(route)
    if text is not None:
        return StoredSchemas(fixed(text), wanted, registry=None, subject=subject)
    if graph.settings.schemas.local:
        outputs = output_schemas(graph.settings, graph.context.environ)
        return StoredSchemas(local(outputs), wanted, registry=None, subject=subject)
    source = graph.schemas
    enforce(pins.registry(graph.region, source, graph.settings.schemas.allow_hosts))
    return StoredSchemas(registered(source), wanted, registry=source, subject=subject)


def refuse_pseudonyms(graph: Graph, topic: str, routes: Sequence[RouteSettings]) -> None:
    """
    Refuse a topic whose record keys are pseudonyms, as far as a route or the keys' schema says so.

    Raises:
        ConfigError: they are; the message says what may be done.
    """
    said = any(r.key == "pseudonym" and r.sink.kind == "kafka" and r.sink.topic == topic for r in routes)
    if not said and not graph.settings.schemas.local:
        said = any('"pseudonym"' in version.schema for version in graph.schemas.key_schemas([topic]))
    if said:
        raise ConfigError(
            f"the record keys of {topic} are pseudonyms. They come from the index key of the keyset that the keys' "
            "schema names and can't be made anew from what is stored: keep them (--pseudonyms keep) and that keyset "
            "for keys, or run the route again from its source into a new topic"
        )


class TopicRekey:
    """
    One topic into another.

    Args:
        graph: of `settings_of`.
        processor: encrypts batches anew.
    """

    def __init__(self, graph: Graph, processor: Processor) -> None:
        self._graph, self._processor = graph, processor
        self._route = graph.settings.routes[0]

    def check(self) -> None:
        """Verify credentials, cluster and topics, and make the new topic; raises as `enforce`."""
        enforce(
            [*check_identity(self._graph), *check_route(self._graph, self._route, None, create=True, positions=False)]
        )

    def run(self, stop: threading.Event, observe: Observe) -> RouteProgress:
        """
        Go on from the group's offsets to what is the end now, or until stopped.

        Raises:
            WorkerError: what ended it; what is committed stays.
        """
        run, route, graph = RunOptions(until_end=True), self._route, self._graph
        source = graph.routes.source(route, run)
        sink = graph.routes.sink(route, source)
        runner = RouteRunner(
            Stages(source, self._processor, sink, NoLetters()),
            options=graph.settings.delivery,
            health=RouteHealth(route.name),
            metrics=graph.context.metrics,
            bounds=run.bounds,
        )
        errors: list[BaseException] = []
        thread = threading.Thread(target=_guarded, args=(runner, errors), name="rekey")
        thread.start()
        while thread.is_alive():
            thread.join(0.1)
            if stop.is_set():
                runner.stop()
            observe(runner.progress())
        if errors:
            raise errors[0]
        return runner.progress()

    def handover(self, progress: RouteProgress) -> Handover:
        """Return where readers go on, after a run that came to its end."""
        settings = self._graph.settings
        cluster = settings.kafka.cluster_id
        target = self._route.sink.subject
        ends: Mapping[int, int] = ends_of(target, self._graph.connection, cluster_id=cluster)
        places = [
            Place(at.partition, span.next, ends.get(at.partition, 0)) for at, span in sorted(progress.spans.items())
        ]
        return Handover(self._route.source.topics[0], target, cluster, places)


def _guarded(runner: RouteRunner, errors: list[BaseException]) -> None:
    try:
        runner.run()
    except BaseException as exc:
        errors.append(exc)
