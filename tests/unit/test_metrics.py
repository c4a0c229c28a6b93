"""Metrics are written by the catalogue, or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from bisect import bisect_left

import pytest

from worker.metrics import CATALOGUE, Metrics, ProcessMetrics
from worker.metrics.catalogue import VERIFIER
from worker.metrics.metric import OWN_WORDS, WORDS, Metric


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
    of_the_configuration = {"route", "topic", "partition", "process", "keyset", "certificate", "schema"}
    of_fixed_words = {*WORDS, *(label for _, label in OWN_WORDS), "part", "pin", "service", "version", "native"}

    labels = {label for metric in (*CATALOGUE, *VERIFIER) for label in metric.labels}

    assert labels <= of_the_configuration | of_fixed_words


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


def test_the_first_event_of_each_known_series_is_seen() -> None:
    """A counter of known labels stands at 0 before its first event, so that a rate over it finds that event."""
    metrics = Metrics("eu-central-1")

    metrics.expect({"customers": ["a", "b"]})

    labels = {"region": "eu-central-1", "route": "customers", "topic": "b", "code": "decode_failed"}
    assert metrics.registry.get_sample_value("worker_dead_letters_total", labels) == 0
    of_route = {"region": "eu-central-1", "route": "customers", "reason": "authority"}
    assert metrics.registry.get_sample_value("worker_paused_partitions", of_route) == 0


def test_every_label_is_exported_from_the_start_or_says_why_not() -> None:
    """Only what is unknown beforehand is missing at the start."""
    unknown = {"partition", "process"}
    late = {m.name for m in CATALOGUE if not m.known({"route": ("topic",)})}

    assert late == {m.name for m in CATALOGUE if not m.from_start or unknown & set(m.labels)}


def test_a_gauge_whose_zero_would_be_a_lie_waits_for_its_value() -> None:
    """No token expires in 1970 and no pin is broken before it was compared."""
    metrics = Metrics("eu-central-1")

    metrics.expect({"customers": ["a"]})

    families = {family.name: family.samples for family in metrics.registry.collect()}
    assert families["worker_token_expiry_timestamp_seconds"] == families["worker_region_pin"] == []


def test_many_observations_count_like_one_by_one() -> None:
    """`observe_tally` leaves the same buckets and sum as so many calls of `observe`."""
    at_once, singly = Metrics("eu-central-1"), Metrics("eu-central-1")
    seconds = [0.0, 0.05, 0.051, 7.0, 7.0, 90_000.0]

    at_once.observe_tally(
        "worker_end_to_end_seconds",
        lambda bounds: ([sum(bisect_left(bounds, s) == n for s in seconds) for n in range(len(bounds))], sum(seconds)),
        route="r",
    )
    for value in seconds:
        singly.observe("worker_end_to_end_seconds", value, route="r")

    assert samples(at_once) == samples(singly) != []


def samples(metrics: Metrics) -> list[object]:
    return [sample for family in metrics.registry.collect() for sample in family.samples]


def test_processor_time_goes_on_from_a_predecessor() -> None:
    """A process that was started again does not set the sum over a worker's processes back."""
    pids = {"0": os.getpid()}
    collector = ProcessMetrics("eu-central-1", lambda: pids)
    before = seconds(collector)

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        pids["0"] = other.pid
        after = seconds(collector)
        other.kill()

    assert after >= before > 0


def seconds(collector: ProcessMetrics) -> float:
    found = {sample.name: sample.value for family in collector.collect() for sample in family.samples}
    return found["process_cpu_seconds_total"]


def test_words_are_those_of_a_metric() -> None:
    """Each list of its own belongs to a metric and a label that exist."""
    labels = {m.name: m.labels for m in (*CATALOGUE, *VERIFIER)}

    assert [key for key in OWN_WORDS if key[1] not in labels.get(key[0], ())] == []


def test_a_metric_without_known_labels_is_not_exported_early() -> None:
    """A label of neither the configuration nor a fixed list keeps a metric from the start."""
    assert Metric("worker_x_total", "counter", "X.", ("partition",)).known({"r": ("t",)}) == []
