"""A process that forwards a port with added latency and full throughput: `python -m tests.bench.delay PORT SECONDS`."""

from __future__ import annotations

import asyncio
import sys


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def send() -> None:
        while True:
            at, data = await due.get()
            await asyncio.sleep(max(0.0, at - loop.time()))
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

    sending = asyncio.create_task(send())
    try:
        while data := await reader.read(1 << 18):
            due.put_nowait((loop.time() + delay_s, data))
    except ConnectionError:
        pass
    due.put_nowait((loop.time() + delay_s, b""))
    await asyncio.gather(sending, return_exceptions=True)


async def serve(port: int, delay_s: float) -> None:
    """Forward to `port` on loopback, half of the latency each way; print our own port."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pass(reader, far_writer, delay_s / 2), _pass(far_reader, writer, delay_s / 2))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
