"""
Every endpoint that takes a token, and the scopes it needs: the table that the router is made of and the docs repeat.

What a bound identity may do beyond that, and that nobody makes an identity with more rights, is each action's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from worker.authority.rights import CANARY_SCOPE

Kind = Literal["derive", "change", "read"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    One endpoint.

    Args:
        method: GET, POST, PATCH or DELETE.
        path: with `{row}` where it names one.
        name: what the audit calls the operation.
        kind: `derive` and `change` leave a line in the audit, as does who reads that; `read` where it is refused.
        scopes: all of them are needed.
        bound: what an identity that is bound to a client gets.
        is_long: one at a time is answered, so that none of many keeps others waiting.
    """

    method: str
    path: str
    name: str
    kind: Kind
    scopes: tuple[str, ...]
    bound: str = "as anyone"
    is_long: bool = False


_OWN = "its client"
_NONE = "refused"

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("POST", "/generate-data-key", "generate", "derive", ("data_key:generate",), _OWN),
    Endpoint("POST", "/retrieve-data-key", "retrieve", "derive", (CANARY_SCOPE,), _OWN),
    Endpoint("POST", "/retrieve-data-key-fallible", "retrieve", "derive", (CANARY_SCOPE,), _OWN),
    Endpoint("POST", "/load-keyset", "load", "derive", (CANARY_SCOPE,), _OWN),
    Endpoint("POST", "/load-dataset", "load", "derive", (CANARY_SCOPE,), _OWN),
    Endpoint("POST", "/create-keyset", "create-keyset", "change", ("dataset:create",)),
    Endpoint("POST", "/list-keysets", "list-keysets", "read", ("dataset:list",)),
    Endpoint("POST", "/modify-keyset", "modify-keyset", "change", ("dataset:modify",)),
    Endpoint("POST", "/enable-keyset", "enable-keyset", "change", ("dataset:enable",)),
    Endpoint("POST", "/disable-keyset", "disable-keyset", "change", ("dataset:disable",)),
    Endpoint("POST", "/grant-keyset", "grant-keyset", "change", ("dataset:grant",), _NONE),
    Endpoint("POST", "/revoke-keyset", "revoke-keyset", "change", ("dataset:revoke",), _OWN),
    Endpoint("POST", "/create-client", "create-client", "change", ("client:create", "dataset:grant"), _NONE),
    Endpoint("POST", "/list-clients", "list-clients", "read", ("client:list",), _OWN),
    Endpoint("POST", "/delete-client", "delete-client", "change", ("client:delete",), _OWN),
    Endpoint("POST", "/api/clients/limits", "limit-client", "change", ("client:update",), _NONE),
    Endpoint("POST", "/propose-client", "propose-client", "change", ("client:create", "dataset:grant"), "via itself"),
    Endpoint("POST", "/approve-client", "approve-client", "change", ("client:approve",), _NONE),
    Endpoint("POST", "/mask-client", "mask-client", "change", (CANARY_SCOPE,), _OWN),
    Endpoint("POST", "/activate-client", "activate-client", "change", (CANARY_SCOPE,), _OWN),
    Endpoint("GET", "/api/workspaces", "list-workspaces", "read", ()),
    Endpoint("GET", "/api/access-keys", "list-access-keys", "read", ("access_key:list",), _OWN),
    Endpoint("POST", "/api/access-keys", "create-access-key", "change", ("access_key:create",), _OWN),
    Endpoint("POST", "/api/access-keys/bind", "bind-access-key", "change", ("access_key:update",), _OWN),
    Endpoint("DELETE", "/api/access-key", "delete-access-key", "change", ("access_key:delete",), _OWN),
    Endpoint("GET", "/api/oidc/providers", "list-providers", "read", ("provider:list",)),
    Endpoint("POST", "/api/oidc/providers", "create-provider", "change", ("provider:create",)),
    Endpoint("PATCH", "/api/oidc/providers/{row}", "set-provider-default", "change", ("provider:update",)),
    Endpoint("DELETE", "/api/oidc/providers/{row}", "delete-provider", "change", ("provider:delete",)),
    Endpoint("GET", "/api/memberships", "list-memberships", "read", ("membership:list",)),
    Endpoint("POST", "/api/memberships", "create-membership", "change", ("membership:create",)),
    Endpoint("DELETE", "/api/memberships/{row}", "delete-membership", "change", ("membership:delete",)),
    Endpoint("GET", "/api/subjects/blocked", "list-blocked", "read", ("subject:list",)),
    Endpoint("POST", "/api/subjects/block", "block-subject", "change", ("subject:block",)),
    Endpoint("POST", "/api/subjects/unblock", "unblock-subject", "change", ("subject:block",)),
    Endpoint("POST", "/api/erase", "erase", "change", ("subject:erase",), _NONE),
    Endpoint("POST", "/api/erased", "show-erased", "read", ("subject:read_erased",), _NONE),
    Endpoint("POST", "/api/epoch", "end-epoch", "change", ("epoch:end",), _NONE),
    Endpoint("GET", "/api/backups", "list-backups", "read", ("backup:list",), _NONE),
    Endpoint("POST", "/api/backups/expire", "expire-backup", "change", ("backup:expire",), _NONE),
    Endpoint("POST", "/api/audit/query", "read-audit", "change", ("audit:read",), is_long=True),
    Endpoint("POST", "/api/backup", "backup", "change", ("backup:create",), _NONE, is_long=True),
    Endpoint("GET", "/api/status", "status", "read", ("status:read",)),
    Endpoint("GET", "/metrics", "metrics", "read", ("metrics:read",)),
)

OPEN = frozenset(
    {
        ("POST", "/api/authorise"),
        ("POST", "/api/authorize"),
        ("POST", "/api/unlock"),
        ("GET", "/.well-known/jwks.json"),
        ("GET", "/.well-known/audit-key.json"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/openapi.json"),
    }
)
"""What takes no token."""
