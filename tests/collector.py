"""An OpenTelemetry collector on loopback: takes spans over OTLP/HTTP as protobuf and keeps them."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(slots=True)
class Collector:
    """What has arrived."""

    endpoint: str
    bodies: list[bytes] = field(default_factory=list)

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


@contextmanager
def collecting() -> Iterator[Collector]:
    """Serve a collector for the length of a block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
            collector.bodies.append(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
