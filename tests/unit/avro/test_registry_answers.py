"""What a registry's refusals and outages become."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from worker.avro import RegistrySchemas, SchemaRef
from worker.errors import ConfigError, RecordError, RegistryUnavailable


@contextmanager
def answering(
    status: int, code: int = 0, subjects: int = 0, *, headers: Mapping[str, str] | None = None
) -> Iterator[RegistrySchemas]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = (subjects or status) if self.path.startswith("/subjects") else status
            body = b"[]" if asked == 200 else b'{"error_code": %d, "message": "m"}' % (code or asked)
            self.send_response(asked)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with closing(
                RegistrySchemas({"url": f"http://127.0.0.1:{server.server_port}"}, auto_register=True)
            ) as made:
                yield made
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, ConfigError),
        (403, ConfigError),
        (500, RegistryUnavailable),
        (503, RegistryUnavailable),
    ],
)
def test_an_answer_becomes_its_error(status: int, error: type[Exception]) -> None:
    """Refused credentials stop, an unknown id costs its records, an outage is waited out."""
    with answering(status) as schemas, pytest.raises(error):
        schemas.get(SchemaRef(id=1))


def test_a_redirect_to_another_host_is_not_followed() -> None:
    """A registry that sends elsewhere is an answer of its own host, and the other host is never asked."""
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(500)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as other:
        threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        headers = {"Location": f"http://127.0.0.1:{other.server_port}/subjects"}
        with answering(307, headers=headers) as schemas, pytest.raises(RegistryUnavailable):
            schemas.check()
        other.shutdown()

    assert asked == []


@pytest.mark.parametrize(
    ("code", "subjects", "error"),
    [
        (40403, 404, RecordError),
        (404, 200, RecordError),
        (404, 404, RegistryUnavailable),
        (404, 502, RegistryUnavailable),
    ],
)
def test_only_the_registry_can_say_that_a_schema_is_unknown(code: int, subjects: int, error: type[Exception]) -> None:
    """A 404 without the registry's own code counts where the registry answers otherwise; a proxy's is an outage."""
    with answering(404, code, subjects) as schemas, pytest.raises(error):
        schemas.get(SchemaRef(id=1))
