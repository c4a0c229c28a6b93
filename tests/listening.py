"""A real HTTP server of a test: what it answers, a test says."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

JSON: Mapping[str, str] = {"Content-Type": "application/json"}


class Answer(NamedTuple):
    """One answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = JSON


class Listening:
    """
    A context manager that serves on a free port of loopback, each connection on a thread of its own.

    Args:
        keystore: PEM with key and certificate; None is plain HTTP.
        protocol: "HTTP/1.1" keeps a connection for many requests.
    """

    def __init__(self, keystore: Path | None = None, protocol: str = "HTTP/1.0") -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, protocol))
        self._server.daemon_threads = True
        if keystore is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(keystore)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if keystore else 'http'}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def answer(self, method: str, path: str, headers: Message, body: bytes) -> Answer:
        """Answer one request; `headers` are found in any case."""
        raise NotImplementedError

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _handler(listening: Listening, protocol: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = protocol
        # Without it an answer's body waits for the acknowledgement of its head.
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content, headers = listening.answer(self.command, self.path, self.headers, body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = do_CONNECT = _serve

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    return Handler
