"""Dead letters of files, as they are found beside an output."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.avro import encode_value
from worker.avro.container import ContainerWriter
from worker.errors import ConfigError, DecodeError
from worker.model import Position
from worker.pipeline.letterfile import LETTERS, read_letters


def container(path: Path, schema: str, *values: object) -> Path:
    writer = ContainerWriter(schema, codec="null", sync=bytes(16))
    path.write_bytes(writer.header + writer.block([encode_value(schema, value) for value in values]))
    return path


def test_a_letter_is_what_stands_in_a_dead_topic(tmp_path: Path) -> None:
    """Key, envelope and headers come back, in their order."""
    letters = [{"key": f"in.avro/2/{i}", "value": bytes([2, i]), "headers": {"code": b"x"}} for i in (0, 7)]

    found = list(read_letters(container(tmp_path / "in.avro.dead", LETTERS, *letters)))

    assert [(r.position, r.key, r.value, r.headers) for r in found] == [
        (Position("in.avro", 2, i), f"in.avro/2/{i}".encode(), bytes([2, i]), (("code", b"x"),)) for i in (0, 7)
    ]


def test_another_file_is_refused(tmp_path: Path) -> None:
    """What holds no letters, or is no container file, or is not there says so."""
    with pytest.raises(ConfigError, match="holds no dead letters"):
        list(read_letters(container(tmp_path / "in.avro", '"long"', 1)))
    (tmp_path / "text").write_text("no container")
    with pytest.raises(DecodeError):
        list(read_letters(tmp_path / "text"))
    with pytest.raises(ConfigError, match="can't be read"):
        list(read_letters(tmp_path / "gone"))
