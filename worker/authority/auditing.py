"""The audit of one authority: opened beside its store, and read by an auditor of a workspace."""

from __future__ import annotations

from collections.abc import Callable
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import Any

from worker.authority import wire
from worker.authority.access import Caller
from worker.authority.audit import Trail, TrailKeys
from worker.authority.audit.chain import head_key
from worker.authority.audit.query import Query, last
from worker.authority.audit.segments import chain_of
from worker.authority.head import TamperedStore
from worker.authority.refusal import Refusal
from worker.authority.store import Store


class Auditing:
    """
    Reads the trails of one machine's processes.

    Args:
        directories: hold their files.
    """

    def __init__(self, directories: Callable[[], list[Path]]) -> None:
        self._directories = directories

    def chains(self) -> list[str]:
        """Return the chains that there are."""
        return [chain for each in self._directories() if (chain := chain_of(each)) is not None]

    def query(self, caller: Caller, body: wire.AuditQuery) -> list[dict[str, Any]]:
        """
        Return entries of the caller's workspace, oldest first.

        A bound caller reads what names its client, a narrowed one what names one of its keysets. Raises a 400 where
        numbers of several chains are asked for at once.
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
        where = [each for each in self._directories() if body.chain is None or chain_of(each) == str(body.chain)]
        if len(where) > 1 and body.after >= 0:
            raise Refusal(400, "this authority has several chains: name the one that `after` is a number of")
        each_in_order = (query.find(each, after=body.after) for each in where)
        found = merge(*each_in_order, key=lambda entry: str(entry["time"]))
        keysets = caller.rights.keysets
        seen = (entry for entry in found if keysets is None or entry.get("keyset") in keysets)
        return last(seen, body.limit) if body.newest else list(islice(seen, body.limit))


def open_trail(store: Store, path: Path, *, sync: bool) -> Trail:
    """Open the audit trail beside a store; raises `TamperedStore` where the store is older than the trail knows it."""
    signing = head_key(store.derived, store.head.incarnation)
    keys = TrailKeys(store.derived(b"audit-contexts"), signing)
    trail = Trail(path, keys, str(store.region), sync=sync, store=lambda: (store.head.incarnation, store.head.version))
    if trail.last_store > (store.head.incarnation, store.head.version):
        trail.close()
        raise TamperedStore(
            f"the store is at version {store.head.version}, its trail has seen {trail.last_store[1]}: "
            "an older store has been put back"
        )
    trail.begin()
    return trail
