"""Clients of confluent-kafka's whose messages are taken and handed over in native memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import KafkaError

from worker.native import IS_LOADED, extension

if TYPE_CHECKING:
    from worker import _native

_Client = TypeVar("_Client")
_PLUGINS = "plugin.library.paths"


def adopted(
    make: Callable[[Mapping[str, Any]], _Client], properties: Mapping[str, Any]
) -> tuple[_Client, _native.Client | None]:
    """
    Return a client and the same for the extension, None where it can't be had: the client then does everything itself.

    The extension becomes known to the client by librdkafka's own plugin interface, and calls the very librdkafka that
    confluent-kafka has loaded. It must be ended before the client is closed.

    Args:
        make: makes the client.
        properties: librdkafka's.
    """
    if not is_adoptable(properties):
        return make(properties), None
    client = make({**properties, _PLUGINS: str(extension.__file__)})
    return client, extension.kafka_newest()


def is_adoptable(properties: Mapping[str, Any]) -> bool:
    """Whether the extension can have a client of these properties."""
    return _PLUGINS not in properties and _is_usable()


def wake() -> None:
    """Let the threads of every adopted client look at the clocks again; returns at once."""
    if IS_LOADED:
        extension.kafka_wake()


@cache
def _is_usable() -> bool:
    library = _library() if IS_LOADED else None
    return library is not None and extension.kafka_load(library)


def _library() -> str | None:
    """The file of the librdkafka that is loaded in this process; None where that can't be told."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    loaded = {line.split(maxsplit=5)[5] for line in lines if "/librdkafka" in line}
    # Of two libraries none can be told to be the client's.
    return loaded.pop() if len(loaded) == 1 else None


@dataclass(frozen=True, slots=True)
class NativeEvent:
    """What came instead of a message, with the accessors that confluent-kafka's own have."""

    code: int
    words: str
    where: str
    number: int
    at: int

    def error(self) -> KafkaError:
        """What happened."""
        return KafkaError(self.code, self.words)

    def topic(self) -> str:
        """The topic, empty where it concerns none."""
        return self.where

    def partition(self) -> int:
        """The partition's number."""
        return self.number

    def offset(self) -> int:
        """The offset that it concerns."""
        return self.at
