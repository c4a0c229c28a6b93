"""Writes the generated parts of docs/contracts.md: `python -m tests.reference`, or `make docs`."""

from __future__ import annotations

import re
from pathlib import Path

from worker.authority.catalogue import CATALOGUE as AUTHORITY
from worker.cli import reference
from worker.cli.root import app, mount

CONTRACTS = Path(__file__).resolve().parents[1] / "docs" / "contracts.md"
_PART = re.compile(r"(<!-- generated: ([a-z ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def written(text: str) -> str:
    """Return the page with its generated parts as the code has them now."""
    mount()
    parts = {
        "options": reference.options(),
        "commands": reference.commands(app),
        "metrics": reference.metrics(),
        "authority metrics": reference.metrics(AUTHORITY),
    }
    return _PART.sub(lambda found: f"{found[1]}\n{parts[found[2]]}\n\n{found[4]}", text)


if __name__ == "__main__":
    CONTRACTS.write_text(written(CONTRACTS.read_text()))
