"""
The catalogue: every Prometheus name of the worker, its kind, help, unit and labels (docs/contracts.md, 11).

A name that is not here can't be written. One whose labels are all known beforehand (words of a fixed list, names of
the configuration) is exported from the start, at 0: a rate over a series that appears with its first event misses it.
"""

from __future__ import annotations

from worker.metrics.kafka import KAFKA
from worker.metrics.keys import KEYS
from worker.metrics.metric import Metric
from worker.metrics.routes import ROUTES

PROCESS: tuple[Metric, ...] = (
    Metric(
        "worker_certificate_expiry_timestamp_seconds",
        "gauge",
        "When the certificates of a configured file expire.",
        ("certificate",),
        aggregate="livemin",
        from_start=False,
        of_parent=True,
    ),
    Metric(
        "worker_region_pin",
        "gauge",
        "1 where a pin matches, 0.5 where unauthenticated, 0 where broken.",
        ("pin",),
        aggregate="livemin",
        from_start=False,
    ),
    Metric(
        "worker_process_restarts_total",
        "counter",
        "Processes started again after a crash.",
        ("process",),
        of_parent=True,
    ),
    Metric("worker_build_info", "gauge", "1, with the version in labels.", ("version", "native"), from_start=False),
)

CATALOGUE: tuple[Metric, ...] = ROUTES + KEYS + KAFKA + PROCESS

VERIFIER: tuple[Metric, ...] = (
    Metric(
        "worker_verify_values_total",
        "counter",
        "Values of declared fields that `worker verify` read from the sinks, by what they were.",
        ("route", "outcome"),
    ),
    Metric(
        "worker_verify_plaintext_total",
        "counter",
        "Values of declared fields found in a sink that are no envelopes.",
        ("route",),
    ),
    Metric(
        "worker_verify_run_timestamp_seconds",
        "gauge",
        "When `worker verify` last looked at a route's sink.",
        ("route",),
        from_start=False,
    ),
)
"""What `worker verify` exports, which is another program than the one that encrypts."""
