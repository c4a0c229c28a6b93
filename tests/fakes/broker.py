"""A broker that answers metadata alone: at times, as one that has just started, without any broker in the answer."""

from __future__ import annotations

import struct

from tests.fakes.framed import API_VERSIONS, METADATA, FramedServer, string

_LEADER_NOT_AVAILABLE = 5
_OFFERED = ((METADATA, 0, 4), (API_VERSIONS, 0, 0), (0, 0, 3), (1, 0, 4))


class FreshBroker(FramedServer):
    """
    Speaks as much of Kafka's protocol as a client needs to ask who is there.

    Args:
        cluster_id: what it calls its cluster, once it knows.
        every: each so many answers to metadata requests name a broker and the cluster; the others name neither.
    """

    def __init__(self, cluster_id: str, *, every: int) -> None:
        super().__init__(_OFFERED)
        self.cluster_id, self._every = cluster_id, every
        self.asked, self.may_create = 0, False

    def body(self, api: int, version: int, request: bytes) -> bytes:
        """Answer a request for metadata."""
        self.asked += 1
        # The last byte of a request of version 4 says whether topics that are missing may be made.
        self.may_create |= bool(_asked_topics(request)) and request[-1] == 1
        topics = _asked_topics(request)
        return self._known(topics) if self.asked % self._every == 0 else _unknown(topics)

    def _known(self, topics: list[bytes]) -> bytes:
        brokers = struct.pack(">ii", 1, 1) + string("127.0.0.1") + struct.pack(">ih", self.port, -1)
        described = b"".join(_topic(name, 0) for name in topics)
        head = struct.pack(">i", 0) + brokers + string(self.cluster_id)
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
