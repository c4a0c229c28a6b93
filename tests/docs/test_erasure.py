"""docs/erasure.md by its commands: an erasable keyset is made and granted, one customer erased, and proven so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import run
from tests.docs.test_commands import environment
from tests.docs.walks import WALKS
from worker.authority.dev import DevAuthority


@pytest.mark.heavy
@pytest.mark.timeout(200)
def test_a_customer_is_erased(tmp_path: Path) -> None:
    """The page's lines, one after the other, at an authority that is here."""
    files, lines = WALKS["erasure"].script()
    with DevAuthority("eu-central-1", tmp_path / "authority") as own:
        mine = {name: value for name, value in own.env.items() if not name.endswith("_2")}
        done = run(files, lines, tmp_path, environment(**mine), 150)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
