"""What takes no service token: credentials to exchange, the seal's and the audit's public keys, health, metrics."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from worker.authority import wire
from worker.authority.answering import Answering
from worker.authority.head import TamperedStore
from worker.authority.operations import Operations
from worker.authority.refusal import Refusal
from worker.authority.replies import as_json


class Public:
    """
    Answers whoever asks.

    Args:
        answering: counts, refuses and reads bodies.
        operations: unlocks.
        ready: whether keys can be derived, and why not.
        exported: what a scrape is told.
    """

    def __init__(
        self,
        answering: Answering,
        operations: Operations,
        ready: Callable[[], dict[str, Any]],
        exported: CollectorRegistry,
    ) -> None:
        self._answering, self._operations, self._ready = answering, operations, ready
        self._exported = exported

    async def authorise(self, request: Request) -> Response:
        """Exchange an access key, or an identity provider's token, for a service token."""

        async def answer() -> Any:
            answering, tokens = self._answering, self._answering.tokens
            await answering.fresh()
            body = await answering.bodies.read(request, wire.Authorise)
            if body.accessKey is not None and body.oidcToken is None:
                return await asyncio.to_thread(tokens.for_access_key, body.accessKey)
            if body.oidcToken is not None and body.workspaceId is not None and body.accessKey is None:
                self._answering.turn_away(request)
                return await tokens.for_oidc(body.workspaceId, body.oidcToken)
            raise Refusal(400, "give an accessKey, or an oidcToken and a workspaceId")

        return await self._counted("authorise", request, answer)

    async def unlock(self, request: Request) -> Response:
        """Let a restored authority write again."""

        async def answer() -> Any:
            self._answering.turn_away(request)
            answering = self._answering
            body = await answering.bodies.read(request, wire.Unlock)
            return await asyncio.to_thread(self._operations.unlock, body)

        return await self._counted("api/unlock", request, answer)

    async def jwks(self, request: Request) -> Response:
        """Tell the public keys that tokens are verified with."""

        async def answer() -> Any:
            await self._answering.fresh()
            return self._answering.tokens.jwks()

        return await self._answering.refusing(request, answer)

    async def audit_key(self, _request: Request) -> Response:
        """Tell the public key that heads of the audit are verified with."""
        key = base64.b64encode(self._answering.trail.public_key).decode()
        return as_json({"algorithm": "Ed25519", "key": key})

    async def health(self, _request: Request) -> Response:
        """Say that the process answers."""
        return as_json({"alive": True})

    async def ready(self, _request: Request) -> Response:
        """Say whether keys can be derived; 503 where not."""
        await self._look()
        found = await asyncio.to_thread(self._ready)
        return as_json(found, 200 if found["ready"] else 503)

    async def metrics(self, request: Request) -> Response:
        """Export the metrics to who may read them."""
        answering = self._answering
        began = time.perf_counter()
        bearer = request.headers.get("authorization", "")[len("Bearer ") :]

        async def answer() -> Any:
            # A scraper sends one fixed bearer: an access key is taken as it is, for this endpoint alone.
            scraping = bearer.startswith("CSAK")
            if scraping:
                await self._look()
            caller = answering.tokens.for_scraping(bearer) if scraping else await answering.caller(request)
            caller.require("metrics:read")

        response = await answering.refusing(request, answer)
        if response.status_code == 200:
            text = await asyncio.to_thread(generate_latest, self._exported)
            response = Response(text, media_type=CONTENT_TYPE_LATEST)
        answering.count("metrics", response, began)
        return response

    async def _counted(self, name: str, request: Request, answer: Callable[[], Awaitable[Any]]) -> Response:
        began = time.perf_counter()
        response = await self._answering.refusing(request, answer)
        self._answering.count(name, response, began)
        return response

    async def _look(self) -> None:
        # A store that is away or can't be believed is what is to be told; nobody else may ask this replica meanwhile.
        with contextlib.suppress(TamperedStore, SQLAlchemyError):
            await self._answering.fresh.look()
