"""The key service over HTTP for programs with an event loop: the same exchanges over an asynchronous pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import UUID

import anyio
import anyio.to_thread
import httpx

from worker.errors import ConfigError, KeyAccessDenied, KeyServiceUnavailable, WorkerError
from worker.http_client import open_async_client, silence
from worker.model import Audit, DataKey, KeyRefused, KeySpec, RetrieveRequest
from worker.zerokms.client import ZeroKMSClient
from worker.zerokms.exchange import Exchange, Exchanges, LoadedKeyset, ended, parted
from worker.zerokms.http import AUDIT_ENTRY, accept
from worker.zerokms.loops import PerLoop
from worker.zerokms.token import ServiceToken

_T = TypeVar("_T")


class AsyncKeyService(Protocol):
    """A `KeyService` whose calls are coroutines; the same answers and errors."""

    async def generate(self, requests: Sequence[KeySpec], audit: Audit) -> Sequence[DataKey]:
        """See `KeyService.generate`."""
        ...

    async def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> Sequence[DataKey | KeyRefused]:
        """See `KeyService.retrieve`."""
        ...

    async def close(self) -> None:
        """Release what it holds; safe to call twice."""
        ...


class _Line(NamedTuple):
    http: httpx.AsyncClient
    slots: anyio.Semaphore


class AsyncZeroKMSClient:
    """
    The calls of a `ZeroKMSClient` as coroutines, under asyncio or trio; each event loop has connections of its own.

    Requests go over httpx's asynchronous client. A service token, needed every few minutes, is exchanged in a thread,
    since an identity provider's token is asked for by whatever the program gave.

    Args:
        client: whose credentials, addresses and tokens these are; closed together with this.
    """

    def __init__(self, client: ZeroKMSClient) -> None:
        self.client, self.tokens = client, client.tokens
        self._exchanges = Exchanges(client.credentials)
        self._lines = PerLoop(self._line)
        self._keysets: dict[str | None, LoadedKeyset] = {}

    async def generate(self, requests: Sequence[KeySpec], audit: Audit) -> Sequence[DataKey]:
        """Return one fresh data key per request; see `KeyService`."""
        references = {request.keyset for request in requests}
        known = {reference: await self._resolve(reference) for reference in references}
        keysets = [known[request.keyset] for request in requests]
        return await self._parted(requests, keysets, lambda keyset, part: self._exchanges.generate(keyset, part, audit))

    async def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> Sequence[DataKey | KeyRefused]:
        """Return each request's data key, or why that one was refused; see `KeyService`."""
        missing = any(request.keyset is None for request in requests)
        default = await self._resolve(None) if missing else None
        keysets = [default if request.keyset is None else request.keyset for request in requests]
        return await self._parted(requests, keysets, lambda keyset, part: self._exchanges.retrieve(keyset, part, audit))

    async def load_keyset(self, ref: str | UUID | None = None) -> LoadedKeyset:
        """Ask for a keyset by name or uuid, None for the client's own default; the answer is kept."""
        name = None if ref is None else str(ref)
        if name not in self._keysets:
            self._keysets[name] = await self._drive(self._exchanges.load(ref))
        return self._keysets[name]

    async def close(self) -> None:
        """Close the connections of the loop that runs, and of no other; safe to call twice."""
        line = self._lines.take()
        if line is not None:
            await line.http.aclose()
        await anyio.to_thread.run_sync(self.client.close)

    def _line(self) -> _Line:
        options = self.client.options
        http = open_async_client(
            timeout_s=options.timeout_s,
            connect_timeout_s=options.connect_timeout_s,
            connections=options.requests_in_flight + 1,
            proxy=options.proxy,
        )
        return _Line(http, anyio.Semaphore(options.requests_in_flight))

    async def _resolve(self, ref: str | None) -> UUID:
        try:
            return UUID(ref) if ref is not None else (await self.load_keyset(None)).id
        except ValueError:
            return (await self.load_keyset(ref)).id

    async def _parted(self, requests: Sequence[Any], keysets: Sequence[Any], exchange: Any) -> Sequence[Any]:
        jobs = parted(requests, keysets, self.client.keys_per_request)
        found: list[Any] = [None] * len(requests)
        failures: list[WorkerError] = []

        async def ask(keyset: UUID, at: list[int], part: list[Any]) -> None:
            try:
                for i, answer in zip(at, await self._drive(exchange(keyset, part)), strict=True):
                    found[i] = answer
            except WorkerError as exc:
                # Raised by a task it would come out as one of a group, which no caller expects.
                failures.append(exc)
                group.cancel_scope.cancel()

        if len(jobs) == 1:
            only: Sequence[Any] = await self._drive(exchange(jobs[0][0], jobs[0][2]))
            return only
        async with anyio.create_task_group() as group:
            for job in jobs:
                group.start_soon(ask, *job)
        if failures:
            raise failures[0]
        return found

    async def _drive(self, exchange: Exchange[_T]) -> _T:
        endpoint, body, request_id = next(exchange)
        try:
            reply: object = await self._post(endpoint, body, request_id)
        except KeyAccessDenied as exc:
            return ended(exchange, exc)
        return ended(exchange, reply)

    async def _post(self, endpoint: str, body: bytes, request_id: UUID | None) -> bytes:
        line = self._lines.get()
        async with line.slots:
            token = await self._token()
            reply = await self._send(line.http, endpoint, body, token)
            if reply.status_code == httpx.codes.UNAUTHORIZED:
                self.client.tokens.forget(token)
                reply = await self._send(line.http, endpoint, body, await self._token())
        self.client.receipts.note(reply.headers.get(AUDIT_ENTRY), request_id)
        return accept(endpoint, reply)

    async def _token(self) -> ServiceToken:
        tokens = self.client.tokens
        held = tokens.held()
        return await anyio.to_thread.run_sync(tokens.token) if held is None else held

    async def _send(self, http: httpx.AsyncClient, endpoint: str, body: bytes, token: ServiceToken) -> httpx.Response:
        base = self.client.zerokms or token.zerokms
        if base is None:
            raise ConfigError("the service token names no key service; set CS_ZEROKMS_HOST")
        headers = {"authorization": f"Bearer {token.text}", "content-type": "application/json"}
        try:
            return await http.post(f"{base.rstrip('/')}/{endpoint}", content=body, headers=headers)
        except httpx.HTTPError as exc:
            raise KeyServiceUnavailable(f"the key service at {base} does not answer: {silence(exc)}") from exc
