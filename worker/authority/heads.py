"""HTTP/1.1 of which no packet takes long to read: what heads and pieces of bodies may be."""

from __future__ import annotations

import re
from typing import Any

import h11

BUFFER_BYTES = 64 * 1024
"""Read at once of one connection; then it is the others' turn."""
_TARGET_BYTES, _HEAD_BYTES, _HEAD_LINES = 2048, 16 * 1024, 64
_PIECES, _PIECE_BYTES = 16, 1024
_END = re.compile(rb"\n\r?\n")
_LAST = re.compile(rb"(?:\r?\n)?0+[^0-9A-Fa-f]")
"""The size of a body's last piece, after which there are lines as in a head."""


class BoundedConnection(h11.Connection):
    """
    A server's side of a connection; raises `RemoteProtocolError` for what is absurd before it is parsed.

    A head, and what follows a body in pieces, has 16 KiB and 64 lines, a target 2 KiB; of a body in pieces, all but 16
    are 1 KiB on average.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, _HEAD_BYTES)
        self._pieces = self._piece_bytes = 0
        self._is_in_pieces = self._is_between = self._is_last = False

    def next_event(self) -> Any:
        """Return the next event of what came."""
        if self.their_state is h11.IDLE:
            self._check_head(self.trailing_data[0])
        elif self._is_between:
            held = self.trailing_data[0]
            self._is_last = self._is_last or _LAST.match(held) is not None
            if self._is_last:
                self._check_lines(held)
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._pieces = self._piece_bytes = 0
            self._is_in_pieces = self._is_between = any(name == b"transfer-encoding" for name, _ in event.headers)
            self._is_last = False
        elif isinstance(event, h11.Data) and self._is_in_pieces:
            self._count(event)
        elif isinstance(event, h11.EndOfMessage):
            self._is_between = False
        return event

    def _count(self, data: h11.Data) -> None:
        self._pieces += data.chunk_start
        self._piece_bytes += len(data.data)
        self._is_between = data.chunk_end
        if self._pieces > _PIECES + self._piece_bytes // _PIECE_BYTES:
            raise h11.RemoteProtocolError("the body comes in too many small pieces")

    @staticmethod
    def _check_head(held: bytes) -> None:
        line = held[: _TARGET_BYTES + 1].find(b"\n")
        if line < 0 and len(held) > _TARGET_BYTES:
            raise h11.RemoteProtocolError("the target is too long", error_status_hint=414)
        BoundedConnection._check_lines(held)

    @staticmethod
    def _check_lines(held: bytes) -> None:
        held = held[: _HEAD_BYTES + 1]
        end = _END.search(held)
        size = len(held) if end is None else end.end()
        if size > _HEAD_BYTES or held.count(b"\n", 0, size) > _HEAD_LINES:
            raise h11.RemoteProtocolError("the head is too long", error_status_hint=431)
