"""Dead letters of files: a container file of sealed letters beside each output."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from worker.avro import decode_value
from worker.avro.container import ContainerReader, DatumSplitter
from worker.errors import ConfigError
from worker.model import SourceRecord
from worker.pipeline.deadletter import position_of

LETTERS = files("worker.pipeline").joinpath("letters.avsc").read_text(encoding="utf-8")
"""The schema of a letter."""


def read_letters(path: Path) -> Iterator[SourceRecord]:
    """
    Yield the letters of a `.dead` file as they would stand in a dead topic: key, envelope and headers.

    Raises:
        ConfigError: the file can't be read, or holds no letters.
        DecodeError: it is no container file, or ends early.
    """
    try:
        with path.open("rb") as file:
            reader = ContainerReader(file)
            splitter = DatumSplitter(reader.schema)
            for block in reader.blocks():
                for datum in splitter.split(block)[0]:
                    letter = decode_value(reader.schema, datum)
                    if not isinstance(letter, dict) or letter.keys() != {"key", "value", "headers"}:
                        raise ConfigError(f"{path} holds no dead letters; it is <name>.dead beside the output")
                    key = letter["key"].encode()
                    yield SourceRecord(position_of(key), key, letter["value"], tuple(letter["headers"].items()))
    except OSError as exc:
        raise ConfigError(f"{path}: can't be read: {exc.strerror}") from exc
