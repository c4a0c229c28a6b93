"""
The authority over HTTP: CTS and ZeroKMS under one base, JSON in and out.

Source: protocol 3 and 4.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from worker.authority import request as read
from worker.authority.refusal import Refusal
from worker.authority.service import Authority
from worker.authority.tokens import Caller

_log = structlog.get_logger(__name__)
MAX_BODY_BYTES = 4 * 2**20
Handler = Callable[[Request], Awaitable[Response]]
Operation = Callable[[Caller, dict[str, Any]], Any]


def application(authority: Authority) -> Starlette:
    """Build the HTTP surface of an authority; nothing but health, JWKS and the exchange is unauthenticated."""
    operations: dict[str, Operation] = {
        "generate-data-key": authority.generate,
        "retrieve-data-key": authority.retrieve,
        "retrieve-data-key-fallible": authority.retrieve_fallible,
        "load-keyset": authority.load_keyset,
        "load-dataset": authority.load_keyset,
        **_administration(authority),
    }
    routes = [Route(f"/{name}", _operation(authority, act), methods=["POST"]) for name, act in operations.items()]
    for path in ("/api/authorise", "/api/authorize"):
        routes.append(Route(path, _authorise(authority), methods=["POST"]))
    routes.append(Route("/.well-known/jwks.json", _answer(lambda: authority.tokens.jwks())))
    routes.append(Route("/healthz", _answer(lambda: {"alive": True})))
    routes.append(Route("/readyz", _answer(lambda: {"ready": bool(authority.list_keysets(show_disabled=True))})))
    return Starlette(routes=routes)


def _administration(authority: Authority) -> dict[str, Operation]:
    def scoped(scope: str, act: Callable[[dict[str, Any]], Any]) -> Operation:
        def run(caller: Caller, body: dict[str, Any]) -> Any:
            caller.require(scope)
            result = act(body)
            return {} if result is None else result

        return run

    def keyset(body: dict[str, Any]) -> Any:
        reference = read.keyset_reference(body)
        if reference is None:
            raise Refusal(400, "keyset_id is missing")
        return reference

    def client(body: dict[str, Any]) -> Any:
        return read.identity(body.get("client_id"), "client_id")

    return {
        "create-keyset": scoped(
            "dataset:create", lambda b: authority.create_keyset(b.get("name", ""), str(b.get("description", "")))
        ),
        "list-keysets": scoped(
            "dataset:list", lambda b: authority.list_keysets(show_disabled=bool(b.get("show_disabled")))
        ),
        "enable-keyset": scoped("dataset:enable", lambda b: authority.set_disabled(keyset(b), False)),
        "disable-keyset": scoped("dataset:disable", lambda b: authority.set_disabled(keyset(b), True)),
        "grant-keyset": scoped("dataset:grant", lambda b: authority.grant(client(b), keyset(b))),
        "revoke-keyset": scoped("dataset:revoke", lambda b: authority.revoke(client(b), keyset(b))),
        "list-clients": scoped("client:list", lambda b: authority.list_clients()),
        "delete-client": scoped("client:delete", lambda b: authority.delete_client(client(b))),
    }


def _operation(authority: Authority, act: Operation) -> Handler:
    def run(body: bytes, authorization: str) -> Any:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refusal(401, "no bearer token")
        caller = authority.tokens.verify(token)
        return act(caller, read.parse(body))

    async def handle(request: Request) -> Response:
        return await _respond(request, lambda body: run(body, request.headers.get("authorization", "")))

    return handle


def _authorise(authority: Authority) -> Handler:
    async def handle(request: Request) -> Response:
        base = str(request.base_url)
        return await _respond(request, lambda body: authority.authorise(body, base))

    return handle


async def _respond(request: Request, run: Callable[[bytes], Any]) -> Response:
    try:
        body = await _body(request)
        return _json(await run_in_threadpool(run, body))
    except Refusal as exc:
        return _json({"error": str(exc)}, exc.status)
    except ClientDisconnect:
        return Response(status_code=400)
    except Exception as exc:
        # The class is enough to find the fault; the message could hold what the caller sent.
        _log.error("request_failed", path=request.url.path, error=type(exc).__name__)
        return _json({"error": "internal error"}, 500)


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise Refusal(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _answer(value: Callable[[], Any]) -> Handler:
    async def handle(_request: Request) -> Response:
        return _json(await run_in_threadpool(value))

    return handle


def _json(value: Any, status: int = 200) -> Response:
    # Published clients demand exactly this media type, without a charset.
    return Response(orjson.dumps(value), status, headers={"content-type": "application/json"})
