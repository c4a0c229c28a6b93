"""What a run leaves out can be run all the same."""

from __future__ import annotations

import pytest

from tests.conftest import LACKING


def test_each_test_finds_its_fixtures(pytestconfig: pytest.Config) -> None:
    """A fixture that changed is found by whoever changed it, and not when a heavy suite is run next."""
    assert pytestconfig.stash[LACKING] == []
