"""
What stands before a registry in production, as a real HTTP server: TLS, credentials, outages.

It also serves the two endpoints for GUIDs, which Apicurio lacks: here a GUID is the schema's number in 16 bytes.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

import httpx

_GUID = re.compile(r"/schemas/guids/([0-9a-f-]{36})(/ids)?")


def guid_of(number: int) -> UUID:
    """The GUID under which the front serves a schema."""
    return UUID(int=number)


class Front:
    """
    A reverse proxy; a context manager.

    Args:
        upstream: the registry's URL.
        authorization: the one `Authorization` header that is let in; None lets in all.
        keystore: PEM with key and certificate; None is plain HTTP.

    `status` other than 0 is answered to everything; `asked` holds the paths that were asked for.
    """

    def __init__(self, upstream: str, *, authorization: str | None = None, keystore: Path | None = None) -> None:
        self.status = 0
        self.asked: list[str] = []
        self._upstream = httpx.Client(base_url=upstream, timeout=30)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, authorization))
        self._scheme = "http"
        if keystore is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(keystore)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of one request."""
        self.asked.append(f"{method} {path.partition('?')[0]}")
        if self.status:
            return self.status, b"down"
        found = _GUID.match(path)
        if found is None:
            return self._ask(method, path, body)
        number = UUID(found[1]).int
        status, content = self._ask("GET", f"/schemas/ids/{number}", b"")
        if status == 200 and found[2]:
            content = json.dumps([{"context": ".", "id": number}]).encode()
        return status, content

    def _ask(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        given = {"Content-Type": "application/vnd.schemaregistry.v1+json"} if body else {}
        response = self._upstream.request(method, path.lstrip("/"), content=body, headers=given)
        return response.status_code, response.content

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._upstream.close()


def _handler(front: Front, authorization: str | None) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if authorization is not None and self.headers.get("Authorization") != authorization:
                status, content = 401, b'{"error_code": 40101, "message": "no"}'
            else:
                status, content = front.answer(self.command, self.path, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _serve

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    return Handler
