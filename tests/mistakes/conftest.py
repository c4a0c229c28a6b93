"""The catalogue's fixtures."""

from __future__ import annotations

import pytest

from tests.mistakes.program import Program


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Program:
    """The program."""
    return Program(monkeypatch, capsys)
