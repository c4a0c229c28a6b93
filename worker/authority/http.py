"""The authority's HTTP surface: protocol 3 and 4, our enrolment, health and JWKS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from worker.authority import wire
from worker.authority.access import Caller
from worker.authority.answering import Action, Answering, Handler
from worker.authority.auditing import Auditing
from worker.authority.clients import Clients
from worker.authority.datakeys import DataKeys
from worker.authority.direct import Direct
from worker.authority.document import document, operations
from worker.authority.endpoints import ENDPOINTS
from worker.authority.enrolment import Enrolment
from worker.authority.erasing import Erasing
from worker.authority.escrow import ServerMadeClients
from worker.authority.keysets import Keysets
from worker.authority.management import Management
from worker.authority.operations import Operations
from worker.authority.people import People
from worker.authority.public import Public

_METRICS = "/metrics"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the surface is made of: `ready` says whether keys can be derived, `exported` is what a scrape is told."""

    answering: Answering
    data_keys: DataKeys
    keysets: Keysets
    clients: Clients
    enrolment: Enrolment
    server_made: ServerMadeClients
    management: Management
    people: People
    auditing: Auditing
    operations: Operations
    erasing: Erasing
    ready: Callable[[], dict[str, Any]]
    exported: CollectorRegistry


def application(parts: Parts) -> FastAPI:
    """Build the surface from the table of endpoints; what takes no token is open to all."""
    app = FastAPI(title="Authority", docs_url=None, redoc_url=None, openapi_url=None)

    async def served(_request: Request) -> Response:
        """Return this document."""
        return Response(described, media_type="application/json")

    actions, opened = _actions(parts), {**_open(parts), "GET /openapi.json": (None, served)}
    described, deriving = document(tuple(operations(actions, opened))), dict[str, Handler]()
    for endpoint in ENDPOINTS:
        if endpoint.path != _METRICS:
            model, action = actions[f"{endpoint.method} {endpoint.path}"]
            handler = parts.answering.handler(endpoint, model, action)
            app.add_api_route(endpoint.path, handler, methods=[endpoint.method])
            if endpoint.kind == "derive":
                deriving[endpoint.path] = handler
    for name, (_, handler) in opened.items():
        method, _, path = name.partition(" ")
        # Balancers ask for the head alone.
        app.add_api_route(path, handler, methods=["GET", "HEAD"] if method == "GET" else [method])
    app.add_middleware(Direct, handlers=deriving)
    app.openapi = lambda: orjson.loads(described)  # type: ignore[method-assign]
    return app


def _actions(parts: Parts) -> dict[str, tuple[type[BaseModel] | None, Action]]:
    keys, keysets, clients, enrolment = parts.data_keys, parts.keysets, parts.clients, parts.enrolment
    cts, people = parts.management, parts.people
    posts: dict[str, tuple[type[BaseModel], Action]] = {
        "generate-data-key": (wire.Generate, keys.generate),
        "retrieve-data-key": (wire.Retrieve, keys.retrieve),
        "retrieve-data-key-fallible": (wire.Retrieve, keys.retrieve_fallible),
        "load-keyset": (wire.LoadKeyset, keys.load_keyset),
        "load-dataset": (wire.LoadKeyset, keys.load_keyset),
        "create-keyset": (wire.CreateKeyset, keysets.create),
        "list-keysets": (wire.ListKeysets, keysets.list),
        "modify-keyset": (wire.ModifyKeyset, keysets.modify),
        "enable-keyset": (wire.OneKeyset, keysets.enable),
        "disable-keyset": (wire.OneKeyset, keysets.disable),
        "grant-keyset": (wire.ClientKeyset, keysets.grant),
        "revoke-keyset": (wire.ClientKeyset, keysets.revoke),
        "create-client": (wire.CreateClient, parts.server_made.create),
        "list-clients": (wire.ListClients, clients.list),
        "delete-client": (wire.DeleteClient, clients.delete),
        "api/clients/limits": (wire.ClientLimits, clients.limit),
        "propose-client": (wire.ProposeClient, enrolment.propose),
        "approve-client": (wire.ApproveClient, enrolment.approve),
        "mask-client": (wire.MaskClient, enrolment.mask),
        "activate-client": (wire.ActivateClient, enrolment.activate),
        "api/access-keys": (wire.CreateAccessKey, cts.create_access_key),
        "api/access-keys/bind": (wire.BindAccessKey, cts.bind_access_key),
        "api/oidc/providers": (wire.CreateProvider, people.create_provider),
        "api/memberships": (wire.CreateMembership, people.create_membership),
        "api/backup": (wire.MakeBackup, parts.operations.backup),
        "api/erase": (wire.Erase, parts.erasing.erase),
        "api/erased": (wire.Erase, parts.erasing.show),
        "api/backups/expire": (wire.ExpireBackup, parts.erasing.expire),
        "api/audit/query": (wire.AuditQuery, parts.auditing.query),
        "api/subjects/block": (wire.Subject, people.block),
        "api/subjects/unblock": (wire.Subject, people.unblock),
    }
    gets: dict[str, Callable[[Caller], Any]] = {
        "api/workspaces": cts.list_workspaces,
        "api/access-keys": cts.list_access_keys,
        "api/oidc/providers": people.list_providers,
        "api/memberships": people.list_memberships,
        "api/subjects/blocked": people.list_blocked,
        "api/status": parts.operations.status,
        "api/backups": parts.erasing.backups,
    }
    return {
        **{f"POST /{path}": both for path, both in posts.items()},
        **{f"GET /{path}": (None, _bodiless(action)) for path, action in gets.items()},
        "POST /api/epoch": (None, _bodiless(parts.erasing.end_epoch)),
        "DELETE /api/access-key": (wire.DeleteAccessKey, cts.delete_access_key),
        "PATCH /api/oidc/providers/{row}": (wire.ProviderDefault, _of_row(people.set_default)),
        "DELETE /api/oidc/providers/{row}": (None, _of_row(people.delete_provider)),
        "DELETE /api/memberships/{row}": (None, _of_row(people.delete_membership)),
    }


def _bodiless(action: Callable[[Caller], Any]) -> Action:
    @wraps(action)
    def act(caller: Caller, _body: Any) -> Any:
        return action(caller)

    return act


def _of_row(action: Callable[..., Any]) -> Action:
    @wraps(action)
    def act(caller: Caller, body: Any) -> Any:
        row = caller.note["what"]["id"]
        return action(caller, row) if body is None else action(caller, row, body)

    return act


def _open(parts: Parts) -> dict[str, tuple[type[BaseModel] | None, Handler]]:
    public = Public(parts.answering, parts.operations, parts.ready, parts.exported)
    return {
        "POST /api/authorise": (wire.Authorise, public.authorise),
        "POST /api/authorize": (wire.Authorise, public.authorise),
        "POST /api/unlock": (wire.Unlock, public.unlock),
        "GET /.well-known/jwks.json": (None, public.jwks),
        "GET /.well-known/audit-key.json": (None, public.audit_key),
        "GET /healthz": (None, public.health),
        "GET /readyz": (None, public.ready),
        f"GET {_METRICS}": (None, public.metrics),
    }
