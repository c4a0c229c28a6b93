"""A client over a key service that says what it was asked."""

from __future__ import annotations

import pytest

from tests.unit.sdk.services import Recording
from worker.sdk import Encryption


@pytest.fixture
def service() -> Recording:
    return Recording()


@pytest.fixture
def encryption(service: Recording) -> Encryption:
    return Encryption.over(service)
