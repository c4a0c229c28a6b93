"""
The pins: what must belong to one region before anything starts, and what was found.

A pin proves configuration, not geography. A cluster id counts as authenticated only over TLS with a pinned CA;
otherwise the finding says `unauthenticated`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal
from urllib.parse import urlsplit

from worker.errors import ConfigError, FatalError, RegionViolation, TransientError, WorkerError
from worker.metrics import Metrics
from worker.region import Region, WorkspaceCrn

Verdict = Literal["ok", "unauthenticated", "warning", "broken", "unreachable"]
_GAUGE = {"ok": 1.0, "unauthenticated": 0.5, "warning": 1.0, "broken": 0.0, "unreachable": 0.0}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was verified; `remedy` says what to do where it is broken."""

    name: str
    verdict: Verdict
    expected: str = ""
    found: str = ""
    remedy: str = ""
    exit_code: int = 0

    @property
    def is_broken(self) -> bool:
        """Whether the worker must not start."""
        return self.verdict in ("broken", "unreachable")

    @property
    def sides(self) -> str:
        """Both sides of a comparison in words, empty where nothing was compared."""
        return f"expected {self.expected!r}, found {self.found!r}; " if self.expected else ""

    def as_dict(self) -> dict[str, str | int]:
        """Return the finding as JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, name: str, error: WorkerError) -> Finding:
        """Turn an error into a finding."""
        verdict: Verdict = "unreachable" if isinstance(error, TransientError) else "broken"
        return cls(name, verdict, remedy=str(error), exit_code=error.exit_code)


def match(name: str, expected: str, found: str, remedy: str, *, authenticated: bool = True) -> Finding:
    """Compare two sides of a pin."""
    if expected != found:
        return Finding(name, "broken", expected, found, remedy, RegionViolation.exit_code)
    return Finding(name, "ok" if authenticated else "unauthenticated", expected, found)


def workspace(region: Region, crn: WorkspaceCrn) -> Finding:
    """The workspace lies in the configured region."""
    remedy = "set CS_WORKSPACE_CRN to a workspace of this region, or run the worker of the other one"
    return match("workspace region", region.name, crn.region.name, remedy)


def host(name: str, url: str, own: str, allowed: tuple[str, ...]) -> Finding:
    """A service's host is the region's own over https, or one that `allow_hosts` lists."""
    parts = urlsplit(url)
    expected = urlsplit(own).netloc
    if parts.scheme == "https" and parts.netloc == expected:
        return Finding(name, "ok", expected, parts.netloc)
    if parts.netloc in allowed or parts.hostname in allowed:
        return Finding(
            name, "unauthenticated" if parts.scheme == "http" else "ok", "listed in allow_hosts", parts.netloc
        )
    remedy = f"use the region's host, or list {parts.netloc!r} under [authority] allow_hosts"
    return Finding(name, "broken", f"https://{expected}/", f"{parts.scheme}://{parts.netloc}/", remedy, 3)


def export(findings: list[Finding], metrics: Metrics) -> None:
    """Write each finding to `worker_region_pin`."""
    for finding in findings:
        metrics.set("worker_region_pin", _GAUGE[finding.verdict], pin=finding.name.replace(" ", "_"))


def enforce(findings: list[Finding]) -> None:
    """
    Refuse to go on where a pin is broken.

    Raises:
        RegionViolation: a mismatch; the message names both sides of each.
        ConfigError, TransientError: as the worst finding says.
    """
    broken = [f for f in findings if f.is_broken]
    if not broken:
        return
    lines = "\n".join(
        f"  {f.name}: expected {f.expected!r}, found {f.found!r}; {f.remedy}"
        if f.expected
        else f"  {f.name}: {f.remedy}"
        for f in broken
    )
    worst = max(f.exit_code for f in broken)
    message = f"refusing to start:\n{lines}"
    if any(f.exit_code == RegionViolation.exit_code and f.expected for f in broken):
        raise RegionViolation(message)
    if worst == ConfigError.exit_code:
        raise ConfigError(message)
    if worst == TransientError.exit_code:
        raise TransientError(message)
    raise FatalError(message)
