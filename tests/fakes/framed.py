"""A server that speaks Kafka's framing, and answers as its kind says."""

from __future__ import annotations

import socketserver
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Self

API_VERSIONS, METADATA = 18, 3
_UNSUPPORTED_VERSION = 35


class FramedServer(ABC):
    """
    Takes requests on a port of its own.

    Args:
        offered: the requests that it says it knows, each with its first and last version.
    """

    def __init__(self, offered: Sequence[tuple[int, int, int]]) -> None:
        self._offered = offered
        server = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while len(head := self.rfile.read(4)) == 4:
                    (size,) = struct.unpack(">i", head)
                    request = self.rfile.read(size)
                    if len(request) < size:
                        return
                    answer = server._answer(request)
                    self.wfile.write(struct.pack(">i", len(answer)) + answer)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @abstractmethod
    def body(self, api: int, version: int, request: bytes) -> bytes:
        """Answer a request other than for what is offered."""

    def _answer(self, request: bytes) -> bytes:
        api, version, correlation = struct.unpack(">hhi", request[:8])
        body = self._versions(version) if api == API_VERSIONS else self.body(api, version, request)
        return struct.pack(">i", correlation) + body

    def _versions(self, version: int) -> bytes:
        offered = b"".join(struct.pack(">hhh", *each) for each in self._offered)
        return struct.pack(">hi", _UNSUPPORTED_VERSION if version else 0, len(self._offered)) + offered


def string(text: str) -> bytes:
    """Write a text as the protocol does."""
    return struct.pack(">h", len(text)) + text.encode()
