"""Which commands of the pages run together, and which need an engine or a cluster that is not here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.docs.pages import PAGES, ROOT, Block, blocks, script


@dataclass(frozen=True, slots=True)
class Walk:
    """
    Pages whose commands run one after the other, in one directory and one shell.

    Args:
        test: the file of the test that runs it.
        pages: paths in the repository, `page#Heading` for one part of a page.
    """

    test: str
    pages: tuple[str, ...]

    def blocks(self) -> list[Block]:
        """Return every block of its pages."""
        found: list[Block] = []
        for name in self.pages:
            page, _, heading = name.partition("#")
            level = next((mark for mark in ("## ", "### ") if f"\n{mark}{heading}\n" in (ROOT / page).read_text()), "")
            found += blocks(ROOT / page, within=level + heading if heading else "")
        return found

    def script(self) -> tuple[dict[str, str], list[str]]:
        """Return its files, and its commands in their order without those that only an engine runs."""
        files, lines = script(self.blocks())
        return files, [line for line in lines if elsewhere(line) is None]


TESTS = "tests/docs/test_commands.py"
WALKS = {
    "add a field": Walk(TESTS, ("docs/how-to/add-a-field.md",)),
    "tutorial": Walk(
        TESTS,
        ("docs/tutorial.md", "docs/how-to/recover.md", "docs/how-to/revoke.md", "docs/how-to/rotate.md"),
    ),
    "stolen key": Walk(TESTS, ("docs/tutorial.md", "docs/how-to/leave.md", "docs/how-to/stolen-key.md")),
    "install": Walk("tests/docs/test_install.py", ("README.md#Install",)),
    "quick start": Walk(TESTS, ("README.md#Quick start: your own Kafka",)),
    "deploy a region": Walk(TESTS, ("docs/how-to/deploy.md",)),
    "sign a database": Walk("tests/docs/test_operating.py", ("docs/sinks.md",)),
    "the chart": Walk("tests/docs/test_engines.py", ("docs/operations.md#The chart",)),
    "a machine": Walk("tests/docs/test_operating.py", ("docs/operations.md#A machine",)),
    "operate": Walk(
        "tests/docs/test_operating.py",
        tuple(f"docs/operations.md#{part}" for part in ("Traces", "`worker verify`", "Moving positions")),
    ),
    "support elsewhere": Walk("tests/docs/test_support.py", ("docs/how-to/support-elsewhere.md",)),
    "erasure": Walk("tests/docs/test_erasure.py", ("docs/erasure.md",)),
    "lost region": Walk("tests/operations/test_lost_region.py", ("docs/lost-region.md",)),
}
_ELSEWHERE = {
    r"docker ": "an engine: `make image` runs the Dockerfile's steps without one",
    r"(openssl .* && )?kubectl ": "a cluster: the client reads the line, and its names are those that the chart gives",
    r"helm ": "a cluster: the chart is rendered with the line's values",
}


def elsewhere(line: str) -> str | None:
    """Return why a command can't run on this machine, None where it can."""
    return next((why for start, why in _ELSEWHERE.items() if re.match(start, line)), None)


def all_commands() -> list[tuple[str, str]]:
    """Return every command of every page, with the page's path."""
    return [(str(p.relative_to(ROOT)), line) for p in PAGES for block in blocks(p) for line in block.commands]
