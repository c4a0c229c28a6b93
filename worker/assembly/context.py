"""What everything of one region's worker is built from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from worker.config import RouteSettings, Settings
from worker.errors import ConfigError
from worker.metrics import Metrics
from worker.sink.base import SinkRoute


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

    def sink_route(self, route: RouteSettings) -> SinkRoute:
        """Return a route as its sink is told of it."""
        return SinkRoute(
            name=route.name,
            region=self.settings.region,
            group=route.group,
            instance=self.instance,
            cluster_id=self.settings.kafka.cluster_id,
            topics=route.source.topics,
        )


def instance_name(environ: Mapping[str, str]) -> str:
    """Return the worker's stable name: `WORKER_INSTANCE`, else the host's."""
    return environ.get("WORKER_INSTANCE") or os.uname().nodename


def process_name(instance: str, index: int) -> str:
    """Return the stable name of one of an instance's processes; no instance of its own may have such a name."""
    return f"{instance}--{index}"


def refuse_process_name(environ: Mapping[str, str]) -> None:
    """Raise `ConfigError` for a name that another worker's process could have: they would fence each other."""
    name = instance_name(environ)
    if re.search(r"--[0-9]+$", name):
        raise ConfigError(f"WORKER_INSTANCE {name!r} is named like a process of another worker; let it not end in --n")
