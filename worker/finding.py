"""What was found where something was verified."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal

from worker.errors import RegionViolation, TransientError, WorkerError

Verdict = Literal["ok", "unauthenticated", "warning", "broken", "unreachable"]


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

    def on(self, route: str) -> Finding:
        """Return the finding as one of a route."""
        return replace(self, name=f"{route}: {self.name}")

    @classmethod
    def of(cls, name: str, error: WorkerError) -> Finding:
        """Turn an error into a finding."""
        verdict: Verdict = "unreachable" if isinstance(error, TransientError) else "broken"
        return cls(name, verdict, remedy=str(error), error=type(error))


def match(
    name: str, expected: str, found: str, remedy: str, *, authenticated: bool = True, unproven: str = ""
) -> Finding:
    """Compare two sides of a pin; `unproven` says what would prove a side that is only claimed."""
    if expected != found:
        return Finding(name, "broken", expected, found, remedy, RegionViolation)
    if authenticated:
        return Finding(name, "ok", expected, found)
    return Finding(name, "unauthenticated", expected, found, unproven)
