"""Whether the region's schemas can be used, and what each route will make of them."""

from __future__ import annotations

from worker.assembly.graph import Graph
from worker.assembly.schemas import review
from worker.avro import SchemaSource
from worker.checks import keys, pins
from worker.errors import WorkerError
from worker.finding import Finding


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"


def check_schemas(graph: Graph, schemas: SchemaSource) -> list[Finding]:
    """Verify the registry's hosts, then plan every schema that is known as each route would."""
    settings, options = graph.settings, graph.settings.schemas
    findings = pins.registry(graph.region, schemas, options.allow_hosts)
    if any(finding.is_broken for finding in findings):
        return findings
    try:
        schemas.check()
        for route in settings.routes:
            declaration = settings.declaration(route)
            findings += keys.check_keys(schemas, route, declaration)
            for found in review(schemas, route, declaration):
                schemas.refuse_output(found.subject, found.plan.output_schema)
                detail = f"{found.plan.name}: {_fields(len(found.plan.fields))} encrypted"
                if found.compatibility is not None:
                    detail += f"; {found.compatibility}"
                name = f"{found.label} on {route.name}"
                findings.append(Finding(name, "ok", found=detail))
                findings += [Finding(name, "warning", found=warning) for warning in found.warnings]
    except WorkerError as exc:
        findings.append(Finding.of("schemas", exc))
    return findings
