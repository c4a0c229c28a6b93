"""The authority's HTTP surface: protocol 3 and 4, our enrolment, health and JWKS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from sqlalchemy.exc import IntegrityError
from starlette.requests import ClientDisconnect

from worker.authority import decoding, wire
from worker.authority.access import Caller
from worker.authority.clients import Clients
from worker.authority.datakeys import DataKeys
from worker.authority.escrow import ServerMadeClients
from worker.authority.keysets import Keysets
from worker.authority.limits import LimitOptions
from worker.authority.management import Management
from worker.authority.refusal import Refusal
from worker.authority.tokens import Tokens
from worker.errors import KeyAccessDenied
from worker.metrics import Metrics

_log = structlog.get_logger(__name__)
_INLINE_KEYS = 8
_DERIVATIONS = (
    "/generate-data-key",
    "/retrieve-data-key",
    "/retrieve-data-key-fallible",
    "/load-keyset",
    "/load-dataset",
)
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the surface is made of."""

    tokens: Tokens
    data_keys: DataKeys
    keysets: Keysets
    clients: Clients
    server_made: ServerMadeClients
    management: Management
    metrics: Metrics
    limits: LimitOptions
    deriving: ThreadPoolExecutor


def application(parts: Parts) -> FastAPI:
    """Build the surface; only health, JWKS and the token exchange take no service token."""
    app = FastAPI(title="Authority", version="1", docs_url=None, redoc_url=None, openapi_url=None)
    models: list[type[BaseModel]] = []

    def post(path: str, model: type[BaseModel], action: Callable[[Caller, Any], Any], method: str = "POST") -> None:
        models.append(model)
        extra = {
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}},
            },
            "security": [{"token": []}],
        }
        app.add_api_route(
            path, _calling(parts, path, model, action), methods=[method], openapi_extra=extra, responses=_RESPONSES
        )

    def get(path: str, action: Callable[[Caller], Any]) -> None:
        extra: dict[str, Any] = {"security": [{"token": []}]}
        handler = _calling(parts, path, None, lambda caller, _: action(caller))
        app.add_api_route(path, handler, methods=["GET"], openapi_extra=extra, responses=_RESPONSES)

    _zerokms(parts, post)
    _management(parts, app, post, get)
    _open(parts, app, models)
    app.openapi = lambda: _openapi(app, models)  # type: ignore[method-assign]
    return app


_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {}}},
    **{s: {"description": "refused", "content": {"application/json": {}}} for s in (400, 401, 402, 403, 404, 408, 409)},
    **{s: {"description": "refused", "content": {"application/json": {}}} for s in (413, 422, 429, 503)},
}


def _zerokms(parts: Parts, post: Callable[..., None]) -> None:
    keys, keysets, clients = parts.data_keys, parts.keysets, parts.clients
    post("/generate-data-key", wire.Generate, keys.generate)
    post("/retrieve-data-key", wire.Retrieve, keys.retrieve)
    post("/retrieve-data-key-fallible", wire.Retrieve, keys.retrieve_fallible)
    post("/load-keyset", wire.LoadKeyset, keys.load_keyset)
    post("/load-dataset", wire.LoadKeyset, keys.load_keyset)
    post("/create-keyset", wire.CreateKeyset, keysets.create)
    post("/list-keysets", wire.ListKeysets, keysets.list)
    post("/modify-keyset", wire.ModifyKeyset, keysets.modify)
    post("/enable-keyset", wire.OneKeyset, keysets.enable)
    post("/disable-keyset", wire.OneKeyset, keysets.disable)
    post("/grant-keyset", wire.ClientKeyset, keysets.grant)
    post("/revoke-keyset", wire.ClientKeyset, keysets.revoke)
    post("/create-client", wire.CreateClient, parts.server_made.create)
    post("/list-clients", wire.ListClients, clients.list)
    post("/delete-client", wire.DeleteClient, clients.delete)
    post("/propose-client", wire.ProposeClient, clients.propose)
    post("/approve-client", wire.ApproveClient, clients.approve)
    post("/mask-client", wire.MaskClient, clients.mask)
    post("/activate-client", wire.ActivateClient, clients.activate)


def _management(parts: Parts, app: FastAPI, post: Callable[..., None], get: Callable[..., None]) -> None:
    cts = parts.management
    get("/api/workspaces", cts.list_workspaces)
    get("/api/access-keys", cts.list_access_keys)
    post("/api/access-keys", wire.CreateAccessKey, cts.create_access_key)
    post("/api/access-key", wire.DeleteAccessKey, cts.delete_access_key, "DELETE")
    get("/api/oidc/providers", cts.list_providers)
    post("/api/oidc/providers", wire.CreateProvider, cts.create_provider)
    get("/api/memberships", cts.list_memberships)
    post("/api/memberships", wire.CreateMembership, cts.create_membership)
    post("/api/subjects/block", wire.Subject, cts.block)
    post("/api/subjects/unblock", wire.Subject, cts.unblock)
    secured: dict[str, Any] = {"security": [{"token": []}]}
    for path, action in (
        ("/api/oidc/providers/{row}", cts.delete_provider),
        ("/api/memberships/{row}", cts.delete_membership),
    ):
        app.add_api_route(
            path, _deleting(parts, path, action), methods=["DELETE"], openapi_extra=secured, responses=_RESPONSES
        )


