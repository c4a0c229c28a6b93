"""
Backups: the whole store as of one version, encrypted to age recipients; what is secret in it stays sealed besides.

A backup is age over JSON Lines: a header with the region, the store's sealed key and head, and a probe of each keyset;
a line for each row; and the number of rows at the end. What authenticates it is the head: see `worker.authority.head`.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyrage

from worker.authority import material, schema
from worker.authority.datakeys import open_secrets
from worker.authority.erasure.restored import for_backup
from worker.authority.erasure.subjects import Subjects
from worker.authority.material import Item
from worker.authority.recovery.rows import TABLES, from_json, to_json
from worker.authority.relation import root_share
from worker.authority.state import Row, key_of
from worker.authority.store import Store
from worker.errors import ConfigError, why

_FORMAT = "authority-backup-1"
_PROBE = Item(bytes(16), b"zk-probe", b"", bytes(32))


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds; `trees` names the key that erasable keysets' trees are under."""

    region: str
    made_at: float
    meta: dict[str, str]
    probes: dict[str, str]
    tables: dict[str, dict[Any, Row]]
    trees: str | None = None


def probe(store: Store, keyset: Row, subjects: Subjects) -> str:
    """Return a hash of what the store computes for a keyset: equal where the store was restored rightly."""
    secrets = open_secrets(store, keyset)
    item = _PROBE._replace(leaves=subjects.canary(secrets))
    made = material.materials(secrets, root_share(store, keyset), [item], [item.tag])
    return hashlib.sha256(made).hexdigest()


def write_backup(store: Store, recipients: list[str], subjects: Subjects, label: str = "") -> bytes:
    """
    Return an encrypted backup of the store as it is now.

    Args:
        store: what is backed up.
        recipients: age public keys.
        subjects: opens the trees of erasable keysets, which go under a key of the backup's own.
        label: stands in that key's name, as `by-hand`.

    Raises:
        ConfigError: a recipient is none.
    """
    keys = check_recipients(recipients)
    sealed: bytes = pyrage.encrypt(b"".join(_lines(store, subjects, label)), keys)
    return sealed


def check_recipients(recipients: list[str]) -> list[Any]:
    """Return age public keys as the library has them; raises `ConfigError` for one that is none, and for none."""
    try:
        keys = [pyrage.x25519.Recipient.from_str(text) for text in recipients]
    except pyrage.RecipientError as exc:
        raise ConfigError(f"a backup's recipient is an age public key, age1...: {exc}") from None
    if not keys:
        raise ConfigError("a backup needs a recipient: an age public key, age1...")
    return keys


def read_backup(data: bytes, identity: Path) -> Backup:
    """Decrypt and read a backup; raises `ConfigError` where it is cut short, altered, or another's."""
    try:
        texts = [t for line in identity.read_text(encoding="ascii").splitlines() if (t := line.strip()) and t[0] != "#"]
        opened = pyrage.decrypt(data, [pyrage.x25519.Identity.from_str(text) for text in texts])
    except (pyrage.DecryptError, pyrage.IdentityError) as exc:
        raise ConfigError(f"the backup does not open with {identity}: {exc}") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"the age identity {identity} can't be read: {why(exc)}") from exc
    try:
        return _read(opened)
    except (ValueError, KeyError, TypeError, IndexError) as exc:
        # It opens, so somebody wrote it who knew a recipient, which is no secret.
        raise ConfigError(f"the backup is not one that an authority wrote ({type(exc).__name__})") from None


def _read(opened: bytes) -> Backup:
    lines = io.BytesIO(opened).readlines()
    header, rows, end = orjson.loads(lines[0]), lines[1:-1], orjson.loads(lines[-1])
    if header["format"] != _FORMAT or end != {"rows": len(rows)}:
        raise ConfigError("the backup is cut short, or of another version")
    tables: dict[str, dict[Any, Row]] = {str(table.name): {} for table in schema.AUTHORISING}
    for line in rows:
        name, body = orjson.loads(line)
        if name not in TABLES:
            raise ConfigError(
                f"the backup has rows of {name!r:.40}: a newer version wrote it; restore it with that one"
            )
        row = from_json(TABLES[name], body)
        tables[name][key_of(TABLES[name], row)] = row
    meta = {name: bytes.fromhex(header["meta"][name]).hex() for name in ("key", "head")}
    trees, probes = header.get("trees"), {str(k): str(v) for k, v in header["probes"].items()}
    return Backup(str(header["region"]), float(header["made_at"]), meta, probes, tables, trees)


def _lines(store: Store, subjects: Subjects, label: str) -> Iterator[bytes]:
    trees = subjects.epochs.backup_key(label)
    state, head, key = store.snapshot()
    probes = {k["id"]: probe(store, k, subjects) for k in state.keysets.values()}
    header = {"format": _FORMAT, "region": str(store.region), "made_at": time.time(), "probes": probes}
    if trees is not None:
        header["trees"] = trees[0]
    yield orjson.dumps({**header, "meta": {"key": key, "head": head.seal(store.sealer, str(store.region))}}) + b"\n"
    count = 0
    for name, table in TABLES.items():
        for row in state.tables[name].values():
            count += 1
            if name == "shards" and trees is not None and row["epoch"]:
                row = for_backup(row, subjects.epochs.key_of(row["epoch"]), trees[1])
            yield orjson.dumps([name, to_json(table, row)]) + b"\n"
    yield orjson.dumps({"rows": count}) + b"\n"
