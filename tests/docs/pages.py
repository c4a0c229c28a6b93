"""Markdown pages as programs: their files and commands, links, and options."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language, the file that it is, where it is one, and its text."""

    language: str
    file: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The commands of a console, a line that ends in a backslash together with the next one."""
        joined = self.text.replace("\\\n", "")
        return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]


def blocks(page: Path) -> Iterator[Block]:
    """Yield a page's fenced blocks."""
    for head, text in _BLOCK.findall(page.read_text()):
        language, _, more = head.partition(" ")
        yield Block(language, more.removeprefix("file=") if more.startswith("file=") else "", text)


def script(page: Path, *, within: str = "") -> tuple[dict[str, str], list[str]]:
    """Return a page's files and commands in their order; `within` is the heading of the only part that counts."""
    text = page.read_text()
    if within:
        start = text.index(f"\n{within}\n")
        end = text.find("\n## ", start + 1)
        text = text[start : end if end > 0 else None]
    files: dict[str, str] = {}
    lines: list[str] = []
    for head, body in _BLOCK.findall(text):
        language, _, more = head.partition(" ")
        block = Block(language, more.removeprefix("file=") if more.startswith("file=") else "", body)
        if block.file:
            files[block.file] = block.text
            lines.append(f"cp files/{block.file} {block.file}")
        elif language == "console":
            lines += block.commands
    return files, lines


def run(
    files: Mapping[str, str], lines: list[str], directory: Path, environ: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run commands one after the other in one shell; the first that fails ends it, with its line said."""
    (directory / "files").mkdir()
    for name, text in files.items():
        (directory / "files" / name).write_text(text)
    program = ["set -eu -o pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for line in lines:
        program += [f"echo {shell_quoted('$ ' + line)}", line if line.endswith("&") else f"{{ {line}\n}} || exit 1"]
    return subprocess.run(
        ["bash", "-c", "\n".join(program)],
        cwd=directory,
        env=dict(environ),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def shell_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
