"""What a running worker shows and lets itself be told: `/status` with routes, positions, lag, keys and pins."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry

from worker import environment
from worker.assembly.context import instance_name
from worker.checks.expiry import CertificateExpiry, certificate_files
from worker.config import RouteSettings, Settings
from worker.http import Health, Surface
from worker.metrics import Metrics, ProcessMetrics
from worker.pipeline.progress import RouteProgress
from worker.version import __version__

_PIN = {0.0: "broken", 0.5: "unauthenticated", 1.0: "matches"}
_BREAKER = {0.0: "closed", 1.0: "half open", 2.0: "open"}
_OF_KEYS = ("worker_keys_held", "worker_oldest_key_age_seconds", "worker_revocation_bound_seconds")
_READ = (*_OF_KEYS, "worker_lag_records", "worker_region_pin", "worker_breaker_state")
Series = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]


class Controlled(Protocol):
    """A worker of one process, or of several."""

    def rotate(self) -> None:
        """Drop all keys held."""
        ...

    def pause(self, route: str) -> None:
        """Read nothing more in a route; raises `KeyError` for an unknown one."""
        ...

    def resume(self, route: str) -> None:
        """Go on reading; raises `KeyError` for an unknown route."""
        ...

    def progress(self) -> Sequence[RouteProgress]:
        """How far each route has come."""
        ...


def surface(
    worker: Controlled,
    settings: Settings,
    environ: Mapping[str, str],
    metrics: Metrics,
    health: Sequence[Health],
    pids: Callable[[], Mapping[str, int]],
) -> Surface:
    """
    Build what the HTTP surface of a worker shows and does.

    Args:
        worker: what is controlled.
        settings: its own.
        environ: its own.
        metrics: what is exported; its processes' are added.
        health: its routes.
        pids: its processes by name.

    Raises:
        ConfigError: the variable that `[http] token_env` names is not set.
    """
    metrics.registry.register(ProcessMetrics(settings.region, pids))
    identity = {"region": settings.region, "instance": instance_name(environ), "version": __version__}
    named = settings.http.token_env
    return Surface(
        registry=metrics.registry,
        health=lambda: health,
        actions={"rotate": worker.rotate},
        route_actions={"pause": worker.pause, "resume": worker.resume},
        status=lambda: {
            **identity,
            "processes": len(pids()),
            **status(settings.routes, health, worker.progress(), metrics.registry),
        },
        refresh=CertificateExpiry(certificate_files(settings, environ), metrics),
        token=None if named is None else environment.require(environ, named, "[http] token_env"),
    )


def status(
    routes: Iterable[RouteSettings],
    health: Iterable[Health],
    progress: Iterable[RouteProgress],
    registry: CollectorRegistry,
) -> dict[str, Any]:
    """
    Describe a worker, of one process or of several, from what it knows at this moment; no content of any record.

    Args:
        routes: as configured.
        health: each route's.
        progress: each route's, as far as it has begun.
        registry: the worker's metrics.
    """
    series = _series(registry)
    state = {h.route: h for h in health}
    moved = {p.route: p for p in progress}
    return {
        "routes": [_route(r, state[r.name], moved.get(r.name, RouteProgress(r.name)), series) for r in routes],
        "keys": {
            "held": {f"{labels['cache']} {labels['keyset']}": int(n) for labels, n in series["worker_keys_held"]},
            "oldest_age_s": _largest(series, "worker_oldest_key_age_seconds"),
            "revocation_bound_s": sum(n for _, n in series["worker_revocation_bound_seconds"]),
            "breaker": _BREAKER.get(_largest(series, "worker_breaker_state"), "unknown"),
        },
        "pins": {labels["pin"]: _PIN.get(n, "unknown") for labels, n in series["worker_region_pin"]},
    }


def _route(route: RouteSettings, health: Health, progress: RouteProgress, series: Series) -> dict[str, Any]:
    lags = {
        (labels["topic"], labels["partition"]): int(n)
        for labels, n in series["worker_lag_records"]
        if labels["route"] == route.name
    }
    return {
        "route": route.name,
        "group": route.group,
        "topics": list(route.source.topics),
        "sink": route.sink.kind,
        "alive": health.alive(time.monotonic()),
        "ready": not health.reasons(),
        "reasons": list(health.reasons()),
        "records": dict(progress.outcomes),
        "lag": sum(lags.values()),
        "partitions": [
            {
                "topic": partition.topic,
                "partition": partition.partition,
                "start": span.start,
                "position": span.next,
                "end": span.end,
                "lag": lags.get((partition.topic, str(partition.partition))),
            }
            for partition, span in sorted(progress.spans.items())
        ],
    }


def _series(registry: CollectorRegistry) -> Series:
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {name: [] for name in _READ}
    for family in registry.collect():
        for sample in family.samples:
            if sample.name in found:
                found[sample.name].append((sample.labels, sample.value))
    return found


def _largest(series: Series, name: str) -> float:
    return max((n for _, n in series[name]), default=0.0)
