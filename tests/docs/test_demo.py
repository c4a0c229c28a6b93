"""`worker demo`, the first command of the README: every claim that it makes is looked at by itself."""

from __future__ import annotations

import pytest

from tests.program import worker


@pytest.mark.integration
@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_the_demonstration_ends_as_it_says() -> None:
    """Two regions, read back by their own, refused to the other and to a deleted client."""
    done = worker({"HOME": "/", "COLUMNS": "200"}, "demo", "--records", "10", timeout_s=280)

    told = done.stdout.decode()
    assert done.returncode == 0, told[-3000:] + done.stderr.decode()[-3000:]
    assert told.count("KeyAccessDenied") == 2
