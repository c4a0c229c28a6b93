"""What everything of one region's worker is built from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from worker.config import Settings
from worker.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Context:
    """
    One region's worker, as it is told.

    Args:
        settings: validated.
        environ: credentials, secrets and `WORKER_INSTANCE`.
        metrics: where it is measured.
    """

    settings: Settings
    environ: Mapping[str, str]
    metrics: Metrics

    @property
    def instance(self) -> str:
        """The worker's stable name."""
        return instance_name(self.environ)


def instance_name(environ: Mapping[str, str]) -> str:
    """Return the worker's stable name: `WORKER_INSTANCE`, else the host's."""
    return environ.get("WORKER_INSTANCE") or os.uname().nodename
