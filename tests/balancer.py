"""One address with several servers behind it, each request to whichever `choose` says: a real HTTP reverse proxy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from email.message import Message

import httpx

from tests.listening import Answer, Listening

_PASSED = ("authorization", "content-type", "accept", "accept-encoding")


class Balancer(Listening):
    """
    A context manager; requests of one connection may go to different servers.

    Args:
        choose: called for each request, returns the place of its server in `servers`.

    `servers` holds the servers' URLs; `served` says for each request its path and the place of who answered.
    """

    def __init__(self, choose: Callable[[], int]) -> None:
        super().__init__(protocol="HTTP/1.1")
        self.url += "/"
        self.choose, self.servers, self.served = choose, list[str](), list[tuple[str, int]]()
        self._lock = threading.Lock()
        self._upstream = httpx.Client(timeout=30, trust_env=False)

    def answer(self, method: str, path: str, headers: Message, body: bytes) -> Answer:
        """Ask one of the servers."""
        with self._lock:
            place = self.choose()
            self.served.append((path, place))
        given = {name: headers[name] for name in _PASSED if name in headers}
        reply = self._upstream.request(method, self.servers[place].rstrip("/") + path, content=body, headers=given)
        return Answer(reply.status_code, reply.content, {"Content-Type": reply.headers["content-type"]})

    def close(self) -> None:
        """Serve no more."""
        super().close()
        self._upstream.close()
