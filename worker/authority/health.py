"""Whether the authority can derive keys, tried and not assumed."""

from __future__ import annotations

from typing import Any

from worker.authority import datakeys, material
from worker.authority.audit import Trail
from worker.authority.material import Item
from worker.authority.relation import root_share
from worker.authority.store import Store
from worker.errors import WorkerError


def readiness(store: Store, trail: Trail) -> dict[str, Any]:
    """Return `ready` and, of each part, "ok" or why not; derives one key of a keyset's own and drops it."""
    parts = {
        "store": store.broken or ("restored and locked" if store.head.lock else "ok"),
        "audit": trail.stopped or "ok",
        "derivation": _derive(store),
    }
    return {"ready": all(state == "ok" for state in parts.values()), "region": str(store.region), **parts}


def _derive(store: Store) -> str:
    keyset = next(iter(store.state.keysets.values()), None)
    if keyset is None:
        return "ok"
    try:
        secrets = datakeys.open_secrets(store, keyset)
        item = Item(bytes(16), b"ready", b"")
        material.materials(secrets, root_share(store, keyset), [item], material.make_tags(secrets, [(item, 0)]))
    except WorkerError as exc:
        return str(exc)
    return "ok"
