"""Traces are asked for by OpenTelemetry's own variables, and say of an error no more than its kind."""

from __future__ import annotations

import sys
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from worker.errors import ConfigError, KeyServiceUnavailable
from worker.metrics import open_traces
from worker.metrics.spans import OpenTelemetryTraces, RequestIds, ids_of
from worker.metrics.traces import OFF

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traces(exporter: InMemorySpanExporter) -> OpenTelemetryTraces:
    ids = RequestIds()
    provider = TracerProvider(id_generator=ids, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return OpenTelemetryTraces(provider, ids)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "mine"},
        {"OTEL_TRACES_EXPORTER": "none", **ENDPOINT},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
    ],
)
def test_nobody_is_told_unless_asked(environ: dict[str, str]) -> None:
    """Off by default, and where the standard variables say so."""
    assert open_traces(environ, service="s", region="r", instance="i") is OFF


@pytest.mark.parametrize("environ", [ENDPOINT, {"OTEL_TRACES_EXPORTER": "otlp"}])
def test_an_endpoint_or_an_exporter_asks(environ: dict[str, str]) -> None:
    """Either variable is enough."""
    opened = open_traces(environ, service="s", region="r", instance="i")
    opened.close()

    assert isinstance(opened, OpenTelemetryTraces)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "zipkin"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", **ENDPOINT}, "grpc"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json", **ENDPOINT}, "http/json"),
    ],
)
def test_what_is_not_supported_is_refused(environ: dict[str, str], named: str) -> None:
    """Spans that go nowhere would be missed when they are needed."""
    with pytest.raises(ConfigError, match=named):
        open_traces(environ, service="s", region="r", instance="i")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for traces without the extra learns what to install."""
    monkeypatch.setitem(sys.modules, "worker.metrics.spans", None)

    with pytest.raises(ConfigError, match=r"\[traces\]"):
        open_traces(ENDPOINT, service="s", region="r", instance="i")


def test_an_error_stands_there_by_its_kind(traces: OpenTelemetryTraces, exporter: InMemorySpanExporter) -> None:
    """An error's words have no place in a span: neither as status nor as an event."""
    trace = traces.batch("r", waited_s=0.1, records=1, positions=["t[0]@1..1"])
    with pytest.raises(KeyServiceUnavailable), traces.request("generate-data-key", uuid4()):
        raise KeyServiceUnavailable("these words")
    trace.end("failed", ValueError("those words"))

    spans = exporter.get_finished_spans()
    assert {s.name: s.status.description for s in spans} == {
        "poll": None,
        "generate-data-key": "KeyServiceUnavailable",
        "batch": "ValueError",
    }
    assert not any("words" in s.to_json() for s in spans)


def test_links_lead_to_requests_by_their_ids(traces: OpenTelemetryTraces, exporter: InMemorySpanExporter) -> None:
    """A request is found from the ledger's or the audit's line alone, and once for however many keys."""
    request_id = uuid4()
    with traces.request("generate-data-key", request_id) as headers:
        pass
    trace = traces.batch("r", waited_s=0, records=1, positions=[])
    traces.keys(0.5)
    traces.brought([request_id, request_id])
    trace.end("committed", None)

    spans = {s.name: s for s in exporter.get_finished_spans()}
    (link,) = spans["keys"].links
    assert (link.context.trace_id, link.context.span_id) == ids_of(request_id)
    assert spans["generate-data-key"].kind is SpanKind.CLIENT
    assert headers["traceparent"].split("-")[1:3] == [f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}"]


def test_the_authority_goes_on_with_the_callers_trace(
    traces: OpenTelemetryTraces, exporter: InMemorySpanExporter
) -> None:
    """What it answers is a span beneath the request's."""
    with traces.request("load-keyset", None) as headers:
        traces.served("load-keyset", headers, status=503, seconds=0.01)

    served, request = exporter.get_finished_spans()
    assert served.kind is SpanKind.SERVER
    assert served.parent is not None
    assert request.context is not None
    assert served.parent.span_id == request.context.span_id


def test_without_a_batch_a_stage_is_nobodys(traces: OpenTelemetryTraces, exporter: InMemorySpanExporter) -> None:
    """Keys that are fetched for something else make no span, and a batch that is over has no more of them."""
    traces.batch("r", waited_s=0, records=0, positions=[]).end("committed", None)
    exporter.clear()
    traces.stage("sink", 1.0)
    traces.keys(1.0)
    traces.brought([uuid4()])
    traces.retried("sink")

    assert exporter.get_finished_spans() == ()
