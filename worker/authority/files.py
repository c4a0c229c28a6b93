"""Modes of files: what is the owner's alone stays so."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from worker.errors import ConfigError, unwritten

_RESERVED_BYTES = 16 * 1024


def own_directory(path: Path) -> None:
    """Make a directory, and let nobody but its owner into it; raises `ConfigError` where it is another's."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        _close(path, 0o700)


def own_file(path: Path, *, create: bool = False) -> None:
    """Let nobody but its owner read or write a file; `create` makes it where it is absent."""
    if create:
        # Not for writing: a file that can only be appended to is opened for nothing else.
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT, 0o600))
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o177:
        _close(path, 0o600)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is its owner's alone; raises as `whole`."""
    with whole(path) as file:
        file.write(data)


@contextlib.contextmanager
def whole(path: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """
    Write a file that appears whole or not at all; a pipe or device that stands there is written as it is.

    Args:
        path: where it will be, whatever is there now.
        mode: of the file, as the umask leaves it.

    Raises:
        SinkUnavailable, ConfigError: it can't be written, as `unwritten` says.
    """
    special = path.exists() and not path.is_file()
    part = path if special else path.with_name(path.name + ".part")
    try:
        if not special:
            part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | (0 if special else os.O_CREAT | os.O_EXCL), mode), "wb") as file:
            yield file
            file.flush()
            if not special:
                os.fsync(file.fileno())
                part.replace(path)
    except BaseException as exc:
        if not special:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        if isinstance(exc, OSError):
            raise unwritten(path, exc) from exc
        raise


@contextlib.contextmanager
def reserved(path: Path) -> Iterator[BinaryIO]:
    """Write a file as `whole`, of a secret that is only made once its room on the disk is there."""
    special = path.exists() and not path.is_file()
    with whole(path) as file:
        if not special:
            file.write(bytes(_RESERVED_BYTES))
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
        yield file
        if not special:
            file.truncate()


def check_secret(path: Path) -> None:
    """
    Refuse a secret that others can read or that its group can change; a group may read (as Kubernetes mounts it).

    Raises:
        ConfigError: it names the file and the mode to give it.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as exc:
        raise ConfigError(f"{path} can't be read: {exc.strerror}") from exc
    if mode & 0o027:
        raise ConfigError(f"{path} is a secret and open to others (mode {mode:04o}); chmod 0600 it")


def _close(path: Path, mode: int) -> None:
    try:
        path.chmod(mode)
    except OSError as exc:
        raise ConfigError(f"{path} is open to others and can't be closed: {exc.strerror}; chmod {mode:04o} it") from exc
