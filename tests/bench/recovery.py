"""
`make recovery`: seconds from a fault until every partition flows again, as a committed reader sees it.

Three brokers, an authority, three workers of one group, exactly once from topic to topic. A record's timestamp goes
with it, so a partition has recovered when the sink holds a record of it that was written after the fault. A graceful
restart is judged by the longest time in which a partition stood still. Medians over the rounds, with the settings that
make them.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from confluent_kafka import Consumer

from tests.faults.fleet import Fleet
from tests.faults.records import PARTITIONS, Input
from tests.faults.stand import TOPOLOGIES, Place, Stand, Topology, prepare, three_brokers
from worker.source.options import Assignment

SESSION_S, TRANSACTION_S, BROKER_SESSION_S, PROCESSES = 6, 15, 3, 3
_RATE, _PATIENCE_S = 600.0, 120.0


@dataclass
class Seen:
    """When the newest record of each partition was written, and the longest time in which none came."""

    written_ms: dict[int, int] = field(default_factory=dict)
    came_at: dict[int, float] = field(default_factory=dict)
    still_s: float = 0.0

    def take(self, partition: int, written_ms: int) -> None:
        now = time.monotonic()
        self.still_s = max(self.still_s, now - self.came_at.get(partition, now))
        self.came_at[partition] = now
        self.written_ms[partition] = max(written_ms, self.written_ms.get(partition, 0))

    def since(self, at_ms: float) -> bool:
        """Whether each partition has a record that was written after a time."""
        return sum(written > at_ms for written in self.written_ms.values()) == PARTITIONS


class Reader:
    """A committed reader of the sink, on a thread."""

    def __init__(self, stand: Stand, topic: str) -> None:
        conf = {"group.id": f"recovery-{topic}", "auto.offset.reset": "earliest", "isolation.level": "read_committed"}
        self._consumer = Consumer({**stand.kafka.client, **conf})
        self._consumer.subscribe([topic])
        self._ended = threading.Event()
        self.seen = Seen()
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


def recovery(reader: Reader, act: Callable[[], None]) -> float:
    """Return after how many seconds every partition flows again."""
    began, at_ms = time.monotonic(), time.time() * 1000
    act()
    while not reader.seen.since(at_ms):
        if time.monotonic() - began > _PATIENCE_S:
            raise TimeoutError("a partition did not recover")
        time.sleep(0.02)
    return time.monotonic() - began


def standstill(reader: Reader, act: Callable[[], None]) -> float:
    """Return the longest time in which a partition stood still while something was done."""
    reader.seen.still_s = 0.0
    act()
    recovery(reader, lambda: None)
    return reader.seen.still_s


@contextmanager
def flowing(stand: Stand, place: Place, *instances: str, processes: int = 1) -> Iterator[tuple[Fleet, Reader]]:
    """Let members deliver what comes, and read what they deliver."""
    given = Input(stand.kafka.client, place.source, seed=1, lanes=60)
    given.allow(1 << 30)
    with ExitStack() as stack:
        fleet = Fleet(stand, place, seed=1, processes=processes)
        producing = threading.Thread(target=given.run, args=(_RATE,))
        stack.callback(producing.join)
        stack.callback(given.stop)
        stack.callback(fleet.close)
        fleet.disarm()
        producing.start()
        fleet.start(*instances)
        reader = Reader(stand, place.target)
        stack.callback(reader.close)
        recovery(reader, lambda: None)
        yield fleet, reader
        fleet.stop()


def measure(stand: Stand, rounds: int, assignment: Assignment) -> dict[str, list[float]]:
    """Do everything `rounds` times."""
    topology = replace(TOPOLOGIES["kafka-exactly-once"], assignment=assignment)
    found: dict[str, list[float]] = {}
    with flowing(stand, prepare(stand, topology, f"recovery-{assignment}"), "w0", "w1", "w2") as (fleet, reader):
        for turn in range(rounds):
            for name, judge, act in acts(stand, fleet, turn):
                found.setdefault(name, []).append(judge(reader, act))
                recovery(reader, lambda: time.sleep(2))
    return found


def measure_children(stand: Stand, rounds: int, topology: Topology) -> list[float]:
    """Kill one of several processes of one worker, `rounds` times."""
    place = prepare(stand, topology, f"recovery-child-{topology.assignment}-{topology.static}".lower())
    found = []
    with flowing(stand, place, "w0", processes=PROCESSES) as (fleet, reader):
        for turn in range(rounds):
            found.append(recovery(reader, partial(kill_child, fleet, turn % PROCESSES)))
            recovery(reader, lambda: time.sleep(2))
    return found


def kill_child(fleet: Fleet, index: int) -> None:
    """SIGKILL a process of the only member, by the pid that its log says."""
    lines = map(json.loads, filter(lambda line: line.startswith("{"), fleet.members["w0"].log.read_text().splitlines()))
    begun = [e for e in lines if e["event"] in ("process_started", "process_restarted") and e["process"] == index]
    os.kill(int(begun[-1]["pid"]), signal.SIGKILL)


Act = tuple[str, Callable[[Reader, Callable[[], None]], float], Callable[[], None]]


def acts(stand: Stand, fleet: Fleet, turn: int) -> list[Act]:
    """Return what is done in one round."""
    member, brokers = f"w{turn % 3}", stand.brokers
    assert brokers is not None

    def gone() -> None:
        fleet.members.pop(member).program.send(signal.SIGKILL)

    def back() -> None:
        fleet.add(member)

    def restart() -> None:
        fleet.remove(member)
        fleet.add(member)

    return [
        ("a worker killed, its successor at once", recovery, lambda: fleet.kill(member)),
        ("a worker killed, no successor", recovery, gone),
        ("a worker added", standstill, back),
        ("a worker restarted gracefully, standstill", standstill, restart),
        ("a broker of three killed", recovery, lambda: brokers.kill(turn % 3)),
        ("that broker back", recovery, lambda: brokers.restart(turn % 3)),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--assignment", choices=["cooperative", "consumer"], action="append")
    asked = parser.parse_args()
    sessions = f"session {SESSION_S} s, transaction {TRANSACTION_S} s, brokers' session {BROKER_SESSION_S} s"
    brokers = {"broker.session.timeout.ms": str(BROKER_SESSION_S * 1000)}
    with tempfile.TemporaryDirectory(prefix="recovery-") as directory, three_brokers(Path(directory), brokers) as stand:
        for assignment in asked.assignment or ["cooperative", "consumer"]:
            print(f"assignment {assignment}, {sessions}", flush=True)
            for name, seconds in measure(stand, asked.rounds, assignment).items():
                tell(name, seconds)
        exact = TOPOLOGIES["kafka-exactly-once"]
        for topology in (exact, replace(exact, assignment="eager", static=True)):
            static = ", static membership" if topology.static else ""
            seconds = measure_children(stand, asked.rounds, topology)
            tell(f"one of {PROCESSES} processes killed, {topology.assignment}{static}", seconds)
    return 0


def tell(name: str, seconds: list[float]) -> None:
    """Print one row: the median, and each round."""
    print(f"  {name:<60}{statistics.median(seconds):>6.1f} s  ({', '.join(f'{s:.1f}' for s in seconds)})", flush=True)


if __name__ == "__main__":
    sys.exit(main())
