"""What a registry's refusals and outages become."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from worker.avro import RegistrySchemas, SchemaRef
from worker.errors import ConfigError, RecordError, RegistryUnavailable


@contextmanager
def answering(status: int) -> Iterator[RegistrySchemas]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"error_code": %d, "message": "m"}' % status
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield RegistrySchemas(
                {"url": f"http://127.0.0.1:{server.server_port}", "max.retries": 0}, auto_register=True
            )
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, ConfigError),
        (403, ConfigError),
        (404, RecordError),
        (500, RegistryUnavailable),
        (503, RegistryUnavailable),
    ],
)
def test_an_answer_becomes_its_error(status: int, error: type[Exception]) -> None:
    """Refused credentials stop, an unknown id costs its records, an outage is waited out."""
    with answering(status) as schemas, pytest.raises(error):
        schemas.get(SchemaRef(id=1))
