"""Markdown pages as programs: their files and commands, run in one shell."""

from __future__ import annotations

import re
import subprocess
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
SHELLS = ("console", "sh")
# Within a list a block is indented.
_BLOCK = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SERVICE = re.compile(r"(?:[A-Z_]+=\S*\s+)*worker (?:run|verify) ")
_ENDS = ("--until-end", "--last", "--limit", "&")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language, the file that it is, where it is one, and its text."""

    language: str
    file: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The commands of a shell, a line that ends in a backslash together with the next one."""
        joined = self.text.replace("\\\n", "").splitlines()
        if self.language == "sh":
            return [line for line in joined if line.strip() and not line.startswith("#")]
        return [line[2:] for line in joined if line.startswith("$ ")] if self.language == "console" else []


def blocks(page: Path, *, within: str = "") -> Iterator[Block]:
    """Yield a page's fenced blocks; `within` is the heading of the only part that counts, as `## Install`."""
    text = page.read_text()
    if within:
        _, _, rest = text.partition(f"\n{within}\n")
        text = re.split(rf"^#{{1,{within.index(' ')}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    for _, head, body in _BLOCK.findall(text):
        language, _, more = head.partition(" ")
        yield Block(language, more.removeprefix("file=") if more.startswith("file=") else "", textwrap.dedent(body))


def script(parts: Iterable[Block]) -> tuple[dict[str, str], list[str]]:
    """Return the files and commands of blocks in their order."""
    files: dict[str, str] = {}
    lines: list[str] = []
    for block in parts:
        if block.file:
            files[block.file] = block.text
            lines.append(f"cp files/{block.file} {block.file}")
        else:
            lines += block.commands
    return files, lines


def run(
    files: Mapping[str, str], lines: list[str], directory: Path, environ: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """
    Run commands one after the other in one shell; the first that fails ends it, with its line said.

    A service, as `worker run` without an end, is stopped by SIGTERM once its log says that it works; it ends with 0.
    """
    (directory / "files").mkdir()
    for name, text in files.items():
        (directory / "files" / name).write_text(text)
    program = ["set -eu -o pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT", _SERVED]
    for line in lines:
        served = _SERVICE.match(line) and not any(end in line for end in _ENDS)
        command = f"served env {line}" if served else line
        program += [
            f"echo {shell_quoted('$ ' + line)}",
            command if line.endswith("&") else f"{{ {command}\n}} || exit 1",
        ]
    return subprocess.run(
        ["bash", "-c", "\n".join(program)],
        cwd=directory,
        env=dict(environ),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


_SERVED = """
served() {
  "$@" 2>served.log & local pid=$!
  until grep -Eq '"event": "(verified|sink_verified)"' served.log; do
    kill -0 $pid 2>/dev/null || { cat served.log >&2; return 1; }
    sleep 0.1
  done
  kill -TERM $pid && wait $pid || { cat served.log >&2; return 1; }
}
"""


def shell_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
