"""What a committed reader of a topic sees: whether every partition flows, and how long one stood still."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Consumer

from tests.faults.records import PARTITIONS
from tests.faults.stand import Stand

SOON = {"reconnect.backoff.max.ms": 500}
"""Of a measuring client: what it takes to notice must not count."""
_PATIENCE_S = 120.0


@dataclass
class Seen:
    """When the newest record of each partition was written, and the longest time in which none came."""

    topic: str
    written_ms: dict[int, int] = field(default_factory=dict)
    came_at: dict[int, float] = field(default_factory=dict)
    still_s: float = 0.0

    def take(self, partition: int, written_ms: int) -> None:
        now = time.monotonic()
        self.still_s = max(self.still_s, now - self.came_at.get(partition, now))
        self.came_at[partition] = now
        self.written_ms[partition] = max(written_ms, self.written_ms.get(partition, 0))

    def told(self, at_ms: float) -> str:
        """Say which partitions have had nothing since a time."""
        still = [p for p in range(PARTITIONS) if self.written_ms.get(p, 0) <= at_ms]
        return f"{self.topic}: {still or 'every partition flows'}"

    def since(self, at_ms: float) -> bool:
        """Whether each partition has a record that was written after a time."""
        return sum(written > at_ms for written in self.written_ms.values()) == PARTITIONS


class Reader:
    """A committed reader of the sink, on a thread."""

    def __init__(self, stand: Stand, topic: str) -> None:
        conf = {"group.id": f"recovery-{topic}", "auto.offset.reset": "earliest", "isolation.level": "read_committed"}
        self._consumer = Consumer({**stand.kafka.client, **conf, **SOON})
        self._consumer.subscribe([topic])
        self._ended = threading.Event()
        self.seen = Seen(topic)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            for message in self._consumer.consume(500, 0.05):
                if message.error() is None:
                    self.seen.take(message.partition() or 0, message.timestamp()[1])


def recovery(readers: Sequence[Reader], act: Callable[[], None]) -> list[float]:
    """Return after how many seconds every partition flows again, as each reader sees it."""
    began, at_ms = time.monotonic(), time.time() * 1000
    act()
    found: dict[int, float] = {}
    while len(found) < len(readers):
        now = time.monotonic() - began
        found |= {i: now for i, r in enumerate(readers) if i not in found and r.seen.since(at_ms)}
        if now > _PATIENCE_S:
            raise TimeoutError(f"no flow after {now:.0f} s: {'; '.join(r.seen.told(at_ms) for r in readers)}")
        time.sleep(0.02)
    return [found[i] for i in range(len(readers))]


def standstill(readers: Sequence[Reader], act: Callable[[], None]) -> list[float]:
    """Return the longest time in which a partition stood still while something was done."""
    for reader in readers:
        reader.seen.still_s = 0.0
    act()
    recovery(readers, lambda: None)
    return [reader.seen.still_s for reader in readers]


def calm(readers: Sequence[Reader]) -> None:
    """Let the flow go on for a moment."""
    recovery(readers, lambda: time.sleep(2))
