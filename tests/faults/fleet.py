"""The members of one consumer group: real `worker run` processes that die at named places and are started again."""

from __future__ import annotations

import http.client
import json
import random
import signal
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.stand import Place, Stand
from tests.program import COMMAND
from worker.local.process import Program, free_ports

PLACES = (
    "after_poll",
    "after_process",
    "after_write",
    "after_flush",
    "before_commit",
    "after_sink_commit",
    "after_commit",
    "on_assign",
    "on_revoke",
)
KILLED, FENCED = -signal.SIGKILL, 5
TICK_S = 0.25
_STOP_S = 40.0


@dataclass(slots=True)
class Member:
    """One instance's name, its port, and the process that runs under it now."""

    instance: str
    port: int
    log: Path
    program: Program
    place: str
    wanted: bool = True
    stalled: bool = False
    start_at: float | None = None


@dataclass(slots=True)
class Figures:
    """What was seen of all processes of a fleet."""

    starts: int = 0
    died_at: Counter[str] = field(default_factory=Counter)
    peak_rss_bytes: int = 0
    paused_ticks: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


class Fleet:
    """
    Keeps members alive until told otherwise, on a thread of its own.

    Every start arms a failpoint drawn from the seed, each place once before any comes again; `disarm` ends that.

    Args:
        stand, place: what the members read and write.
        seed: draws places, hits and delays.
        on_death: called after a member has died of SIGKILL.
        hits: between which batches an armed member dies.
        processes: how many each member is made of.
        absence_s: how long a dead member stays away, at most.
    """

    def __init__(
        self,
        stand: Stand,
        place: Place,
        *,
        seed: int,
        on_death: Callable[[], None] = lambda: None,
        hits: tuple[int, int] = (5, 60),
        processes: int = 1,
        absence_s: float = 2.0,
    ) -> None:
        self._stand, self._place, self._seed, self._hits = stand, place, seed, hits
        self._absence_s = absence_s
        self._several = ["--processes", str(processes)] if processes > 1 else []
        self._on_death = on_death
        self._random = random.Random(f"{seed}/{place.source}/members")
        self._deck: list[str] = []
        self._armed = True
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="fleet", daemon=True)
        self.members: dict[str, Member] = {}
        self.figures = Figures()
        self.metrics: dict[str, bytes] = {}

    def start(self, *instances: str) -> None:
        """Begin, with these members."""
        for instance in instances:
            self.add(instance)
        self._thread.start()

    def add(self, instance: str, place: str | None = None, hit: int | None = None) -> None:
        """Start a member; by default it dies where the seed says."""
        with self._lock:
            port = free_ports(1)[0]
            name = self._draw() if place is None else place
            self.members[instance] = Member(instance, port, *self._begin(instance, port, name, hit), name)

    def remove(self, instance: str) -> None:
        """Let a member end gracefully; it must."""
        with self._lock:
            member = self.members.pop(instance)
        self._end(member)

    def kill(self, instance: str) -> None:
        """SIGKILL; the member comes back after a drawn delay."""
        self.members[instance].program.send(signal.SIGKILL)

    def stall(self, instance: str, seconds: float) -> None:
        """Stop a process for so long, as a long pause of its machine does, and let it go on as if nothing were."""
        member = self.members[instance]
        member.stalled = True
        member.program.send(signal.SIGSTOP)
        time.sleep(seconds)
        member.program.send(signal.SIGCONT)
        member.stalled = False

    def disarm(self) -> None:
        """Start every further process without a failpoint, and end those that have one."""
        with self._lock:
            self._armed = False
            armed = [m.instance for m in self.members.values() if m.place]
        for instance in armed:
            self.remove(instance)
            self.add(instance)

    def stop(self) -> None:
        """End every member gracefully, then the thread."""
        for instance in list(self.members):
            self.remove(instance)
        self.close()

    def close(self) -> None:
        """Kill what is left; safe to call twice."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(10)
        for member in self.members.values():
            member.program.kill()

    def logs(self) -> dict[str, bytes]:
        """Return what every process wrote, by file."""
        return {path.name: path.read_bytes() for path in self._stand.directory.glob(f"{self._place.source}-*.log")}

    def _draw(self) -> str:
        if not self._armed:
            return ""
        if not self._deck:
            self._deck = self._random.sample(PLACES, len(PLACES))
        return self._deck.pop()

    def _begin(self, instance: str, port: int, place: str, hit: int | None = None) -> tuple[Path, Program]:
        self.figures.starts += 1
        environment = {**self._stand.environ, "WORKER_INSTANCE": instance}
        if place:
            hit = hit or self._random.randint(*((1, 2) if place.startswith("on_") else self._hits))
            environment["FAILPOINTS"] = f"seed={self._seed};{place}=kill@{hit}"
        command = [*COMMAND, "run", "--config", str(self._place.settings), "--set", f"http.listen=127.0.0.1:{port}"]
        log = self._stand.directory / f"{self._place.source}-{self.figures.starts}-{instance}.log"
        return log, Program([*command, *self._several], log, environment=environment)

    def _end(self, member: Member) -> None:
        self._look(member)
        if member.program.is_running:
            member.program.stop(_STOP_S)
        code = member.program.wait(1)
        if code == KILLED and member.place:
            self.figures.died_at[member.place] += 1
            self._on_death()
        elif code == -signal.SIGTERM and b'"starting"' not in member.log.read_bytes():
            return  # Asked before it could listen; it had touched nothing.
        elif code != 0:
            self._blame(member, f"SIGTERM ended it with code {code}")

    def _supervise(self) -> None:
        try:
            self._keep_alive()
        except Exception as exc:
            self.figures.findings.append(f"the fleet itself failed: {exc!r}")

    def _keep_alive(self) -> None:
        while not self._ended.wait(TICK_S):
            for member in list(self.members.values()):
                if member.program.is_running:
                    self._look(member)
                elif self.members.get(member.instance) is member:
                    self._revive(member)

    def _revive(self, member: Member) -> None:
        now = time.monotonic()
        if member.start_at is None:
            self._record_death(member)
            member.start_at = now + self._random.uniform(0.0, self._absence_s)
        if now < member.start_at:
            return
        with self._lock:
            if self.members.get(member.instance) is not member:
                return
            member.place, member.start_at = self._draw(), None
            member.log, member.program = self._begin(member.instance, member.port, member.place)

    def _record_death(self, member: Member) -> None:
        code = member.program.wait(0)
        if code == KILLED:
            self.figures.died_at[member.place or "random"] += 1
            self._on_death()
        elif code == FENCED and self._place.topology.static:
            # Brokers that fall silent during a join fence a static member against its own request (docs/delivery.md).
            self.figures.died_at["fenced"] += 1
        else:
            self._blame(member, f"it ended by itself with code {code}")

    def _look(self, member: Member) -> None:
        self.figures.peak_rss_bytes = max(self.figures.peak_rss_bytes, _peak_rss(member.program.pid))
        if member.stalled:
            return
        if (ready := _get(member.port, "readyz")) is not None:
            for reason in {r.split(" away")[0] for rs in json.loads(ready)["routes"].values() for r in rs}:
                if reason.startswith("paused, "):
                    self.figures.paused_ticks[reason.removeprefix("paused, ")] += 1
        if (metrics := _get(member.port, "metrics")) is not None:
            self.metrics[member.instance] = metrics

    def _blame(self, member: Member, what: str) -> None:
        tail = member.log.read_text(errors="replace")[-1500:]
        self.figures.findings.append(f"member {member.instance}: {what}\n{tail}")


def _peak_rss(pid: int) -> int:
    """Return the most memory that a process ever had resident, as the kernel counts it; 0 once it has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) * 1024 if lines else 0


def _get(port: int, path: str) -> bytes | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=1) as answer:
            return bytes(answer.read())
    except (OSError, http.client.HTTPException) as exc:
        # 503 is an answer: it says why the worker is not ready. A process that is killed meanwhile gives none.
        return exc.read() if isinstance(exc, urllib.error.HTTPError) else None
