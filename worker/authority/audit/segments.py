"""The files of a trail: the one that is written, and closed ones named by their first line's number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson

ACTIVE = "audit.jsonl"


def segments(directory: Path) -> list[Path]:
    """Return a trail's files in the order of their lines."""
    closed = sorted(directory.glob("audit-[0-9]*.jsonl"))
    return [*closed, *(p for p in (directory / ACTIVE,) if p.exists())]


def closed_name(first: int) -> str:
    """Return the name of a closed file."""
    return f"audit-{first:012d}.jsonl"


def first_sequence(path: Path) -> int:
    """Return the number of a file's first line; raises `ValueError` where it has none."""
    with path.open("rb") as file:
        return int(orjson.loads(file.readline())["seq"])


def lines(directory: Path, after: int = -1) -> Iterator[tuple[Path, int, bytes]]:
    """Yield a trail's lines, of files that may have any after a number: file, number in it from 1, and bytes."""
    files = segments(directory)
    begins = [int(path.stem.removeprefix("audit-")) if path.name != ACTIVE else after + 1 for path in files]
    # A file whose successor begins at or before `after + 1` has nothing that is asked for.
    wanted = [path for at, path in enumerate(files) if at + 1 == len(files) or begins[at + 1] > after + 1 or after < 0]
    for path in wanted:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield path, number, line


def chain_of(directory: Path) -> str | None:
    """Return the chain that a trail's oldest file is of; None where it has no line yet."""
    for path in segments(directory):
        with path.open("rb") as file:
            line = file.readline()
        if line.endswith(b"\n"):
            return str(orjson.loads(line).get("chain"))
    return None
