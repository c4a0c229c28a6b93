"""The files of a trail: the one that is written, and closed ones named by their first line's number."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import orjson

ACTIVE = "audit.jsonl"
_TAIL_BYTES = 1 << 20
_CLOSED = re.compile(r"audit-[0-9]{12,}\.jsonl")


def segments(directory: Path) -> list[Path]:
    """Return a trail's files in the order of their lines; a file of any other name is none of it."""
    closed = sorted(path for path in directory.glob("audit-[0-9]*.jsonl") if _CLOSED.fullmatch(path.name))
    return [*closed, *(p for p in (directory / ACTIVE,) if p.exists())]


def closed_name(first: int) -> str:
    """Return the name of a closed file."""
    return f"audit-{first:012d}.jsonl"


def first_sequence(path: Path) -> int:
    """Return the number of a file's first line; raises `ValueError` where it has none."""
    with path.open("rb") as file:
        return int(orjson.loads(file.readline())["seq"])


def first_time(path: Path) -> float | None:
    """Return when a file's first line was written, in seconds since 1970; None where it has none."""
    with path.open("rb") as file:
        return time_of(file.readline())


def last_time(directory: Path) -> float | None:
    """Return when a trail's newest line was written, in seconds since 1970; None where it has none."""
    for path in reversed(segments(directory)):
        with path.open("rb") as file:
            newest, _, _ = newest_line(file)
        if newest:
            return time_of(newest)
    return None


def newest_line(file: BinaryIO) -> tuple[bytes, int, int]:
    """Return a file's last whole line without its end, where it ends, and how many bytes of a torn one follow."""
    start = max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES)
    file.seek(start)
    tail = file.read()
    whole = tail.rfind(b"\n") + 1
    return tail[:whole].rstrip(b"\n").rpartition(b"\n")[2], start + whole, len(tail) - whole


def time_of(line: bytes) -> float | None:
    """Return what a line says of its time; None where it says nothing."""
    try:
        return datetime.fromisoformat(orjson.loads(line)["time"]).timestamp()
    except (ValueError, KeyError, TypeError):
        return None


def lines(directory: Path, after: int = -1) -> Iterator[tuple[Path, int, bytes]]:
    """Yield a trail's lines, of files that may have any after a number: file, number in it from 1, and bytes."""
    with ExitStack() as stack:
        active, newest = directory / ACTIVE, None
        if active.exists():
            # Opened before the others are listed: closed meanwhile, it is read as what it was.
            newest = stack.enter_context(active.open("rb"))
        closed = [path for path in segments(directory) if path.name != ACTIVE and not _is(path, newest)]
        begins = [int(path.stem.removeprefix("audit-")) for path in closed] + [_begin(newest)]
        # A file whose successor begins at or before `after + 1` has nothing that is asked for.
        for path, following in zip(closed, begins[1:], strict=True):
            if following > after + 1:
                with path.open("rb") as file:
                    yield from _numbered(path, file)
        if newest is not None:
            yield from _numbered(active, newest)


def _numbered(path: Path, file: BinaryIO) -> Iterator[tuple[Path, int, bytes]]:
    for number, line in enumerate(file, 1):
        yield path, number, line


def _is(path: Path, file: BinaryIO | None) -> bool:
    return file is not None and os.path.samestat(path.stat(), os.fstat(file.fileno()))


def _begin(file: BinaryIO | None) -> int:
    """Return the number of the first line; beyond all others where there is none, or where it can't be read."""
    try:
        begin = int(orjson.loads(b"" if file is None else file.readline())["seq"])
    except (ValueError, KeyError, TypeError):
        begin = sys.maxsize
    if file is not None:
        file.seek(0)
    return begin


def chain_of(directory: Path) -> str | None:
    """Return the chain that a trail's oldest file is of; None where it has no line yet."""
    for path in segments(directory):
        with path.open("rb") as file:
            line = file.readline()
        if line.endswith(b"\n"):
            return str(orjson.loads(line).get("chain"))
    return None
