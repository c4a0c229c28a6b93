"""A broker that is every group's coordinator, and describes a group as the test says."""

from __future__ import annotations

import struct

from tests.fakes.framed import API_VERSIONS, METADATA, FramedServer, string

_FIND, _DESCRIBE = 10, 15
_OFFERED = ((METADATA, 0, 1), (_FIND, 0, 0), (_DESCRIBE, 0, 0), (API_VERSIONS, 0, 0))


class Coordinator(FramedServer):
    """
    Speaks as much of Kafka's protocol as it takes to ask for a group.

    Args:
        group: the group in its answer, from its error code on (`described`), or whatever stands for it.
    """

    def __init__(self, group: bytes) -> None:
        super().__init__(_OFFERED)
        self._group = group

    def body(self, api: int, version: int, request: bytes) -> bytes:
        """Answer who is there, who coordinates, or what the group is."""
        address = struct.pack(">i", 1) + string("127.0.0.1") + struct.pack(">i", self.port)
        if api == METADATA:
            rack_and_controller = struct.pack(">hi", -1, 1) if version else b""
            return struct.pack(">i", 1) + address + rack_and_controller + struct.pack(">i", 0)
        if api == _FIND:
            return struct.pack(">h", 0) + address
        return struct.pack(">i", 1) + self._group


def described(group: str, assignment: bytes) -> bytes:
    """Write a stable group with one member, which has been given this."""
    member = string("m") + string("c") + string("/h") + struct.pack(">i", 0)
    head = struct.pack(">h", 0) + b"".join(map(string, (group, "Stable", "consumer", "range")))
    return head + struct.pack(">i", 1) + member + struct.pack(">i", len(assignment)) + assignment
