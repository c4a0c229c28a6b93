"""
What stands before a registry in production, as a real HTTP server: TLS, credentials, outages.

It also serves the two endpoints for GUIDs, which Apicurio lacks: here a GUID is the schema's number in 16 bytes.
"""

from __future__ import annotations

import json
import re
from email.message import Message
from pathlib import Path
from uuid import UUID

import httpx

from tests.listening import Answer, Listening

_GUID = re.compile(r"/schemas/guids/([0-9a-f-]{36})(/ids)?")


def guid_of(number: int) -> UUID:
    """The GUID under which the front serves a schema."""
    return UUID(int=number)


class Front(Listening):
    """
    A reverse proxy; a context manager.

    Args:
        upstream: the registry's URL.
        authorization: the one `Authorization` header that is let in; None lets in all.
        keystore: PEM with key and certificate; None is plain HTTP.

    `status` other than 0 is answered to everything; `asked` holds the paths that were asked for.
    """

    def __init__(self, upstream: str, *, authorization: str | None = None, keystore: Path | None = None) -> None:
        super().__init__(keystore)
        self.status = 0
        self.asked: list[str] = []
        self._authorization = authorization
        self._upstream = httpx.Client(base_url=upstream, timeout=30)

    def answer(self, method: str, path: str, headers: Message, body: bytes) -> Answer:
        """Answer what the registry answers, unless a test says otherwise."""
        if self._authorization is not None and headers.get("Authorization") != self._authorization:
            return Answer(401, b'{"error_code": 40101, "message": "no"}')
        self.asked.append(f"{method} {path.partition('?')[0]}")
        if self.status:
            return Answer(self.status, b"down")
        found = _GUID.match(path)
        if found is None:
            return self._ask(method, path, body)
        number = UUID(found[1]).int
        reply = self._ask("GET", f"/schemas/ids/{number}", b"")
        if reply.status == 200 and found[2]:
            return Answer(200, json.dumps([{"context": ".", "id": number}]).encode())
        return reply

    def _ask(self, method: str, path: str, body: bytes) -> Answer:
        given = {"Content-Type": "application/vnd.schemaregistry.v1+json"} if body else {}
        response = self._upstream.request(method, path.lstrip("/"), content=body, headers=given)
        return Answer(response.status_code, response.content)

    def close(self) -> None:
        """Serve no more."""
        super().close()
        self._upstream.close()
