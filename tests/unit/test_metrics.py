"""Metrics are written by the catalogue, or not at all."""

from __future__ import annotations

import pytest

from worker.metrics import CATALOGUE, Metrics


def test_a_name_outside_the_catalogue_cannot_be_written() -> None:
    """A misspelt name is an error, not a new series."""
    with pytest.raises(KeyError):
        Metrics("eu-central-1").inc("worker_record_total")


def test_a_label_outside_the_catalogue_cannot_be_written() -> None:
    """A label that the catalogue lacks is an error: no value of a record becomes a label by accident."""
    with pytest.raises(KeyError):
        Metrics("eu-central-1").inc("worker_records_total", email="x")


def test_labels_hold_names_and_never_content() -> None:
    """Metrics may leave the region, so a label is a name of the configuration or a word of a fixed list."""
    of_the_configuration = {"route", "topic", "partition", "process"}
    of_fixed_words = {
        *("outcome", "format", "stage", "reason", "event", "cache", "result", "endpoint", "part", "pin", "code"),
        *("version", "native"),
    }

    assert {label for metric in CATALOGUE for label in metric.labels} <= of_the_configuration | of_fixed_words


def test_every_series_carries_the_region() -> None:
    """The region stands on each series."""
    metrics = Metrics("eu-central-1")

    metrics.inc("worker_batches_total", 3, route="r", outcome="committed")

    labels = {"region": "eu-central-1", "route": "r", "outcome": "committed"}
    assert metrics.registry.get_sample_value("worker_batches_total", labels) == 3


def test_names_are_unique_and_counters_end_in_total() -> None:
    """The catalogue keeps Prometheus's conventions."""
    names = [m.name for m in CATALOGUE]

    assert len(set(names)) == len(names)
    assert all((m.kind == "counter") == m.name.endswith("_total") for m in CATALOGUE)
