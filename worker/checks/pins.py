"""
The pins: what must belong to one region before anything starts, and what was found.

A pin proves configuration, not geography. A cluster id counts as authenticated only over TLS with a pinned CA;
otherwise the finding says `unauthenticated`.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """One thing that was verified; `remedy` says what to do where it is broken, `error` how the worker then ends."""

    name: str
    verdict: Verdict
    expected: str = ""
    found: str = ""
    remedy: str = ""
    error: type[WorkerError] | None = None

    @property
    def is_broken(self) -> bool:
        """Whether the worker must not start."""
        return self.verdict in ("broken", "unreachable")

    @property
    def sides(self) -> str:
        """Both sides of a comparison in words, empty where nothing was compared."""
        return f"expected {self.expected!r}, found {self.found!r}; " if self.expected else ""

    def as_dict(self) -> dict[str, str]:
        """Return the finding as JSON values."""
        values = asdict(self)
        return {**values, "error": self.error.__name__ if self.error is not None else ""}

    @property
    def exit_code(self) -> int:
        """The code with which the worker would end."""
        return self.error.exit_code if self.error is not None else 0

    @classmethod
    def of(cls, name: str, error: WorkerError) -> Finding:
        """Turn an error into a finding."""
        verdict: Verdict = "unreachable" if isinstance(error, TransientError) else "broken"
        return cls(name, verdict, remedy=str(error), error=type(error))


def match(name: str, expected: str, found: str, remedy: str, *, authenticated: bool = True) -> Finding:
    """Compare two sides of a pin."""
    if expected != found:
        return Finding(name, "broken", expected, found, remedy, RegionViolation)
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
    return Finding(name, "broken", f"https://{expected}/", f"{parts.scheme}://{parts.netloc}/", remedy, RegionViolation)


def registry(
    region: Region, addresses: Sequence[str], allowed: tuple[str, ...], *, proxy: str | None = None
) -> list[Finding]:
    """
    Each registry's host bears the region's name as a label, over https, or is one that `allow_hosts` lists.

    Args:
        region: the worker's.
        addresses: the URLs that the registry's client really asks.
        allowed: `allow_hosts`.
        proxy: what it asks through.
    """
    findings = []
    through = "" if proxy is None else f" through the proxy {urlsplit(proxy).hostname}"
    for parts in map(urlsplit, addresses):
        name, label = "registry host", region.name in (parts.hostname or "").split(".")
        if parts.netloc in allowed or parts.hostname in allowed:
            verdict: Verdict = "ok" if parts.scheme == "https" else "unauthenticated"
            findings.append(Finding(name, verdict, "listed in allow_hosts", parts.netloc + through))
        elif parts.scheme == "https" and label:
            findings.append(Finding(name, "ok", f"a host of {region}", parts.netloc + through))
        else:
            remedy = f"use the region's registry, or list {parts.netloc!r} under [schemas] allow_hosts"
            expected, found = f"https://*.{region}.*/", f"{parts.scheme}://{parts.netloc}/"
            findings.append(Finding(name, "broken", expected, found, remedy, RegionViolation))
    return findings


def export(findings: list[Finding], metrics: Metrics) -> None:
    """Write what was compared to `worker_region_pin`; of one pin on several routes the worst counts."""
    worst: dict[str, float] = {}
    for finding in findings:
        if finding.expected:
            pin = finding.name.rpartition(": ")[2].replace(" ", "_")
            worst[pin] = min(_GAUGE[finding.verdict], worst.get(pin, 1.0))
    for pin, value in worst.items():
        metrics.set("worker_region_pin", value, pin=pin)


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
    message = f"refusing to start:\n{lines}"
    kinds = [f.error for f in broken if f.error is not None]
    for verdict in (RegionViolation, FatalError, ConfigError, TransientError):
        found = next((kind for kind in kinds if issubclass(kind, verdict)), None)
        if found is not None:
            raise found(message)
    raise FatalError(message)
