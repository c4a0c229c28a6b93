"""Pseudonyms against vectors."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest

from worker.encryption.pseudonym import Pseudonyms

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "pseudonym.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", VECTORS["pseudonyms"], ids=lambda v: v["descriptor"])
def test_a_pseudonym_is_the_vectors(vector: dict[str, str]) -> None:
    """The documented derivation, byte for byte."""
    made = Pseudonyms(UUID(vector["keyset"]), bytes.fromhex(vector["index_key_hex"]))

    (found,) = made.of(vector["descriptor"], [bytes.fromhex(vector["value_hex"])])

    assert found.hex() == vector["pseudonym_hex"]


def test_an_index_key_of_another_length_is_refused() -> None:
    """A key that is cut short gives no pseudonyms."""
    with pytest.raises(ValueError, match="32 bytes"):
        Pseudonyms(UUID(int=1), bytes(31))
