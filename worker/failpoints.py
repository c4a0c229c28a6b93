"""
Named places at which a test lets the process die, stall or fail; without a spec each costs one comparison.

A spec is a list of `name=action[@n][%p]`, parted by `;`, with an optional `seed=n` in front::

    seed=7;after_flush=kill@3;before_commit=sleep:250%0.1;after_write=unavailable%0.02

`@n` acts at the n-th hit only, `%p` with probability p, both drawn from the seed. Actions: `kill` (SIGKILL to this
process), `sleep:ms`, `unavailable` (raises `SinkUnavailable`), `fatal` (raises `FatalError`).
"""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from dataclasses import dataclass

from worker.errors import ConfigError, FatalError, SinkUnavailable

_PART = re.compile(r"([a-z_]+)=(kill|sleep:\d+|unavailable|fatal)(?:@(\d+))?(?:%(0?\.\d+|1(?:\.0)?))?")


@dataclass(slots=True)
class _Point:
    action: str
    nth: int | None
    probability: float | None
    hits: int = 0


_points: dict[str, _Point] = {}
_random = random.Random(0)  # noqa: S311 - repeatable on purpose
_lock = threading.Lock()


def arm(spec: str) -> None:
    """
    Replace what is armed in this process; an empty spec disarms.

    Raises:
        ConfigError: the spec has another form.
    """
    points: dict[str, _Point] = {}
    seed = 0
    for part in filter(None, (p.strip() for p in spec.split(";"))):
        if part.startswith("seed=") and part[5:].isdigit():
            seed = int(part[5:])
            continue
        match = _PART.fullmatch(part)
        if match is None:
            raise ConfigError(f"failpoint {part!r} is not name=action[@n][%p]")
        nth, probability = match[3], match[4]
        points[match[1]] = _Point(match[2], int(nth) if nth else None, float(probability) if probability else None)
    with _lock:
        _random.seed(seed)
        _points.clear()
        _points.update(points)


def hit(name: str) -> None:
    """Pass the place `name`; does what is armed there."""
    if not _points:
        return
    with _lock:
        point = _points.get(name)
        if point is None:
            return
        point.hits += 1
        due = (point.nth is None or point.hits == point.nth) and (
            point.probability is None or _random.random() < point.probability
        )
    if due:
        _act(name, point.action)


def _act(name: str, action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "unavailable":
        raise SinkUnavailable(f"failpoint {name}")
    elif action == "fatal":
        raise FatalError(f"failpoint {name}")
    else:
        time.sleep(int(action.partition(":")[2]) / 1000)
