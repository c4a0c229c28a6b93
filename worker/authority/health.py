"""Whether the authority can derive keys, tried and not assumed."""

from __future__ import annotations

from typing import Any

from worker.authority import datakeys, material
from worker.authority.audit import Trail
from worker.authority.erasure.subjects import Subjects
from worker.authority.material import Item
from worker.authority.refusal import Refusal
from worker.authority.relation import root_share
from worker.authority.store import Store
from worker.errors import WorkerError


def readiness(store: Store, trail: Trail, subjects: Subjects) -> dict[str, Any]:
    """Return `ready` and, of each part, "ok" or why not; derives a key of one keyset of each kind and drops it."""
    away = "can't be reached" if store.is_away else None
    parts = {
        "store": store.broken or away or ("restored and locked" if store.head.lock else "ok"),
        "audit": trail.stopped or "ok",
        "derivation": _derive(store, subjects),
    }
    return {"ready": all(state == "ok" for state in parts.values()), "region": str(store.region), **parts}


def _derive(store: Store, subjects: Subjects) -> str:
    keysets = list(store.state.keysets.values())
    # One of each kind: an erasable one needs a key from outside the store besides.
    tried = [next((k for k in keysets if bool(k["erasable"]) is kind), None) for kind in (False, True)]
    try:
        for keyset in (keyset for keyset in tried if keyset is not None):
            secrets = datakeys.open_secrets(store, keyset)
            item = Item(bytes(16), b"ready", b"", leaves=subjects.canary(secrets))
            material.materials(secrets, root_share(store, keyset), [item], material.make_tags(secrets, [(item, 0)]))
    except (Refusal, WorkerError) as exc:
        return str(exc)
    return "ok"
