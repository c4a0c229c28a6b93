"""What a route counts: records, values, batches, their time, and what becomes of partitions."""

from __future__ import annotations

from worker.metrics.metric import Metric

_END_TO_END = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 86400.0)
_ROUTE = ("route", "topic")

ROUTES: tuple[Metric, ...] = (
    Metric("worker_source_records_total", "counter", "Records read, those read again included.", _ROUTE),
    Metric("worker_source_bytes_total", "counter", "Bytes of keys and values read.", _ROUTE),
    Metric("worker_records_total", "counter", "Records finished, by what became of them.", (*_ROUTE, "outcome")),
    Metric("worker_sink_bytes_total", "counter", "Bytes of keys and values written and committed.", _ROUTE),
    Metric("worker_values_total", "counter", "Values encrypted, by format.", (*_ROUTE, "format")),
    Metric("worker_plaintext_bytes_total", "counter", "Bytes of plaintext encrypted.", _ROUTE),
    Metric("worker_ciphertext_bytes_total", "counter", "Bytes of envelopes written.", _ROUTE),
    Metric(
        "worker_output_checks_total",
        "counter",
        "Values decrypted again before their commit, by whether they came back.",
        ("route", "outcome"),
    ),
    Metric("worker_batches_total", "counter", "Batches, by what became of them.", ("route", "outcome")),
    Metric(
        "worker_twin_records_total",
        "counter",
        "Records that plain Python took over from the extension: to read them, or to put an output together.",
        ("route", "stage"),
    ),
    Metric("worker_stage_seconds", "histogram", "Time of one batch in one stage.", ("route", "stage")),
    Metric(
        "worker_end_to_end_seconds",
        "histogram",
        "From a record's timestamp to its commit, of every record.",
        ("route",),
        _END_TO_END,
    ),
    Metric(
        "worker_lag_records",
        "gauge",
        "End of the partition (last stable offset) less the position.",
        (*_ROUTE, "partition"),
        aggregate="livemostrecent",
    ),
    Metric(
        "worker_backlog_records",
        "gauge",
        "Offsets that a bounded run has still to pass; 0 in an endless one.",
        ("route",),
        aggregate="livesum",
    ),
    Metric(
        "worker_assigned_partitions",
        "gauge",
        "Partitions assigned to this process.",
        ("route",),
        aggregate="livesum",
    ),
    Metric(
        "worker_paused_partitions",
        "gauge",
        "Partitions paused, by reason.",
        ("route", "reason"),
        aggregate="livesum",
    ),
    Metric(
        "worker_rebalances_total",
        "counter",
        "Times that the group gave or took partitions.",
        ("route", "change"),
    ),
    Metric(
        "worker_schema_info",
        "gauge",
        "1 for each registered schema that records have named since the start.",
        ("route", "schema"),
        from_start=False,
    ),
    Metric(
        "worker_transactions_total",
        "counter",
        "Transactions of the sink, by their end; of an unknown one the broker decides.",
        ("route", "outcome"),
    ),
    Metric(
        "worker_dead_letters_total",
        "counter",
        "Records sealed into the dead letters, by code.",
        (*_ROUTE, "code"),
    ),
    Metric(
        "worker_residency_records_total",
        "counter",
        "Records of another region, by what became of them.",
        (*_ROUTE, "outcome"),
    ),
)
