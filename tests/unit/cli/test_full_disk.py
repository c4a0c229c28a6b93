"""Where there is no room for what a command writes it says so, and nothing half written stands under its name."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.disk import no_room
from tests.program import COMMAND
from worker.authority.dev import DevAuthority
from worker.authority.files import whole, write_whole
from worker.authority.seal import root_from_file
from worker.avro.container import open_container
from worker.cli.failures import of_environment
from worker.cli.output import named
from worker.cli.printing import Form, print_lines
from worker.errors import ConfigError, SinkUnavailable
from worker.rekey.export import ContainerTarget

SCHEMA = '{"type":"record","name":"C","doc":"' + "x" * 20_000 + '","fields":[{"name":"v","type":"int"}]}'


@pytest.mark.parametrize("arguments", [("--help",), ("config", "template"), ("plan", "schemas/customer.avsc")])
def test_a_full_standard_output_is_told_with_its_reason(arguments: tuple[str, ...]) -> None:
    """Once, by name, with what to do and the exit code of what is away; never as a crash."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert done.returncode == SinkUnavailable.exit_code
    [line] = done.stderr.splitlines()
    assert line.startswith("SinkUnavailable: standard output can't be written: No space left on device; make room")


def test_who_has_read_enough_is_no_fault() -> None:
    """`worker ... | head` ends without a word."""
    with subprocess.Popen([*COMMAND, "config", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stdout is not None
        command.stdout.close()
        _, told = command.communicate()

    assert told == b""


@pytest.mark.parametrize("form", Form)
def test_lines_in_every_form_are_refused_alike(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", named(full))

        with pytest.raises(SinkUnavailable, match="standard output"):
            print_lines(({"index": i, "value": {"v": i}} for i in range(10_000)), form)


def test_a_full_standard_error_leaves_the_exit_code() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*COMMAND, "plan", "nothing.avsc"], stdout=subprocess.PIPE, stderr=full, check=False)

    assert done.returncode == ConfigError.exit_code


def test_what_stood_there_stays(tmp_path: Path) -> None:
    """A file that can't be written whole is the one that it was, and nothing stands beside it."""
    path = tmp_path / "backup.age"
    write_whole(path, b"before")

    with no_room(), pytest.raises(SinkUnavailable, match=r"backup\.age can't be written: File too large; make room"):
        write_whole(path, b"after")

    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_is_written_as_it_is(tmp_path: Path) -> None:
    """`--output /dev/stdout` makes no file in /dev."""
    with whole(Path("/dev/null")) as file:
        file.write(b"nothing")

    assert not Path("/dev/null").is_file()


def test_a_root_key_is_whole_or_not_made(tmp_path: Path) -> None:
    with no_room(9), pytest.raises(SinkUnavailable, match=r"root\.key"):
        root_from_file(tmp_path / "root.key", create=True)

    assert len(root_from_file(tmp_path / "root.key", create=True)) == 32


@pytest.mark.parametrize("step", [lambda t: t.add(SCHEMA, [b"\x02"]), lambda t: t.finish()], ids=["add", "finish"])
def test_an_export_leaves_nothing_in_the_clear(step: Callable[[ContainerTarget], None], tmp_path: Path) -> None:
    """Neither the part that was written nor, of several files, those that were whole."""
    target = ContainerTarget(tmp_path / "out.avro")
    target.add('"int"', [b"\x02"])
    target.add('"long"', [b"\x02"])

    with no_room(), pytest.raises(SinkUnavailable, match=r"out.*make room"):
        step(target)
    target.close()

    assert list(tmp_path.iterdir()) == []


def test_an_export_is_there_together(tmp_path: Path) -> None:
    target = ContainerTarget(tmp_path / "out.avro")
    target.add(SCHEMA, [b"\x02"])
    target.finish()
    target.close()

    with open_container(tmp_path / "out.avro") as (_, reader):
        assert [block.count for block in reader.blocks()] == [1]


def test_a_store_that_has_no_room_is_told_without_its_statement(tmp_path: Path) -> None:
    with no_room(8192), pytest.raises(Exception, match=r"disk|full|I/O") as caught:
        DevAuthority("eu-central-1", tmp_path)

    told = of_environment(caught.value)
    assert isinstance(told, SinkUnavailable)
    assert "INSERT" not in str(told)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(28, "No space left on device"), SinkUnavailable),
        (PermissionError(13, "Permission denied", "out.json"), ConfigError),
        (ConnectionResetError(104, "Connection reset by peer"), type(None)),
        (ValueError("a fault of ours"), type(None)),
    ],
)
def test_what_the_system_refuses_is_an_error_and_what_is_wrong_with_us_a_crash(error: Exception, kind: type) -> None:
    assert type(of_environment(error)) is kind
