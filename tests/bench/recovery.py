"""
`make recovery`: seconds from a fault until every partition flows again, as a committed reader sees it.

Three brokers, an authority, three workers of one group, exactly once from topic to topic, and beside them three plain
loops of confluent-kafka's with the same client settings. A record's timestamp goes with it, so a partition has
recovered when the sink holds a record of it that was written after the fault. A graceful restart is judged by the
longest time in which a partition stood still. Medians over the rounds, with the settings that make them.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

from tests.bench.bare import Loops
from tests.bench.flow import SOON, Reader, calm, recovery, standstill
from tests.faults.fleet import Fleet
from tests.faults.records import PARTITIONS, Input
from tests.faults.stand import TOPOLOGIES, Place, Stand, Topology, prepare, three_brokers
from worker.local import LocalKafka
from worker.source.options import Assignment

SESSION_S, TRANSACTION_S, PROCESSES = 8, 15, 3
BROKERS = {
    "broker.session.timeout.ms": "3000",
    "group.consumer.session.timeout.ms": f"{SESSION_S * 1000}",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}
EXACT = replace(TOPOLOGIES["kafka-exactly-once"], session_s=SESSION_S, transaction_s=TRANSACTION_S)
_RATE, _MEMBERS = 600.0, ("w0", "w1", "w2")
Rows = dict[str, list[float]]
Act = tuple[str, Sequence[Reader], Callable[[Sequence[Reader], Callable[[], None]], list[float]], Callable[[], None]]


@dataclass(frozen=True, slots=True)
class Side:
    """What flows: who delivers it, and who reads what was delivered."""

    fleet: Fleet
    reader: Reader


@contextmanager
def flowing(stand: Stand, place: Place, *instances: str, processes: int = 1) -> Iterator[Side]:
    """Let members deliver what comes, and read what they deliver."""
    given = Input({**stand.kafka.client, **SOON}, place.source, seed=1, lanes=60)
    given.allow(1 << 30)
    with ExitStack() as stack:
        fleet = Fleet(stand, place, seed=1, processes=processes, absence_s=0.0)
        producing = threading.Thread(target=given.run, args=(_RATE,))
        stack.callback(producing.join)
        stack.callback(given.stop)
        stack.callback(fleet.close)
        fleet.disarm()
        producing.start()
        fleet.start(*instances)
        reader = Reader(stand, place.target)
        stack.callback(reader.close)
        recovery([reader], lambda: None)
        yield Side(fleet, reader)
        fleet.stop()


@contextmanager
def beside(stand: Stand, place: Place, assignment: Assignment) -> Iterator[tuple[Loops, Reader]]:
    """Let plain loops deliver the same, to a topic of their own."""
    with ExitStack() as stack:
        loops = Loops(stand, place, assignment, session_s=SESSION_S, transaction_s=TRANSACTION_S)
        stand.kafka.create_topic(loops.target, partitions=PARTITIONS)
        stack.callback(loops.close)
        loops.start(*_MEMBERS)
        reader = Reader(stand, loops.target)
        stack.callback(reader.close)
        recovery([reader], lambda: None)
        yield loops, reader


def measure(stand: Stand, rounds: int, assignment: Assignment) -> Rows:
    """Do everything `rounds` times."""
    topology = replace(EXACT, assignment=assignment)
    place, found = prepare(stand, topology, f"recovery-{assignment}"), Rows()
    with flowing(stand, place, *_MEMBERS) as side, beside(stand, place, assignment) as (loops, bare):
        for turn in range(rounds):
            for name, readers, judge, act in acts(stand, side, loops, bare, turn):
                for reader, seconds in zip(readers, judge(readers, act), strict=True):
                    found.setdefault(name if reader is side.reader else f"{name}: bare loops", []).append(seconds)
                calm([side.reader, bare])
    return found


def measure_children(stand: Stand, rounds: int, topology: Topology) -> list[float]:
    """Kill one of several processes of one worker, `rounds` times."""
    place = prepare(stand, topology, f"recovery-child-{topology.assignment}-{topology.static}".lower())
    found = []
    with flowing(stand, place, "w0", processes=PROCESSES) as side:
        for turn in range(rounds):
            found += recovery([side.reader], partial(kill_child, side.fleet, turn % PROCESSES))
            calm([side.reader])
    return found


def kill_child(fleet: Fleet, index: int) -> None:
    """SIGKILL a process of the only member, by the pid that its log says."""
    lines = map(json.loads, filter(lambda line: line.startswith("{"), fleet.members["w0"].log.read_text().splitlines()))
    begun = [e for e in lines if e["event"] in ("process_started", "process_restarted") and e["process"] == index]
    os.kill(int(begun[-1]["pid"]), signal.SIGKILL)


def acts(stand: Stand, side: Side, loops: Loops, bare: Reader, turn: int) -> list[Act]:
    """Return what is done in one round, who looks at it, and how it is judged."""
    member, brokers, fleet = _MEMBERS[turn % 3], stand.brokers, side.fleet
    assert brokers is not None
    ours, both = [side.reader], [side.reader, bare]
    dead: list[int] = []

    def gone() -> None:
        fleet.members.pop(member).program.send(signal.SIGKILL)

    def back() -> None:
        fleet.add(member)

    def restart() -> None:
        fleet.remove(member)
        fleet.add(member)

    def lose(node: int) -> None:
        dead.append(node)
        brokers.kill(node)

    successor = "a worker killed, its successor at once"
    return [
        (successor, ours, recovery, lambda: fleet.kill(member)),
        (successor, [bare], recovery, lambda: loops.kill(member)),
        ("a worker killed, no successor", ours, recovery, gone),
        ("a worker added, standstill", ours, standstill, back),
        ("a worker restarted gracefully, standstill", ours, standstill, restart),
        ("a broker of three killed", both, recovery, lambda: lose((controller(brokers) + 1 + turn % 2) % 3)),
        ("that broker back", both, recovery, lambda: brokers.restart(dead[-1])),
        ("the active controller killed", both, recovery, lambda: lose(controller(brokers))),
        ("that controller back", both, recovery, lambda: brokers.restart(dead[-1])),
    ]


def controller(brokers: LocalKafka) -> int:
    """Return which node leads the controllers' quorum, by what the nodes have written down."""
    paths = [brokers.data(node) / "__cluster_metadata-0" / "quorum-state" for node in range(3)]
    states = [json.loads(path.read_text()) for path in paths]
    newest = max(states, key=lambda state: (state["leaderEpoch"], state["leaderId"]))
    return int(newest["leaderId"]) - 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["cooperative", "consumer", "processes"])
    asked = parser.parse_args()
    print(f"session {SESSION_S} s, transaction {TRANSACTION_S} s; brokers: {BROKERS}", flush=True)
    with tempfile.TemporaryDirectory(prefix="recovery-") as directory, three_brokers(Path(directory), BROKERS) as stand:
        for assignment in get_args(Assignment):
            if assignment != "eager" and asked.only in (None, assignment):
                print(f"assignment {assignment}", flush=True)
                for name, seconds in measure(stand, asked.rounds, assignment).items():
                    tell(name, seconds)
        if asked.only in (None, "processes"):
            for topology in (EXACT, replace(EXACT, assignment="eager", static=True)):
                static = ", static membership" if topology.static else ""
                seconds = measure_children(stand, asked.rounds, topology)
                tell(f"one of {PROCESSES} processes killed, {topology.assignment}{static}", seconds)
    return 0


def tell(name: str, seconds: list[float]) -> None:
    """Print one row: the median, and each round."""
    print(f"  {name:<60}{statistics.median(seconds):>6.1f} s  ({', '.join(f'{s:.1f}' for s in seconds)})", flush=True)


if __name__ == "__main__":
    sys.exit(main())
