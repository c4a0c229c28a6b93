"""The scanner finds what it looks for."""

from __future__ import annotations

import base64

import pytest

from tests.leaks import forms, scan

SECRET = "sigrid.müller@example.org"


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("after", ["", "x", "xy"])
def test_finds_base64_at_any_alignment(before: str, after: str) -> None:
    """A plaintext inside a longer base64 text is found wherever it begins and ends."""
    planted = base64.b64encode((before + SECRET + after).encode())

    assert scan([SECRET], {"log": planted})


@pytest.mark.parametrize("form", sorted(forms(SECRET)))
def test_finds_each_form(form: str) -> None:
    """Each form is found by its own name."""
    leaks = scan([SECRET], {"table": b"\x00" + forms(SECRET)[form] + b"\x00"})

    assert form in {leak.form for leak in leaks}


def test_finds_nothing_where_nothing_is() -> None:
    """Other bytes are no leak."""
    assert scan([SECRET], {"topic": bytes(range(256)) * 64}) == []
