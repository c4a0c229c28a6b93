"""What an operator does with a running authority: see how it is, back it up, unlock it after a restore."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from worker.authority import wire
from worker.authority.access import Caller, hash_secret
from worker.authority.audit import Trail
from worker.authority.erasure.subjects import Subjects
from worker.authority.recovery.backup import write_backup
from worker.authority.refusal import Refusal
from worker.authority.store import Store
from worker.errors import ConfigError


class Operations:
    """
    An operator's verbs.

    Args:
        store: the authority's.
        trail: its audit.
        ready: says whether keys can be derived.
        backed_up: told of each backup.
        chains: of the audit, on this machine.
        subjects: opens the trees that go into one.
    """

    def __init__(
        self,
        store: Store,
        trail: Trail,
        ready: Callable[[], dict[str, Any]],
        backed_up: Callable[[], None],
        chains: Callable[[], list[str]],
        subjects: Subjects,
    ) -> None:
        self._store = store
        self._subjects = subjects
        self._trail = trail
        self._ready = ready
        self._backed_up = backed_up
        self._chains = chains
        self._lock = threading.Lock()

    def status(self, caller: Caller) -> dict[str, Any]:
        """Return how the authority is, and how much is in the caller's workspace."""
        state, head = self._store.state, self._store.head
        counted = {
            name: sum(row["workspace"] == caller.workspace for row in state.tables[name].values())
            for name in ("keysets", "clients", "access_keys", "memberships")
        }
        return {
            **self._ready(),
            "version": head.version,
            "incarnation": head.incarnation,
            "audit_head": self._trail.head.to_json(),
            "chains": self._chains(),
            "counts": counted,
        }

    def backup(self, caller: Caller, body: wire.MakeBackup) -> bytes:
        """Return a backup of the whole store; where it has other workspaces it is not one workspace's to have."""
        caller.require_no_client()
        if caller.rights.keysets is not None or len(self._store.state.workspaces) > 1:
            raise Refusal(403, "Not permitted: a backup has all workspaces; serve --backup-directory makes them")
        try:
            made = write_backup(self._store, body.recipients, self._subjects, "by-hand")
        except ConfigError as exc:
            raise Refusal(400, str(exc)) from None
        caller.note["what"] = {"recipients": body.recipients, "version": self._store.head.version, "bytes": len(made)}
        self._backed_up()
        return made

    def unlock(self, body: wire.Unlock) -> dict[str, Any]:
        """Take one credential of a restore; the last of them lets the authority answer again, and all are used up."""
        shown = hash_secret(body.credential).hex()
        with self._lock:
            self._store.refresh()
            lock = self._store.head.lock
            if shown not in lock:
                raise Refusal(401, "the authority is not locked, or by another credential")
            # Kept in the store: the next may be presented to another process, at the same moment or after a restart.
            self._trail.record({"operation": "unlock", "outcome": "allowed", "missing": len(lock) - 1})
            self._store.write(lambda _transaction: None, lock=lambda now: tuple(each for each in now if each != shown))
            return {"missing": len(self._store.head.lock)}
