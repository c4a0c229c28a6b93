"""Findings as they are made, exported and acted on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from worker.errors import ConfigError, FatalError, RegionViolation, TransientError, WorkerError
from worker.finding import Finding
from worker.metrics import Metrics

_GAUGE = {"ok": 1.0, "unauthenticated": 0.5, "warning": 1.0, "broken": 0.0, "unreachable": 0.0}
_T = TypeVar("_T")


def attempt(findings: list[Finding], name: str, act: Callable[[], _T]) -> _T | None:
    """Return what `act` returns, or None after adding the error as a finding."""
    try:
        return act()
    except WorkerError as exc:
        findings.append(Finding.of(name, exc))
        return None


def timed(name: str, act: Callable[[], object]) -> Finding:
    """Return what became of `act`, and how long it took."""
    started = time.monotonic()
    try:
        act()
    except WorkerError as exc:
        return Finding.of(name, exc)
    return Finding(name, "ok", found=f"{(time.monotonic() - started) * 1000:.0f} ms")


def export(findings: Sequence[Finding], metrics: Metrics) -> None:
    """Write what was compared to `worker_region_pin`; of one pin on several routes the worst counts."""
    worst: dict[str, float] = {}
    for finding in findings:
        if finding.expected:
            pin = finding.name.rpartition(": ")[2].replace(" ", "_")
            worst[pin] = min(_GAUGE[finding.verdict], worst.get(pin, 1.0))
    for pin, value in worst.items():
        metrics.set("worker_region_pin", value, pin=pin)


def enforce(findings: Sequence[Finding]) -> None:
    """
    Refuse to go on where something is broken.

    Raises:
        RegionViolation: a mismatch; the message names both sides of each.
        ConfigError, TransientError: as the worst finding says.
    """
    broken = [f for f in findings if f.is_broken]
    if not broken:
        return
    lines = "\n".join(f"  {f.name}: {f.sides}{f.remedy}" for f in broken)
    message = f"refusing to start:\n{lines}"
    waits = f"waiting, since time may mend this:\n{lines}"
    kind = worst(broken)
    raise kind(waits if issubclass(kind, TransientError) else message)


def worst(findings: Sequence[Finding]) -> type[WorkerError]:
    """Return the error that a run would end with: what time can't mend comes before what it can."""
    kinds = [finding.error for finding in findings if finding.error is not None]
    for verdict in (RegionViolation, FatalError, ConfigError, TransientError):
        found = next((kind for kind in kinds if issubclass(kind, verdict)), None)
        if found is not None:
            return found
    return FatalError
