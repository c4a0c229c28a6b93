"""A broker that is every group's coordinator, and describes a group as the test says."""

from __future__ import annotations

import socketserver
import struct
import threading
from types import TracebackType
from typing import Self

_METADATA, _FIND, _DESCRIBE, _API_VERSIONS = 3, 10, 15, 18
_OFFERED = ((_METADATA, 0, 1), (_FIND, 0, 0), (_DESCRIBE, 0, 0), (_API_VERSIONS, 0, 0))


class Coordinator:
    """
    Speaks as much of Kafka's protocol as it takes to ask for a group.

    Args:
        group: the group in its answer, from its error code on (`described`), or whatever stands for it.
    """

    def __init__(self, group: bytes) -> None:
        self._group = group
        coordinator = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while head := self.rfile.read(4):
                    answer = coordinator._answer(self.rfile.read(struct.unpack(">i", head)[0]))
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

    def _answer(self, request: bytes) -> bytes:
        api, version, correlation = struct.unpack(">hhi", request[:8])
        address = struct.pack(">i", 1) + string("127.0.0.1") + struct.pack(">i", self.port)
        if api == _API_VERSIONS:
            offered = b"".join(struct.pack(">hhh", *each) for each in _OFFERED)
            body = struct.pack(">hi", 35 if version else 0, len(_OFFERED)) + offered
        elif api == _METADATA:
            rack_and_controller = struct.pack(">hi", -1, 1) if version else b""
            body = struct.pack(">i", 1) + address + rack_and_controller + struct.pack(">i", 0)
        elif api == _FIND:
            body = struct.pack(">h", 0) + address
        else:
            body = struct.pack(">i", 1) + self._group
        return struct.pack(">i", correlation) + body


def described(group: str, assignment: bytes) -> bytes:
    """Write a stable group with one member, which has been given this."""
    member = string("m") + string("c") + string("/h") + struct.pack(">i", 0)
    head = struct.pack(">h", 0) + b"".join(map(string, (group, "Stable", "consumer", "range")))
    return head + struct.pack(">i", 1) + member + struct.pack(">i", len(assignment)) + assignment


def string(text: str) -> bytes:
    """Write a text as the protocol does."""
    return struct.pack(">h", len(text)) + text.encode()
