"""What each endpoint answers, as its OpenAPI document says it; nothing else stands in an answer."""

from __future__ import annotations

from typing import Any

from pydantic import JsonValue

from worker.authority.answers.access import (
    AccessKeyAnswer,
    BoundAccessKey,
    Jwks,
    MadeAccessKey,
    MembershipAnswer,
    ProviderAnswer,
    SubjectAnswer,
    Token,
    Workspace,
)
from worker.authority.answers.base import Made, Message, Nothing, Refused
from worker.authority.answers.clients import (
    ApprovedClient,
    Deleted,
    LimitedClient,
    ListedClient,
    MadeClient,
    MaskedClient,
    ProposedClient,
)
from worker.authority.answers.keys import (
    EachKeyAgain,
    ErasureAnswer,
    FreshKeys,
    KeysAgain,
    KeysetAnswer,
    LoadedKeyset,
    MadeKeyset,
)
from worker.authority.answers.operations import (
    Alive,
    AuditEntry,
    AuditKey,
    BackupKey,
    EndedEpoch,
    ExpiredBackup,
    Ready,
    Status,
    Unlocked,
)

__all__ = ["ANSWERS", "Refused"]

ANSWERS: dict[str, Any] = {
    "POST /generate-data-key": FreshKeys,
    "POST /retrieve-data-key": KeysAgain,
    "POST /retrieve-data-key-fallible": EachKeyAgain,
    "POST /load-keyset": LoadedKeyset,
    "POST /load-dataset": LoadedKeyset,
    "POST /create-keyset": MadeKeyset,
    "POST /list-keysets": list[KeysetAnswer],
    "POST /modify-keyset": Nothing,
    "POST /enable-keyset": Nothing,
    "POST /disable-keyset": Nothing,
    "POST /grant-keyset": Nothing,
    "POST /revoke-keyset": Nothing,
    "POST /create-client": MadeClient,
    "POST /list-clients": list[ListedClient],
    "POST /delete-client": Deleted,
    "POST /api/clients/limits": LimitedClient,
    "POST /propose-client": ProposedClient,
    "POST /approve-client": ApprovedClient,
    "POST /mask-client": MaskedClient,
    "POST /activate-client": Nothing,
    "GET /api/workspaces": list[Workspace],
    "GET /api/access-keys": list[AccessKeyAnswer],
    "POST /api/access-keys": MadeAccessKey,
    "POST /api/access-keys/bind": BoundAccessKey,
    "DELETE /api/access-key": Message,
    "GET /api/oidc/providers": list[ProviderAnswer],
    "POST /api/oidc/providers": Made,
    "PATCH /api/oidc/providers/{row}": Nothing,
    "DELETE /api/oidc/providers/{row}": Nothing,
    "GET /api/memberships": list[MembershipAnswer],
    "POST /api/memberships": Made,
    "DELETE /api/memberships/{row}": Nothing,
    "GET /api/subjects/blocked": list[SubjectAnswer],
    "POST /api/subjects/block": Nothing,
    "POST /api/subjects/unblock": Nothing,
    "POST /api/erase": ErasureAnswer,
    "POST /api/erased": ErasureAnswer,
    "POST /api/epoch": EndedEpoch,
    "GET /api/backups": list[BackupKey],
    "POST /api/backups/expire": ExpiredBackup,
    "POST /api/audit/query": list[AuditEntry],
    "POST /api/backup": bytes,
    "GET /api/status": Status,
    "GET /metrics": str,
    "POST /api/authorise": Token,
    "POST /api/authorize": Token,
    "POST /api/unlock": Unlocked,
    "GET /.well-known/jwks.json": Jwks,
    "GET /.well-known/audit-key.json": AuditKey,
    "GET /healthz": Alive,
    "GET /readyz": Ready,
    "GET /openapi.json": dict[str, JsonValue],
}
"""What each endpoint answers where it does not refuse; bytes are a file and text is plain."""
