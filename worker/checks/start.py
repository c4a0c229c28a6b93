"""What is verified before a worker, or a command that works like one, begins."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from worker.assembly.graph import Graph
from worker.checks.canary import check_canaries
from worker.checks.findings import attempt, export
from worker.checks.identity import check_identity
from worker.checks.routes import check_route
from worker.checks.schemas import check_schemas
from worker.config import RouteSettings
from worker.finding import Finding


def verify(
    graph: Graph,
    *,
    routes: Sequence[RouteSettings] | None = None,
    create: bool = False,
    positions: bool = False,
) -> list[Finding]:
    """
    Verify what routes rest on, each thing by itself; a failure does not hide the next one.

    Args:
        graph: the region's.
        routes: which; all of the settings' if not given.
        create: create missing topics, tables and the worker's own schema.
        positions: look where the routes would go on, too; a route looks for itself when it begins.
    """
    identity = check_identity(graph)
    findings = list(identity)
    schemas = attempt(findings, "schemas", lambda: graph.schemas)
    told = check_schemas(graph, schemas) if schemas is not None else []
    findings += told
    connection = attempt(findings, "kafka connection", lambda: graph.connection)
    if not graph.has_authority or schemas is None or connection is None:
        return findings
    # Schemas that may not be used, as those of another region's registry, are asked for nothing more.
    usable = None if any(finding.is_broken for finding in told) else schemas
    for route in graph.settings.routes if routes is None else routes:
        with structlog.contextvars.bound_contextvars(route=route.name):
            findings += check_route(graph, route, usable, create=create, positions=positions)
    if not any(f.is_broken for f in (*identity, *findings) if f in identity or f.name.endswith("kafka cluster")):
        findings += check_canaries(graph)
    export(findings, graph.context.metrics)
    return findings
