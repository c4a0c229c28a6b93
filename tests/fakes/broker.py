"""A broker that answers metadata alone: at times, as one that has just started, without any broker in the answer."""

from __future__ import annotations

import socketserver
import struct
import threading
from types import TracebackType
from typing import Self

API_VERSIONS, METADATA = 18, 3
_UNSUPPORTED_VERSION, _LEADER_NOT_AVAILABLE = 35, 5
_OFFERED = ((METADATA, 0, 4), (API_VERSIONS, 0, 0), (0, 0, 3), (1, 0, 4))


class FreshBroker:
    """
    Speaks as much of Kafka's protocol as a client needs to ask who is there.

    Args:
        cluster_id: what it calls its cluster, once it knows.
        every: each so many answers to metadata requests name a broker and the cluster; the others name neither.
    """

    def __init__(self, cluster_id: str, *, every: int) -> None:
        self.cluster_id, self._every = cluster_id, every
        self.asked, self.may_create = 0, False
        broker = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                while (head := self._exactly(4)) is not None:
                    body = self._exactly(struct.unpack(">i", head)[0])
                    if body is None:
                        return
                    answer = broker._answer(body)
                    self.request.sendall(struct.pack(">i", len(answer)) + answer)

            def _exactly(self, size: int) -> bytes | None:
                found = b""
                while len(found) < size:
                    part = self.request.recv(size - len(found))
                    if not part:
                        return None
                    found += part
                return found

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
        head = struct.pack(">i", correlation)
        if api == API_VERSIONS:
            offered = b"".join(struct.pack(">hhh", *each) for each in _OFFERED)
            return head + struct.pack(">hi", 0 if version == 0 else _UNSUPPORTED_VERSION, len(_OFFERED)) + offered
        self.asked += 1
        # The last byte of a request of version 4 says whether topics that are missing may be made.
        self.may_create |= bool(_asked_topics(request)) and request[-1] == 1
        topics = _asked_topics(request)
        return head + (self._known(topics) if self.asked % self._every == 0 else _unknown(topics))

    def _known(self, topics: list[bytes]) -> bytes:
        brokers = struct.pack(">ii", 1, 1) + _string("127.0.0.1") + struct.pack(">ih", self.port, -1)
        described = b"".join(_topic(name, 0) for name in topics)
        head = struct.pack(">i", 0) + brokers + _string(self.cluster_id)
        return head + struct.pack(">ii", 1, len(topics)) + described


def _unknown(topics: list[bytes]) -> bytes:
    described = b"".join(_topic(name, _LEADER_NOT_AVAILABLE) for name in topics)
    return struct.pack(">iihii", 0, 0, -1, -1, len(topics)) + described


def _topic(name: bytes, error: int) -> bytes:
    partition = struct.pack(">hiiiiii", 0, 0, 1, 1, 1, 1, 1) if not error else b""
    return struct.pack(">h", error) + name + struct.pack(">?i", False, 0 if error else 1) + partition


def _asked_topics(request: bytes) -> list[bytes]:
    """Return the topics of a metadata request, each with its length in front."""
    at = 10 + max(0, struct.unpack(">h", request[8:10])[0])
    (count,) = struct.unpack(">i", request[at : at + 4])
    found, at = [], at + 4
    for _ in range(max(0, count)):
        end = at + 2 + struct.unpack(">h", request[at : at + 2])[0]
        found.append(request[at:end])
        at = end
    return found


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()
