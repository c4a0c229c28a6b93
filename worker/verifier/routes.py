"""A look into every route's sink."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from worker import environment
from worker.assembly.connections import kafka_connection
from worker.assembly.schemas import open_schemas, review
from worker.avro import SchemaSource
from worker.column_names import column_name
from worker.config import RouteSettings, Settings
from worker.errors import ConfigError
from worker.model import EncryptionPlan
from worker.sink.postgres.sample import sample
from worker.verifier.findings import Seen, judged
from worker.verifier.places import root_of, stored_at
from worker.verifier.topic import TopicVerifier


def verify(settings: Settings, environ: Mapping[str, str], *, routes: Sequence[str] = (), last: int) -> Iterator[Seen]:
    """
    Look at each route's sink, one after the other.

    Args:
        settings: the region's; no credentials of the key service are needed.
        environ: secrets of brokers, registry and database.
        routes: names of those to look at; all if empty.
        last: records of each partition, and rows of each table.

    Raises:
        ConfigError: an unknown route, a missing topic, table or right.
        TransientError: brokers, registry or database do not answer.
    """
    unknown = sorted(set(routes) - {route.name for route in settings.routes})
    if unknown:
        known = ", ".join(route.name for route in settings.routes)
        raise ConfigError(f"there is no route {', '.join(unknown)}; one of: {known}")
    schemas = open_schemas(settings.schemas, environ)
    try:
        for route in settings.routes:
            if not routes or route.name in routes:
                yield _look(settings, environ, schemas, route, last)
    finally:
        schemas.close()


def _look(
    settings: Settings, environ: Mapping[str, str], schemas: SchemaSource, route: RouteSettings, last: int
) -> Seen:
    seen = Seen(route.name)
    plans = [found.plan for found in review(schemas, route, settings.declaration(route))]
    forwarded = () if route.residency is None else route.residency.topics.values()
    if topics := (*route.sink.all_topics, *forwarded):
        verifier = TopicVerifier(schemas, _local(settings, plans), plans)
        connection = kafka_connection(settings.kafka, environ)
        for topic in topics:
            verifier.look(topic, connection, seen, cluster_id=settings.kafka.cluster_id, last=last)
    if route.sink.dsn_env is not None:
        dsn = environment.require(environ, route.sink.dsn_env, f"route {route.name}: the database")
        _look_into_tables(dsn, route, plans, seen, last)
    return seen


def _local(settings: Settings, plans: Sequence[EncryptionPlan]) -> dict[int, str]:
    """Return the output schemas of `[schemas.local]` by the ids that their records carry."""
    files = [item for item in settings.schemas.local.values() if not item.key]
    return {item.output_id: plan.output_schema for item, plan in zip(files, plans, strict=False)}


def _look_into_tables(dsn: str, route: RouteSettings, plans: Sequence[EncryptionPlan], seen: Seen, last: int) -> None:
    declared: dict[str, set[str]] = {}
    for path in {f.identity.partition("/")[2] for plan in plans for f in plan.fields}:
        declared.setdefault(column_name(root_of(path)), set()).add(path)
    for table in route.sink.all_tables:
        for column, values in sample(dsn, table, sorted(declared), last, timeout_s=route.sink.timeout_s).items():
            for path in sorted(declared[column]):
                place = f"{table}.{column}" + path.removeprefix(root_of(path))
                for value in values:
                    for found in stored_at(value, path):
                        seen.add(judged(found), place)
