"""What is broken during a run, in an order drawn from the seed, and how long the group takes to recover from each."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]

from tests.faults.fleet import Fleet
from tests.faults.records import PARTITIONS, Input
from tests.faults.stand import Place, Stand, kill_database
from tests.faults.watch import Watch

_RECOVERY_S = 180.0
_MOST_MEMBERS = 4
# Longer than the group's session: the others have the partitions when the stalled one goes on.
_STALL_S = 8.0
# Longer than a transaction may last: the brokers have ended it when the stalled one goes on.
_LONG_STALL_S = 30.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that was done: when, since the start of the run, and after how long all of before was committed."""

    name: str
    at_s: float
    recovered_s: float | None


class Chaos:
    """
    Breaks one thing after another while records flow.

    Args:
        stand: what can be broken besides members.
        place: the run's topics.
        fleet, watch, given: the run.
        seed: draws the order, the targets and the delays.
    """

    def __init__(self, stand: Stand, place: Place, fleet: Fleet, watch: Watch, given: Input, *, seed: int) -> None:
        self._place = place
        self._stand, self._fleet, self._watch, self._given = stand, fleet, watch, given
        self._random = random.Random(f"{seed}/{given.topic}/chaos")
        self._began = time.monotonic()
        self._joined = len(fleet.members)
        self.done: list[Fault] = []
        self.findings: list[str] = []

    def plan(self, names: Sequence[str]) -> list[str]:
        """Return the faults that this stand can suffer, in a drawn order."""
        stand = self._stand
        able: dict[str, object] = {
            "broker": stand.brokers,
            "leaderless": stand.brokers,
            "clock": stand.clock,
            "database": stand.server,
            "authority": stand.keys,
        }
        possible = [name for name in names if able.get(name, True) is not None]
        return self._random.sample(possible, len(possible))

    def run(self, plan: Sequence[str], records: int) -> None:
        """Do all of the plan, letting an equal share of the records flow with each."""
        acts: dict[str, Callable[[], None]] = {
            "kill": self._kill,
            "kill all": self._kill_all,
            "stall": self._stall,
            "long stall": self._long_stall,
            "add": self._add,
            "remove": self._remove,
            "broker": self._broker,
            "leaderless": self._leaderless,
            "grow": self._grow,
            "clock": self._clock,
            "database": self._database,
            "authority": self._authority,
        }
        for turn, name in enumerate(plan, start=1):
            self._let_flow(records * turn // len(plan))
            self._pause(0.2, 1.5)
            began, ends = time.monotonic(), self._given.ends()
            acts[name]()
            self._watch.look_now()
            recovered_s = self._recover(name, began, ends)
            self.done.append(Fault(name, round(began - self._began, 1), recovered_s))

    def _let_flow(self, share: int) -> None:
        """Return once the last share has been produced and the first record of the next one too."""
        given, before = self._given, self._given.allowed
        _await(lambda: given.produced >= before, _RECOVERY_S)
        given.allow(share)
        _await(lambda: given.produced > before, _RECOVERY_S)

    def _recover(self, name: str, began: float, ends: dict[int, int]) -> float | None:
        """Return after how long everything before `ends` was committed."""
        if _await(lambda: self._watch.reached(ends), _RECOVERY_S):
            return round(time.monotonic() - began, 1)
        self.findings.append(f"{name}: what was produced before it is not committed after {_RECOVERY_S:.0f} s")
        return None

    def settle(self) -> None:
        """Let members without failpoints deliver all that is left."""
        given = self._given
        _await(lambda: given.produced >= given.allowed, _RECOVERY_S)
        self._fleet.disarm()
        if not _await(lambda: self._watch.reached(given.ends()), _RECOVERY_S):
            self.findings.append(f"not everything is committed {_RECOVERY_S:.0f} s after the last fault")

    def _kill(self) -> None:
        self._fleet.kill(self._one())

    def _kill_all(self) -> None:
        for instance in list(self._fleet.members):
            self._fleet.kill(instance)

    def _stall(self) -> None:
        self._fleet.stall(self._one(), _STALL_S)

    def _long_stall(self) -> None:
        self._fleet.stall(self._one(), _LONG_STALL_S)

    def _add(self) -> None:
        if len(self._fleet.members) >= _MOST_MEMBERS:
            self._remove()
        self._fleet.add(f"w{self._joined}")
        self._joined += 1

    def _remove(self) -> None:
        if len(self._fleet.members) == 1:
            self._add()
        self._fleet.remove(self._one())

    def _broker(self) -> None:
        brokers = self._stand.brokers
        assert brokers is not None
        node = self._random.randrange(3)
        self._stand.disturbed.set()
        brokers.kill(node)
        self._pause(3, 8)
        brokers.restart(node)
        self._calm_again()

    def _leaderless(self) -> None:
        """Two of three brokers: no partition has a leader that may take a record, and no controller makes one."""
        brokers = self._stand.brokers
        assert brokers is not None
        away = self._random.sample(range(3), 2)
        self._stand.disturbed.set()
        for node in away:
            brokers.kill(node)
        self._pause(3, 8)
        for node in away:
            brokers.restart(node)
        self._calm_again()

    def _grow(self) -> None:
        """Give the topics their last partition."""
        admin = AdminClient({**self._stand.kafka.client, "log_level": 4})
        topics = [self._place.target] if self._place.topology.sink == "kafka" else []
        for topic in (*topics, self._place.source):
            admin.create_partitions([NewPartitions(topic, PARTITIONS)])[topic].result(30)
        self._given.partitions = PARTITIONS

    def _clock(self) -> None:
        """Let every member's wall clock leap by hours, ahead or back."""
        assert self._stand.clock is not None
        self._stand.clock.leap(self._random.choice((-1, 1)) * self._random.randint(2, 30))

    def _calm_again(self) -> None:
        timer = threading.Timer(20, self._stand.disturbed.clear)
        timer.daemon = True
        timer.start()

    def _database(self) -> None:
        assert self._stand.server is not None
        kill_database(self._stand.server)
        self._pause(1, 4)
        self._stand.server.restart()

    def _authority(self) -> None:
        assert self._stand.keys is not None
        self._stand.keys.kill()
        self._pause(1, 6)
        self._stand.keys.restart()

    def _one(self) -> str:
        return self._random.choice(sorted(self._fleet.members))

    def _pause(self, least: float, most: float) -> None:
        time.sleep(self._random.uniform(least, most))


def _await(condition: Callable[[], bool], timeout_s: float) -> bool:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
