"""A TCP proxy on loopback whose faults a test turns on and off: delay, cut, half-open, refuse."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 65536


class Proxy:
    """
    Forwards a port of its own to `host:port`; runs an event loop on a thread of its own.

    The faults may be changed at any time from any thread:

    - `delay_s` holds every chunk back for so long, in each direction;
    - `bytes_per_s` lets no more through in each direction of a connection; 0 is no limit;
    - `half_open` accepts, and keeps connections, but forwards nothing: what a lost network looks like;
    - `refuse` resets every new connection at once; `cut()` resets those that are open now.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.delay_s = 0.0
        self.bytes_per_s = 0.0
        self._target = (host, port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refuse = False
        self._flows = asyncio.Event()
        self.connections = 0
        self.port = 0

    @property
    def address(self) -> str:
        """`host:port` of the proxy."""
        return f"127.0.0.1:{self.port}"

    @property
    def refuse(self) -> bool:
        """Whether new connections are reset."""
        return self._refuse

    @refuse.setter
    def refuse(self, on: bool) -> None:
        self._refuse = on

    def lead_to(self, port: int, host: str = "127.0.0.1") -> None:
        """Lead new connections to another server; those that are open stay where they are."""
        self._target = (host, port)

    @property
    def half_open(self) -> bool:
        """Whether bytes are held back for as long as this is on."""
        return not self._flows.is_set()

    @half_open.setter
    def half_open(self, on: bool) -> None:
        self._on_loop(self._flows.clear if on else self._flows.set)

    def cut(self) -> None:
        """Reset every connection that is open now."""
        self._on_loop(self._reset_all)

    def start(self) -> Self:
        """Listen; returns when connections are accepted."""
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def stop(self) -> None:
        """Close everything; safe to call once."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _on_loop(self, action: object) -> None:
        async def run() -> None:
            assert callable(action)
            action()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    async def _listen(self) -> asyncio.Server:
        self._flows.set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._forward(reader, writer)
        finally:
            self._tasks.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuse:
            _reset(writer)
            return
        try:
            there_reader, there = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        ends = {writer, there}
        self._open |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, there))
                group.create_task(self._pump(there_reader, writer))
        finally:
            self._open -= ends
            writer.close()
            there.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.bytes_per_s:
                    await asyncio.sleep(len(chunk) / self.bytes_per_s)
                await self._flows.wait()
                writer.write(chunk)
                await writer.drain()
            writer.write_eof()

    def _reset_all(self) -> None:
        for writer in tuple(self._open):
            _reset(writer)

    async def _close(self) -> None:
        self._server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset: a linger time of zero makes the kernel send RST and drop what is unsent."""
    raw = writer.transport.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
