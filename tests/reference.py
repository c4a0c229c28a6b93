"""Writes the generated parts of the docs: `python -m tests.reference`, or `make docs`."""

from __future__ import annotations

import re
from pathlib import Path

from worker.authority.catalogue import CATALOGUE as AUTHORITY
from worker.cli import reference
from worker.cli.root import app, mount

_DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = (_DOCS / "contracts.md", _DOCS / "errors.md")
_PART = re.compile(r"(<!-- generated: ([a-z ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def written(text: str) -> str:
    """Return the page with its generated parts as the code has them now."""
    mount()
    parts = {
        "options": reference.options(),
        "commands": reference.commands(app),
        "errors": reference.errors(),
        "metrics": reference.metrics(),
        "authority metrics": reference.metrics(AUTHORITY),
    }
    return _PART.sub(lambda found: f"{found[1]}\n{parts[found[2]]}\n\n{found[4]}", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(written(page.read_text()))
