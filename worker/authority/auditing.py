"""The audit as an auditor reads it: the workspace's own entries."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from worker.authority import wire
from worker.authority.access import Caller
from worker.authority.audit.query import Query, last


class Auditing:
    """
    Reads the trail of one replica.

    Args:
        directory: holds its files.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def query(self, caller: Caller, body: wire.AuditQuery) -> list[dict[str, Any]]:
        """
        Return entries of the caller's workspace, oldest first.

        A bound caller reads what names its client, a narrowed one what names one of its keysets.
        """
        client = caller.rights.client or (None if body.client is None else str(body.client))
        query = Query(
            caller.workspace,
            body.subject,
            client,
            body.keyset,
            body.field,
            body.operation,
            body.outcome,
            body.since,
            body.until,
        )
        found = query.find(self._directory, after=body.after)
        keysets = caller.rights.keysets
        if keysets is not None:
            found = (entry for entry in found if entry.get("keyset") in keysets)
        return last(found, body.limit) if body.newest else list(islice(found, body.limit))
