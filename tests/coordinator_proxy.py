"""A proxy in front of one broker that its clients can't get around, and that holds a group's answers back."""

from __future__ import annotations

import asyncio
import contextlib
import struct

from tests.proxy import Proxy

_METADATA, _FIND_COORDINATOR, _HEARTBEAT = 3, 10, 68
_NO_ASSIGNMENT = b"\xff"


class CoordinatorProxy(Proxy):
    """
    Names itself wherever the broker names itself, so that clients stay with it.

    `hold_s` is how long it holds back the answers to heartbeats of the `consumer` protocol that tell an assignment:
    `held` counts them. What follows such an answer on its connection waits with it.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._broker = b"127.0.0.1" + struct.pack(">i", port)
        self.hold_s = 0.0
        self.held = 0

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there = await asyncio.open_connection(*self._target)
        asked: dict[int, int] = {}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._requests(reader, there, asked))
                group.create_task(self._answers(there_reader, writer, asked))
        finally:
            writer.close()
            there.close()

    async def _requests(self, reader: asyncio.StreamReader, there: asyncio.StreamWriter, asked: dict[int, int]) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(reader)
                api, _version, correlation = struct.unpack(">hhi", frame[4:12])
                asked[correlation] = api
                there.write(frame)
                await there.drain()
        there.close()

    async def _answers(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[int, int]) -> None:
        named = b"127.0.0.1" + struct.pack(">i", self.port)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(there)
                api = asked.pop(struct.unpack(">i", frame[4:8])[0])
                if api in (_METADATA, _FIND_COORDINATOR):
                    frame = frame.replace(self._broker, named)
                if api == _HEARTBEAT and self.hold_s and not frame.endswith(_NO_ASSIGNMENT + b"\0"):
                    self.held += 1
                    await asyncio.sleep(self.hold_s)
                writer.write(frame)
                await writer.drain()
        writer.close()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """Read one message of the protocol, its size included."""
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack(">i", head)[0])
