"""What a route tells of itself while something is away."""

from __future__ import annotations

from tests.running import paused_partitions
from worker.metrics import Metrics
from worker.pipeline.health import RouteHealth


def test_a_pause_shows_in_the_metric_until_it_ends() -> None:
    """The paused partitions follow the reason and the assignment, and are none again afterwards."""
    metrics = Metrics("eu-central-1")
    health = RouteHealth("r", metrics=metrics)

    seen = []
    health.pause("sink", "no connection")
    seen.append(paused_partitions(metrics.registry, "sink"))
    health.set_assigned(4)
    seen.append(paused_partitions(metrics.registry, "sink"))
    health.resume("sink")
    seen.append(paused_partitions(metrics.registry, "sink"))

    assert seen == [1, 4, 0]
