"""
Connections that send nothing, or too slowly: none of them is in the way of others.

A head must arrive within `header_s`, an answer be read within `unread_s`; a connection between requests lives
`idle_s`. Where an address, or all together, have as many as they may, the connection that has kept us waiting longest
makes room, those that were never answered first. So a new caller always gets in.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from worker.authority.guesses import Guesses
from worker.authority.heads import BUFFER_BYTES, BoundedConnection
from worker.authority.limits import ConnectionLimits
from worker.metrics import Metrics

# Anybody can send what is no request; that is counted, and has no line each.
_logger = logging.getLogger("uvicorn.error.connections")
_logger.setLevel(logging.ERROR)


class Guard:
    """Who is connected; used from the event loop alone. All of them are read into one buffer, which none keeps."""

    def __init__(self, limits: ConnectionLimits, metrics: Metrics) -> None:
        self.limits = limits
        self.buffer = memoryview(bytearray(BUFFER_BYTES))
        self.guesses = Guesses(limits)
        self._metrics = metrics
        self._by_address: defaultdict[str, set[GuardedProtocol]] = defaultdict(set)
        self._count = 0

    def admit(self, connection: GuardedProtocol) -> bool:
        """Take a connection in, making room where there is none; whether there was any to be had."""
        same = self._by_address[connection.address]
        if len(same) >= self.limits.per_address and not self._make_room(same, "address"):
            return False
        everyone = (c for each in self._by_address.values() for c in each)
        if self._count >= self.limits.total and not self._make_room(everyone, "full"):
            return False
        self._by_address[connection.address].add(connection)
        self._count += 1
        return True

    def leave(self, connection: GuardedProtocol) -> None:
        """Forget a connection."""
        same = self._by_address.get(connection.address, set())
        if connection in same:
            same.remove(connection)
            self._count -= 1
            if not same:
                del self._by_address[connection.address]

    def count(self, reason: str) -> None:
        """Count a connection that was closed."""
        self._metrics.inc("authority_connections_closed_total", reason=reason)

    def _make_room(self, among: Any, reason: str) -> bool:
        waiting = [c for c in among if c.is_waiting]
        if not waiting:
            return False
        longest = min(waiting, key=lambda c: (c.served > 0, c.since))
        self.leave(longest)
        longest.drop(reason)
        return True


class GuardedProtocol(H11Protocol, asyncio.BufferedProtocol):
    """HTTP/1.1 with bounds on how long and how many may keep us waiting, and how long a packet takes to read."""

    def __init__(self, guard: Guard, **options: Any) -> None:
        super().__init__(**options)
        self.conn = BoundedConnection()
        self.logger = _logger
        self._guard = guard
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._ending: asyncio.TimerHandle | None = None
        self.address = ""
        self.served = 0
        self.since = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether it is the caller that has to send something, or to read what it was sent."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body or self._unread is not None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let it in if there is room, and wait so long for a request's head."""
        super().connection_made(transport)
        self.address, self.since = (self.client or ("", 0))[0], time.monotonic()
        if not self._guard.admit(self):
            self.drop("refused")
            return
        self._timer = self.loop.call_later(self._guard.limits.header_s, self.drop, "header")

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room."""
        self._stop_timers()
        self._guard.leave(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait so long for the caller to read."""
        super().pause_writing()
        self._unread = self.loop.call_later(self._guard.limits.unread_s, self.drop, "unread")

    def resume_writing(self) -> None:
        """The caller reads."""
        super().resume_writing()
        self._stop_unread()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection between requests; an end that waits for somebody to read would never come."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self.drop("unread")

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read to."""
        return self._guard.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.data_received(self._guard.buffer[:nbytes])

    def send_400_response(self, msg: str) -> None:
        """
        Say that what came is no request, where an answer can still be begun; whoever makes another one stops.

        Nothing more is read, and the connection ends a while later: an end at once would only bring the next.
        """
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.pause_reading()
        self._stop_timers()
        self._ending = self.loop.call_later(self._guard.limits.malformed_s, self.drop, "malformed")
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._say_400(msg.encode())

    def _say_400(self, text: bytes) -> None:
        headers = [("content-type", "text/plain"), ("content-length", str(len(text))), ("connection", "close")]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=text), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))

    def data_received(self, data: bytes | memoryview) -> None:
        """Take what came; a head that has begun must end in time."""
        before = self.cycle
        super().data_received(data)  # type: ignore[arg-type]
        if self.cycle is not before:
            self._stop_timer()
        elif self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._timer = self.loop.call_later(self._guard.limits.header_s, self.drop, "header")
        self.since = time.monotonic()

    def on_response_complete(self) -> None:
        """Wait for the rest of a head that came with the request before it."""
        super().on_response_complete()
        self.served += 1
        idle = self.cycle is not None and self.cycle.response_complete
        if idle and self._timer is None and self.conn.trailing_data[0]:
            self._timer = self.loop.call_later(self._guard.limits.header_s, self.drop, "header")

    def drop(self, reason: str) -> None:
        """Close without a word."""
        self._stop_timers()
        self._guard.count(reason)
        self.transport.abort()

    def _stop_timers(self) -> None:
        self._stop_timer()
        self._stop_unread()
        if self._ending is not None:
            self._ending.cancel()

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class GuardedServer(uvicorn.Server):
    """Serves sockets through guarded connections."""

    def __init__(self, config: uvicorn.Config, guard: Guard) -> None:
        super().__init__(config)
        self._guard = guard

    async def startup(self, sockets: Any = None) -> None:
        """Listen."""
        await self.lifespan.startup()
        config, limits = self.config, self._guard.limits

        def protocol() -> GuardedProtocol:
            options = {"config": config, "server_state": self.server_state, "app_state": self.lifespan.state}
            return GuardedProtocol(self._guard, **options)

        self.servers = [
            await asyncio.get_running_loop().create_server(
                protocol,
                sock=each,
                ssl=config.ssl,
                ssl_handshake_timeout=limits.header_s if config.ssl else None,
                backlog=config.backlog,
            )
            for each in sockets
        ]
        self.started = True

    async def shutdown(self, sockets: Any = None) -> None:
        """Finish what is under way; nobody waits out a penalty any more."""
        self._guard.guesses.end()
        await super().shutdown(sockets)
