"""A file that is written beside its place."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.disk import no_room
from worker.errors import ConfigError, SinkUnavailable
from worker.sink.files import FileSink, dead_path


def begun(target: Path, *, letters: bool = False) -> None:
    """Leave a file as a killed run would: some of it durable, some not."""
    with FileSink(target, "this") as sink:
        sink.write(b"whole")
        if letters:
            sink.write_dead(b"sealed")
        sink.commit(read=7, blocks=2, counts={"encrypted": 3})
        sink.write(b"torn")
        sink.write_dead(b"torn too")


@pytest.mark.parametrize("letters", [False, True])
def test_what_is_behind_the_last_checkpoint_is_cut_off(tmp_path: Path, letters: bool) -> None:
    """A continued file is what was durable and what is written since; so are its dead letters."""
    target = tmp_path / "a.avro"
    begun(target, letters=letters)

    with FileSink(target, "this") as sink:
        at = sink.checkpoint
        sink.write(b"-rest")
        sink.commit(read=9, blocks=3, counts={"encrypted": 4})
        sink.finish()

    assert (at.read, at.blocks, at.counts) == (7, 2, {"encrypted": 3})
    assert target.read_bytes() == b"whole-rest"
    assert [p.read_bytes() for p in [dead_path(target)] if p.exists()] == ([b"sealed"] if letters else [])
    assert len(list(tmp_path.iterdir())) == 1 + letters


def test_an_end_between_the_two_moves_is_continued(tmp_path: Path) -> None:
    """The dead letters may be in their place before their file is: they are taken back and both move again."""
    target = tmp_path / "a.avro"
    begun(target, letters=True)
    (tmp_path / "a.avro.dead.partial").rename(dead_path(target))

    with FileSink(target, "this") as sink:
        sink.finish()

    assert (target.read_bytes(), dead_path(target).read_bytes()) == (b"whole", b"sealed")


def test_a_file_of_another_identity_or_length_is_not_continued(tmp_path: Path) -> None:
    """What was begun from something else, and what somebody shortened, is refused with what to remove."""
    target = tmp_path / "a.avro"
    begun(target)

    with pytest.raises(ConfigError, match="another input"):
        FileSink(target, "that")
    (tmp_path / "a.avro.partial").write_bytes(b"who")
    with pytest.raises(ConfigError, match="shorter"):
        FileSink(target, "this")


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    """The second one is told that there is a first."""
    with FileSink(tmp_path / "a.avro", "this"), pytest.raises(ConfigError, match="another run"):
        FileSink(tmp_path / "a.avro", "this")


def test_a_file_that_another_run_finishes_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes between the other run's move and its end must not cut the whole file."""
    target = tmp_path / "a.avro"
    lock = fcntl.flock

    def late(file: BinaryIO, operation: int) -> None:
        (tmp_path / "a.avro.partial").rename(target)
        target.write_bytes(b"whole")
        lock(file, operation)

    monkeypatch.setattr("worker.sink.files.fcntl.flock", late)

    with pytest.raises(ConfigError, match="just finished"):
        FileSink(target, "this")
    assert target.read_bytes() == b"whole"


def test_dead_letters_of_another_run_are_not_overwritten(tmp_path: Path) -> None:
    """Letters whose file is gone are somebody's to look at."""
    dead_path(tmp_path / "a.avro").write_bytes(b"sealed")

    with pytest.raises(ConfigError, match="without its file"):
        FileSink(tmp_path / "a.avro", "this")


def test_a_full_disk_is_unavailable_and_the_run_can_be_continued(tmp_path: Path) -> None:
    """What can't be written now is told once, and tried again by the next run, from the last checkpoint."""
    target = tmp_path / "a.avro"
    begun(target)

    sink = FileSink(target, "this")
    sink.write(b"more")
    with no_room(), pytest.raises(SinkUnavailable, match="make room"):
        sink.commit(read=9, blocks=3, counts={})
    with no_room():
        sink.close()

    with FileSink(target, "this") as sink:
        assert sink.checkpoint.read == 7
