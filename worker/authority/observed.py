"""What the authority's state is at the moment of a scrape."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import Metric as Family
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from worker.authority.files import write_whole
from worker.authority.store import Store
from worker.metrics import Metric

OBSERVED: tuple[Metric, ...] = (
    Metric("authority_build_info", "gauge", "1, with the version in labels.", ("version",)),
    Metric(
        "authority_ready",
        "gauge",
        "1 where a part is sound, 0 where it is not; derivation is tried.",
        ("part",),
    ),
    Metric("authority_clients", "gauge", "Clients that are enrolled."),
    Metric("authority_keysets", "gauge", "Keysets, disabled ones included."),
    Metric("authority_backup_timestamp_seconds", "gauge", "When the last backup was made; 0 where none is known of."),
    Metric("authority_disk_free_bytes", "gauge", "Free where the store and the audit trail lie."),
)
PARTS = ("store", "audit", "derivation")
_BACKUP = "last-backup"


def note_backup(directory: Path) -> None:
    """Note beside the store that a backup has been made now."""
    write_whole(directory / _BACKUP, b"")


def last_backup(directory: Path) -> float:
    """Return when the last backup was made, in seconds since 1970; 0 where none is known of."""
    with contextlib.suppress(FileNotFoundError):
        return (directory / _BACKUP).stat().st_mtime
    return 0.0


class Observed(Collector):
    """
    Exports `OBSERVED`, each with the label `region`.

    Args:
        store: whose clients and keysets are counted.
        directory: where store and audit trail lie.
        readiness: what `/readyz` tells.
        version: the program's.
    """

    def __init__(
        self, store: Store, directory: Path, readiness: Callable[[], Mapping[str, Any]], *, version: str
    ) -> None:
        self._store, self._directory, self._readiness, self._version = store, directory, readiness, version

    def describe(self) -> Iterable[Family]:
        """Return the names alone: at registration nothing is tried."""
        return [GaugeMetricFamily(m.name, m.help) for m in OBSERVED]

    def collect(self) -> Iterable[Family]:
        """Return the state."""
        ready, state = self._readiness(), self._store.state
        values: dict[str, Counter[tuple[str, ...]]] = {
            "authority_build_info": Counter({(self._version,): 1}),
            "authority_ready": Counter({(part,): int(ready[part] == "ok") for part in PARTS}),
            "authority_clients": Counter({(): len(state.clients)}),
            "authority_keysets": Counter({(): len(state.keysets)}),
            "authority_backup_timestamp_seconds": Counter({(): int(last_backup(self._directory))}),
            "authority_disk_free_bytes": Counter({(): shutil.disk_usage(self._directory).free}),
        }
        for metric in OBSERVED:
            family = GaugeMetricFamily(metric.name, metric.help, labels=("region", *metric.labels))
            for labels, value in values[metric.name].items():
                family.add_metric((str(self._store.region), *labels), value)
            yield family
