"""What the authority's metrics say of its state."""

from __future__ import annotations

import time
from pathlib import Path

import pyrage

from worker.authority.dev import DevAuthority


def last_backup(authority: DevAuthority) -> float:
    value = authority.authority.metrics.registry.get_sample_value(
        "authority_backup_timestamp_seconds", {"region": "eu-central-1"}
    )
    assert value is not None
    return value


def test_the_last_backup_is_remembered(tmp_path: Path) -> None:
    """0 until one is made; then when that was, after a restart too."""
    before = int(time.time())
    with DevAuthority("eu-central-1", tmp_path) as own:
        never = last_backup(own)
        recipient = str(pyrage.x25519.Identity.generate().to_public())
        own.admin("api/backup", {"recipients": [recipient]})
        made = last_backup(own)
    with DevAuthority("eu-central-1", tmp_path) as again:
        remembered = last_backup(again)

    assert never == 0
    assert before <= made == remembered
