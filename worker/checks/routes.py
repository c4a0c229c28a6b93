"""Whether one route's source, sink and tables are there, are the region's, and take its records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

from worker.assembly.graph import Graph
from worker.assembly.run import RunOptions
from worker.assembly.schemas import review
from worker.avro import SchemaSource
from worker.avro.rows import row_type
from worker.checks.findings import attempt, timed
from worker.checks.keys import written_key
from worker.checks.positions import check_positions, check_topics
from worker.config import RouteSettings
from worker.finding import Finding, match
from worker.kafka.properties import is_authenticated
from worker.model import FieldPlan
from worker.model.rows import RowType
from worker.sink.base import Tables
from worker.source.kafka import KafkaSource


def check_route(
    graph: Graph, route: RouteSettings, schemas: SchemaSource | None, *, create: bool, positions: bool
) -> list[Finding]:
    """
    Verify one route.

    Args:
        graph: the region's.
        route: which.
        schemas: what tables are compared with; None asks for nothing.
        create: create missing topics, tables and the worker's own schema.
        positions: look where the route would go on, too.
    """
    findings: list[Finding] = []
    source = attempt(findings, f"{route.name}: source", lambda: graph.routes.source(route, RunOptions()))
    if source is None:
        return findings
    try:
        cluster = attempt(findings, f"{route.name}: kafka cluster", source.cluster_id)
        if cluster is None:
            return findings
        pinned, secure = graph.settings.kafka.cluster_id, is_authenticated(graph.connection)
        remedy = "point [kafka] bootstrap at this region's cluster, or correct cluster_id"
        unproven = "the id is the brokers' own word; TLS with ssl.ca.location would prove who says it"
        pin = match(f"{route.name}: kafka cluster", pinned, cluster, remedy, authenticated=secure, unproven=unproven)
        findings.append(pin)
        if pin.is_broken:
            return findings
        told = check_topics(source, route.name, graph.settings.kafka.bootstrap)
        findings += told
        # Without its source nobody knows how many partitions a sink must have.
        if any(finding.is_broken for finding in told):
            return findings
        return findings + _check_sink(graph, route, source, schemas, create=create, positions=positions)
    finally:
        source.close()


def _check_sink(
    graph: Graph,
    route: RouteSettings,
    source: KafkaSource,
    schemas: SchemaSource | None,
    *,
    create: bool,
    positions: bool,
) -> list[Finding]:
    findings: list[Finding] = []
    sink = attempt(findings, f"{route.name}: sink", lambda: graph.routes.sink(route, source, create=create))
    if sink is None:
        return findings
    try:
        state = timed(f"{route.name}: sink", sink.check)
        findings.append(state)
        if not state.is_broken:
            told = attempt(findings, f"{route.name}: sink", sink.findings) or []
            findings += [f.on(route.name) for f in told]
        tables = sink.tables
        if positions and not state.is_broken:
            findings += check_positions(source, sink, route.name)
        if schemas is not None and tables is not None:
            known = {finding.remedy for finding in findings if finding.is_broken}
            told = _check_tables(graph, route, tables, schemas, create=create)
            # What keeps the sink from its database keeps it from the table too; said once.
            findings += [finding for finding in told if not (finding.is_broken and finding.remedy in known)]
        return findings
    finally:
        sink.close()


def _check_tables(
    graph: Graph, route: RouteSettings, tables: Tables, schemas: SchemaSource, *, create: bool
) -> list[Finding]:
    findings: list[Finding] = []
    declaration = graph.settings.declaration(route)
    provide = tables.create_table if create else tables.check_schema
    key = written_key(schemas, route, declaration)
    key_type = None if key is None else row_type(key)
    fields: set[str] = set()
    for found in review(schemas, route, declaration):
        for topic in found.topics:
            name = f"{route.name}: table of {topic}"
            act = partial(_compared, provide, found.plan.output_schema, topic, key_type)
            told = attempt(findings, name, act)
            if told is not None:
                refused = f"takes the records; refused one by one: {'; '.join(told)}" if told else "takes every record"
                findings.append(Finding(name, "ok", found=refused))
        fields.update(column.name for column in row_type(found.plan.output_schema).columns)
        findings += _idle_indexes(route, found.plan.fields)
        values = partial(graph.routes.record_keys(route).check_values, found.plan.fields)
        findings.append(timed(f"{route.name}: key columns", values))
    return findings + _unmet_columns(route, fields)


def _unmet_columns(route: RouteSettings, fields: Collection[str]) -> list[Finding]:
    """Return a warning where `columns` names a field of no schema: the one that is meant is stored otherwise."""
    unmet = [name for name in route.sink.stored if name not in fields]
    if not (unmet and fields):
        return []
    said = f"columns names {', '.join(unmet)}, which no schema of the route has; they have {', '.join(sorted(fields))}"
    return [Finding(f"{route.name}: columns", "warning", found=said)]


def _idle_indexes(route: RouteSettings, fields: Sequence[FieldPlan]) -> list[Finding]:
    """Return a warning for each field whose search terms are written nowhere."""
    stored = set(route.sink.searchable)
    paths = [plan.identity.partition("/")[2] for plan in fields if plan.index]
    return [
        Finding(
            f"{route.name}: index of {path}",
            "warning",
            found=f'no search terms are written; columns = {{ {path} = "eql" }} stores them with the value',
        )
        for path in paths
        if path not in stored
    ]


def _compared(provide: Callable[..., list[str]], output_schema: str, topic: str, key_type: RowType | None) -> list[str]:
    return provide(row_type(output_schema), topic=topic, key_type=key_type)
