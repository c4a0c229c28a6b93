"""A PostgreSQL pooler as its clients see one: it does with their startup options what poolers do with them."""

from __future__ import annotations

import asyncio
import struct

from tests.proxy import Proxy

# For TLS and for GSSAPI, each answered with no.
_ENCRYPTION = (80_877_103, 80_877_104)
_REFUSAL = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter in options: statement_timeout\0\0"


class Pooler(Proxy):
    """
    Leads each connection to the server, but for its `options`.

    Args:
        port: the server's.
        refuses: refuse a connection with options, as PgBouncer does; else drop them, as it does where it is told to
            (`ignore_startup_parameters`), and others do unasked.
    """

    def __init__(self, port: int, *, refuses: bool) -> None:
        super().__init__(port)
        self._refuses_options = refuses

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        startup = await _packet(reader)
        while struct.unpack_from(">I", startup)[0] in _ENCRYPTION:
            writer.write(b"N")
            startup = await _packet(reader)
        words = startup[4:].split(b"\0")
        given = dict(zip(words[:-2:2], words[1:-2:2], strict=True))
        if given.pop(b"options", None) is not None and self._refuses_options:
            writer.write(b"E" + struct.pack(">I", len(_REFUSAL) + 4) + _REFUSAL)
            await writer.drain()
            writer.close()
            return
        body = startup[:4] + b"".join(name + b"\0" + value + b"\0" for name, value in given.items()) + b"\0"
        there_reader, there = await asyncio.open_connection(*self._target)
        there.write(struct.pack(">I", len(body) + 4) + body)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, there))
                group.create_task(self._pump(there_reader, writer))
        finally:
            writer.close()
            there.close()


async def _packet(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    return await reader.readexactly(length - 4)
