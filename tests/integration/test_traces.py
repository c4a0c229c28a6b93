"""A batch's spans at a real collector, with links to the requests that brought its keys."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.collector import Collector
from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.program import worker
from worker.authority.dev import DevAuthority
from worker.demo.customers import Population, customers
from worker.metrics import open_traces

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
STAGES = {"poll", "decode", "keys", "encrypt", "sink", "commit"}
RECORDS = 200


def children(spans: list[Span], parent: Span) -> list[Span]:
    return [s for s in spans if (s.trace_id, s.parent_span_id) == (parent.trace_id, parent.span_id)]


def text(span: Span, name: str) -> str:
    return str(next(a.value.string_value for a in span.attributes if a.key == name))


def traced(site: Deployment, collector: Collector, directory: Path) -> None:
    """Run both routes to the end, with the authority telling its spans too."""
    with DevAuthority("eu-central-1", directory) as authority:
        own = Deployment(kafka=site.kafka, dsn=site.dsn, authority=authority.env, directory=site.directory)
        own.prepare()
        schema_id, _ = own.write_customers(1, RECORDS)
        settings = own.settings(schema_id)
        environ = {**own.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        traces = open_traces(environ, service="residency-authority", region="eu-central-1", instance="authority")
        authority.authority.metrics.traces = traces
        done = worker(environ, "run", "--config", str(settings), "--until-end", timeout_s=150)
        assert done.returncode == 0, done.stderr[-3000:]
        traces.close()


def test_a_batch_is_one_trace_and_its_keys_lead_to_the_authority(
    kafka: Kafka,
    new_database: DatabaseFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every stage is a span of the batch's; what brought its keys is linked, here and at the authority; no content."""
    site = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority={}, directory=tmp_path)
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        traced(site, collector, tmp_path / "authority")
        deadline = time.monotonic() + 30
        while not collector.spans("residency-authority") and time.monotonic() < deadline:
            time.sleep(0.1)

    spans, served = collector.spans("residency-worker"), collector.spans("residency-authority")
    batches = [span for span in spans if span.name == "batch"]
    requests = {(s.trace_id, s.span_id): s for s in spans if s.kind == Span.SPAN_KIND_CLIENT}
    asked = {place for place, span in requests.items() if span.name == "generate-data-key"}
    links = {(link.trace_id, link.span_id) for s in spans if s.name == "keys" for link in s.links}

    assert {text(batch, "worker.route") for batch in batches} == {"topic", "table"}
    assert [STAGES - {s.name for s in children(spans, batch)} for batch in batches] == [set()] * len(batches)
    assert {text(batch, "worker.outcome") for batch in batches} == {"committed"}
    assert links
    assert links <= asked
    assert {(s.trace_id, s.parent_span_id) for s in served if s.name == "generate-data-key"} == asked
    assert all(text(requests[place], "worker.request_id") for place in asked)
    assert {r["cloud.region"] for r in collector.resources()} == {"eu-central-1"}

    everything = b"".join(collector.bodies)
    content = {
        str(value) for record in customers(Population({"DE": "de_DE"}, seed=1), RECORDS) for value in record.values()
    }
    assert [value for value in content if len(value) > 4 and value.encode() in everything] == []