def _open(parts: Parts, app: FastAPI, models: list[type[BaseModel]]) -> None:
    models.append(wire.Authorise)

    async def authorise(request: Request) -> Response:
        async def answer() -> Any:
            body = await _read(request, wire.Authorise, parts.limits)
            if body.accessKey is not None and body.oidcToken is None:
                return await asyncio.to_thread(parts.tokens.for_access_key, body.accessKey)
            if body.oidcToken is not None and body.workspaceId is not None and body.accessKey is None:
                return await asyncio.to_thread(parts.tokens.for_oidc, body.workspaceId, body.oidcToken)
            raise Refusal(400, "give an accessKey, or an oidcToken and a workspaceId")

        return await _answered(parts, "authorise", answer)

    async def jwks(_request: Request) -> Response:
        return _json(parts.tokens.jwks())

    async def health(_request: Request) -> Response:
        return _json({"alive": True})

    async def metrics(request: Request) -> Response:
        async def answer() -> Any:
            _caller(parts, request)

        refused = await _answered(parts, "metrics", answer)
        if refused.status_code != 200:
            return refused
        return Response(generate_latest(parts.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    ref = {"application/json": {"schema": {"$ref": "#/components/schemas/Authorise"}}}
    for path in ("/api/authorise", "/api/authorize"):
        extra = {"requestBody": {"required": True, "content": ref}}
        app.add_api_route(path, authorise, methods=["POST"], openapi_extra=extra, responses=_RESPONSES)
    app.add_api_route("/.well-known/jwks.json", jwks, methods=["GET"])
    app.add_api_route("/healthz", health, methods=["GET"])
    app.add_api_route("/readyz", health, methods=["GET"])
    app.add_api_route("/metrics", metrics, methods=["GET"], include_in_schema=False)


def _calling(parts: Parts, path: str, model: type[BaseModel] | None, action: Callable[[Caller, Any], Any]) -> Handler:
    async def handler(request: Request) -> Response:
        async def answer() -> Any:
            caller = _caller(parts, request)
            body = None if model is None else await _read(request, model, parts.limits)
            if path in _DERIVATIONS:
                if len(getattr(body, "keys", ())) <= _INLINE_KEYS:
                    return action(caller, body)
                # One thread: more would only take the interpreter from each other.
                return await asyncio.get_running_loop().run_in_executor(parts.deriving, action, caller, body)
            return await asyncio.to_thread(action, caller, body)

        return await _answered(parts, path.strip("/"), answer)

    return handler


def _deleting(parts: Parts, path: str, action: Callable[[Caller, str], Any]) -> Callable[..., Awaitable[Response]]:
    async def handler(request: Request, row: str) -> Response:
        async def answer() -> Any:
            return await asyncio.to_thread(action, _caller(parts, request), row)

        return await _answered(parts, path.strip("/"), answer)

    return handler


def _caller(parts: Parts, request: Request) -> Caller:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Refusal(401, "a service token is needed")
    return parts.tokens.verify(token)


async def _read(request: Request, model: type[BaseModel], limits: LimitOptions) -> Any:
    received = bytearray()
    try:
        async with asyncio.timeout(limits.body_s):
            async for chunk in request.stream():
                received += chunk
                if len(received) > limits.body_bytes:
                    raise Refusal(413, f"the body is longer than {limits.body_bytes} bytes")
    except TimeoutError:
        raise Refusal(408, "the body took too long to arrive") from None
    try:
        return model.model_validate(decoding.parse(bytes(received)))
    except ValidationError as exc:
        places = sorted({".".join(map(str, e["loc"])) + ": " + e["type"] for e in exc.errors(include_input=False)})
        raise Refusal(400, "the body is not valid: " + "; ".join(places[:5])) from None


async def _answered(parts: Parts, endpoint: str, answer: Callable[[], Awaitable[Any]]) -> Response:
    began = time.perf_counter()
    try:
        response = _json(await answer())
    except Refusal as refusal:
        response = _refused(refusal)
    except IntegrityError:
        response = _refused(Refusal(409, "another request was faster"))
    except KeyAccessDenied as denied:
        response = _refused(Refusal(403, str(denied)))
    except ClientDisconnect:
        response = _refused(Refusal(400, "the caller went away"))
    parts.metrics.inc("authority_requests_total", endpoint=endpoint, status=str(response.status_code))
    parts.metrics.observe("authority_request_seconds", time.perf_counter() - began, endpoint=endpoint)
    return response


def _refused(refusal: Refusal) -> Response:
    _log.debug("request_refused", status=refusal.status, reason=refusal.reason)
    return _json({"error": refusal.reason}, refusal.status)


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")


def _openapi(app: FastAPI, models: list[type[BaseModel]]) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    template = "#/components/schemas/{model}"
    _, found = models_json_schema([(m, "validation") for m in dict.fromkeys(models)], ref_template=template)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(found["$defs"])
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return document
