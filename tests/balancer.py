"""One address with several servers behind it, each request to whichever `choose` says: a real HTTP reverse proxy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import httpx

_PASSED = ("authorization", "content-type", "accept", "accept-encoding")


class Balancer:
    """
    A context manager; requests of one connection may go to different servers.

    Args:
        choose: called for each request, returns the place of its server in `servers`.

    `servers` holds the servers' URLs; `served` says for each request its path and the place of who answered.
    """

    def __init__(self, choose: Callable[[], int]) -> None:
        self.choose, self.servers, self.served = choose, list[str](), list[tuple[str, int]]()
        self._lock = threading.Lock()
        self._upstream = httpx.Client(timeout=30, trust_env=False)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx.Response:
        """Ask one of the servers."""
        with self._lock:
            place = self.choose()
            self.served.append((path, place))
        url = self.servers[place].rstrip("/") + path
        return self._upstream.request(method, url, content=body, headers=headers)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._upstream.close()


def _handler(balancer: Balancer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without it an answer's body waits for the acknowledgement of its head.
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            given = {name: self.headers[name] for name in _PASSED if name in self.headers}
            reply = balancer.answer(self.command, self.path, given, body)
            self.send_response(reply.status_code)
            self.send_header("Content-Type", reply.headers.get("content-type", "application/json"))
            self.send_header("Content-Length", str(len(reply.content)))
            self.end_headers()
            self.wfile.write(reply.content)

        do_GET = do_POST = do_DELETE = _serve

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    return Handler
