"""Files of secrets."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from worker.authority.files import reserved
from worker.errors import WorkerError


def test_a_secret_is_made_once_its_room_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk it is not begun, and what stood there stays; else the file is what was written, and no more."""
    path, made = tmp_path / "client.env", list[str]()
    path.write_text("before")

    def make() -> None:
        with reserved(path) as file:
            made.append("secret")
            file.write(b"A=b\n")

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(WorkerError, match="No space"):
            make()
    assert (made, [each.name for each in tmp_path.iterdir()], path.read_text()) == ([], ["client.env"], "before")

    make()
    assert (made, path.read_bytes(), path.stat().st_mode & 0o777) == (["secret"], b"A=b\n", 0o600)


def test_a_pipe_takes_it_as_it_is(tmp_path: Path) -> None:
    """What is no file has no room to keep."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with reserved(path) as file:
        file.write(b"A=b\n")

    assert os.read(reading, 100) == b"A=b\n"
    os.close(reading)
