"""The OpenAPI document, made of the table of endpoints, the bodies that they read and the answers that they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
from pydantic import BaseModel, TypeAdapter

from worker.authority.answers import ANSWERS, Refused
from worker.authority.endpoints import ENDPOINTS, OPEN
from worker.version import __version__

_REFUSALS = (400, 401, 403, 404, 408, 409, 413, 429, 500, 503)
_UNREADY = "GET /readyz"
_KINDS = {
    bytes: ("application/octet-stream", {"type": "string", "format": "binary"}),
    str: ("text/plain", {"type": "string"}),
}
_HEADERS = {
    "audit-entry": "Where the audit has this request: chain, number and SHA-256 of its line.",
    "audit-head": "The chain's newest line, the store's incarnation and version, and an Ed25519 signature of these.",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """
    One operation.

    Args:
        name: method and path.
        summary: what it does.
        body: what it reads; None for nothing.
        scopes: needs all of them; None where it takes no token.
        audited: whether its answer names a line of the audit.
    """

    name: str
    summary: str
    body: type[BaseModel] | None
    scopes: tuple[str, ...] | None
    audited: bool


def operations(actions: Mapping[str, tuple[type[BaseModel] | None, Any]], opened: Mapping[str, Any]) -> list[Operation]:
    """
    Return every operation of the surface.

    Args:
        actions: of those that take a token, by name: their body and what does it.
        opened: the same of the others.
    """
    found = []
    for endpoint in ENDPOINTS:
        name = f"{endpoint.method} {endpoint.path}"
        body, action = actions.get(name) or opened[name]
        found.append(Operation(name, _first_line(action), body, endpoint.scopes, endpoint.kind != "read"))
    for method, path in sorted(OPEN):
        body, action = opened[f"{method} {path}"]
        found.append(Operation(f"{method} {path}", _first_line(action), body, None, audited=False))
    return found


@lru_cache(maxsize=1)
def document(found: tuple[Operation, ...]) -> bytes:
    """Return the document's JSON; every authority of a process has the same."""
    adapters = {f"body {each.name}": TypeAdapter(each.body) for each in found if each.body is not None}
    adapters |= {each.name: TypeAdapter(ANSWERS[each.name]) for each in found if ANSWERS[each.name] not in _KINDS}
    adapters["refused"] = TypeAdapter(Refused)
    schemas, shared = TypeAdapter.json_schemas(
        [(name, "validation", adapter) for name, adapter in adapters.items()],
        ref_template="#/components/schemas/{model}",
    )
    named = {name: schema for (name, _), schema in schemas.items()}
    paths: dict[str, dict[str, Any]] = {}
    for each in found:
        method, _, path = each.name.partition(" ")
        paths.setdefault(path, {})[method.lower()] = _described(each, path, named)
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": "Authority", "version": __version__},
            "paths": paths,
            "components": {
                "schemas": shared["$defs"],
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            },
        }
    )


def _described(operation: Operation, path: str, named: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name.replace("/", "_").replace(" ", "").strip("_"),
        "summary": operation.summary,
        "responses": _responses(operation, named),
    }
    if operation.scopes is not None:
        described["security"] = [{"token": []}]
        described["description"] = "Scopes: " + (", ".join(operation.scopes) or "none")
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _json(named[f"body {operation.name}"])}
    if "{row}" in path:
        described["parameters"] = [{"name": "row", "in": "path", "required": True, "schema": {"type": "string"}}]
    return described


def _responses(operation: Operation, named: Mapping[str, Any]) -> dict[str, Any]:
    kind = _KINDS.get(ANSWERS[operation.name])
    content = _json(named[operation.name]) if kind is None else {kind[0]: {"schema": kind[1]}}
    allowed: dict[str, Any] = {"description": "done", "content": content}
    if operation.audited:
        allowed["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()
        }
    if operation.name == _UNREADY:
        return {"200": allowed, "503": {**allowed, "description": "not ready"}}
    refused = {"description": "refused", "content": _json(named["refused"])}
    return {"200": allowed, **{str(status): refused for status in _REFUSALS}}


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _first_line(action: Any) -> str:
    return str(getattr(action, "__doc__", None) or "").strip().partition("\n")[0]
