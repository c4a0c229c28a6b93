"""What has the shape of an envelope, and what does not; the encryptor's own output is told from everything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.encryption.test_vectors import RECORDS
from worker.verifier.envelope import is_envelope


@given(st.text() | st.binary(max_size=60) | st.integers() | st.floats() | st.lists(st.text()))
def test_plaintext_is_no_envelope(value: object) -> None:
    """Whatever a producer may write into a field is told from an envelope."""
    assert not is_envelope(value)


@pytest.mark.parametrize("vector", RECORDS)
def test_the_published_clients_envelopes_are_some(vector: dict[str, Any]) -> None:
    """Each known envelope of the `record` format is one."""
    assert is_envelope(bytes.fromhex(vector["msgpack"]))


@pytest.mark.parametrize("cut", [1, 2, 20, 60])
def test_an_envelope_that_ends_early_is_none(cut: int) -> None:
    """Lengths fit to the byte."""
    leased = b"\x01\x00" + bytes(32) + b"\x02ab" + b"\x01f" + bytes(8 + 12 + 16)

    assert is_envelope(leased)
    assert not is_envelope(leased[:-cut])
