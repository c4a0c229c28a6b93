"""A file on its way: written beside its place, continued after a crash, moved there when it is whole."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import orjson

from worker.errors import ConfigError, unwritten

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """
    What of a file is durable.

    Args:
        identity: of the input and of what is made of it; another one's file is not continued.
        read: bytes of the input that are behind it.
        written, dead: bytes of the output and of the dead letters that count.
        blocks: of the input that are behind it.
        counts: records by outcome.
    """

    identity: str
    read: int = 0
    written: int = 0
    dead: int = 0
    blocks: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)


class FileSink:
    """
    One output file and its dead letters, which exist only where there are any.

    While it is written, `<target>.partial`, `<target>.dead.partial` and `<target>.progress` stand beside its place.
    What is behind the last checkpoint is cut off when it is opened again. Only one process at a time has it.

    Args:
        target: where the whole file will be.
        identity: see `Checkpoint`.
        replaces: whether the target is there and makes room; its dead letters stay.

    Raises:
        ConfigError: another process has it, or what is there belongs to another input or another way to encrypt it.
    """

    def __init__(self, target: Path, identity: str, *, replaces: bool = False) -> None:
        self._target = target
        self._partial, self._progress = _beside(target, ".partial"), _beside(target, ".progress")
        self._dead, self._dead_partial = dead_path(target), _beside(target, ".dead.partial")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._out = self._partial.open("ab")
        except OSError as exc:
            raise unwritten(self._partial, exc) from exc
        try:
            fcntl.flock(self._out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            self._out.close()
            raise ConfigError(f"{self._partial}: another run is writing it") from exc
        self._letters: BinaryIO | None = None
        try:
            self._refuse_moved()
            self.checkpoint = self._resume(identity, replaces=replaces)
        except BaseException:
            self.close()
            raise

    def write(self, data: bytes) -> None:
        """Append to the output."""
        self._append(self._out, data)

    def write_dead(self, data: bytes) -> None:
        """Append to the dead letters."""
        if self._letters is None:
            self._letters = self._dead_partial.open("ab")
        self._append(self._letters, data)

    @property
    def dead_bytes(self) -> int:
        """Length of the dead letters so far."""
        return self._letters.tell() if self._letters is not None else 0

    def commit(self, *, read: int, blocks: int, counts: Mapping[str, int]) -> None:
        """Make everything appended durable, and then that it is."""
        try:
            for file in (self._out, self._letters):
                if file is not None:
                    file.flush()
                    os.fsync(file.fileno())
            self.checkpoint = Checkpoint(
                self.checkpoint.identity, read, self._out.tell(), self.dead_bytes, blocks, dict(counts)
            )
            self._store(self.checkpoint)
        except OSError as exc:
            raise unwritten(self._partial, exc) from exc

    def finish(self) -> None:
        """Put the whole, committed file in its place; the dead letters first, so that it is never without them."""
        try:
            if self._letters is not None:
                self._dead_partial.rename(self._dead)
            self._partial.rename(self._target)
            self._progress.unlink()
            _sync_directory(self._target.parent)
        except OSError as exc:
            raise unwritten(self._target, exc) from exc

    @staticmethod
    def tidy(target: Path) -> None:
        """Remove what a crash between a file's move and its end left."""
        _beside(target, ".progress").unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of it; safe to call twice."""
        for file in (self._out, self._letters):
            if file is not None:
                # What was not committed does not count, and a full disk would be told a second time.
                with contextlib.suppress(OSError):
                    file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refuse_moved(self) -> None:
        """Refuse where another run put the file in its place between our opening and our locking it."""
        try:
            same = os.path.samestat(os.fstat(self._out.fileno()), self._partial.stat())
        except FileNotFoundError:
            same = False
        if not same:
            raise ConfigError(f"{self._partial}: another run has just finished it")

    def _append(self, file: BinaryIO, data: bytes) -> None:
        try:
            file.write(data)
        except OSError as exc:
            raise unwritten(file.name, exc) from exc

    def _resume(self, identity: str, *, replaces: bool) -> Checkpoint:
        known = self._load()
        if known is None:
            if self._dead.exists() and not replaces:
                raise ConfigError(f"{self._dead} is there without its file; remove it or choose another --out")
            self._dead_partial.unlink(missing_ok=True)
            self._out.truncate(0)
            return Checkpoint(identity)
        if known.identity != identity:
            raise ConfigError(
                f"{self._partial} was begun from another input, schema or settings; remove it and {self._progress}, or "
                "choose another --out"
            )
        if not replaces and self._dead.exists() and not self._dead_partial.exists():
            self._dead.rename(self._dead_partial)
        self._cut(self._out, known.written)
        if known.dead:
            self._letters = self._dead_partial.open("ab")
            self._cut(self._letters, known.dead)
        else:
            self._dead_partial.unlink(missing_ok=True)
        return known

    @staticmethod
    def _cut(file: BinaryIO, length: int) -> None:
        if os.fstat(file.fileno()).st_size < length:
            raise ConfigError(f"{file.name} is shorter than it was; remove it and its .progress to begin anew")
        file.truncate(length)
        file.seek(0, os.SEEK_END)

    def _load(self) -> Checkpoint | None:
        try:
            found = orjson.loads(self._progress.read_bytes())
        except FileNotFoundError:
            return None
        except orjson.JSONDecodeError as exc:
            raise ConfigError(f"{self._progress} can't be read; remove it and its .partial to begin anew") from exc
        if found.pop("version", None) != _VERSION:
            raise ConfigError(f"{self._progress} is another program's; remove it and its .partial to begin anew")
        return Checkpoint(**found)

    def _store(self, checkpoint: Checkpoint) -> None:
        facts = {name: getattr(checkpoint, name) for name in Checkpoint.__slots__}
        new = _beside(self._target, ".progress.new")
        with new.open("wb") as file:
            file.write(orjson.dumps({"version": _VERSION, **facts}))
            file.flush()
            os.fsync(file.fileno())
        new.rename(self._progress)
        _sync_directory(self._target.parent)


def dead_path(target: Path) -> Path:
    """Return where the dead letters of an output file stand."""
    return _beside(target, ".dead")


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(target.name + suffix)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
