"""An OpenTelemetry collector on loopback: takes spans over OTLP/HTTP as protobuf and keeps them."""

from __future__ import annotations

import gzip
from email.message import Message

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.listening import Answer, Listening


class Collector(Listening):
    """A context manager; `bodies` holds what has arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    def answer(self, method: str, path: str, headers: Message, body: bytes) -> Answer:
        """Keep an export."""
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        assert (path, headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
        self.bodies.append(body)
        return Answer(200)

    def spans(self, service: str | None = None) -> list[Span]:
        """Return the spans, of one service or all."""
        found = []
        for body in list(self.bodies):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                named = {a.key: a.value.string_value for a in resource.resource.attributes}
                if service in (None, named["service.name"]):
                    found += [span for scope in resource.scope_spans for span in scope.spans]
        return found

    def resources(self) -> list[dict[str, str]]:
        """Return the attributes of those that sent something."""
        requests = map(ExportTraceServiceRequest.FromString, list(self.bodies))
        each = [resource.resource.attributes for request in requests for resource in request.resource_spans]
        return [{a.key: a.value.string_value for a in attributes} for attributes in each]
