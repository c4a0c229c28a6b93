"""What an authority's process shares with others on its machine: a directory for what they count, and their trails'."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, multiprocess, values

from worker.authority.audit.segments import ACTIVE
from worker.authority.files import own_directory
from worker.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Sibling:
    """
    One of several processes over one data directory.

    Args:
        index: its number, from 0; stable over restarts, and so its chain of the audit goes on.
        metrics: a directory where all of them keep what they count.
    """

    index: int
    metrics: Path

    def join(self) -> None:
        """Count together with the others; before any metric of this process is made."""
        index = self.index
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.metrics)
        values.ValueClass = values.MultiProcessValue(lambda: index)  # type: ignore[no-untyped-call]
        (self.metrics / f"{index}.pid").write_text(str(os.getpid()), encoding="ascii")


def trail_directory(data: Path, sibling: Sibling | None) -> Path:
    """Return where a process keeps its trail, made if absent: the data directory, or one of its own in that."""
    directory = data if sibling is None else data / f"process-{sibling.index}"
    own_directory(directory)
    return directory


def trail_directories(data: Path) -> list[Path]:
    """Return where the trails of this machine's processes lie, those of before included."""
    own = [path.parent for path in (data / ACTIVE,) if path.exists()]
    return own + sorted(path.parent for path in data.glob(f"process-*/{ACTIVE}"))


def trails(directories: Sequence[Path]) -> list[Path]:
    """Return where the trails of some data directories lie; one without any stands for itself."""
    return [each for directory in directories for each in trail_directories(directory) or [directory]]


def exported(metrics: Metrics, sibling: Sibling | None) -> CollectorRegistry:
    """Return the registry that a scrape is told: this process's own, or one of all processes' together."""
    if sibling is None:
        return metrics.registry
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=str(sibling.metrics))  # type: ignore[no-untyped-call]
    return registry


def pids(sibling: Sibling | None) -> dict[str, int]:
    """Return the ids of the processes, by what a metric calls them."""
    if sibling is None:
        return {"authority": os.getpid()}
    return {f"authority-{p.stem}": int(p.read_text(encoding="ascii")) for p in sibling.metrics.glob("*.pid")}
