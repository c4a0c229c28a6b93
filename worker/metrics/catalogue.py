"""
The catalogue: every Prometheus name of the worker, its kind, help, unit and labels (docs/contracts.md, 11).

A name that is not here can't be written. One whose labels are all known beforehand (words of a fixed list, names of
the configuration) is exported from the start, at 0: a rate over a series that appears with its first event misses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_END_TO_END = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 86400.0)
_PER_REQUEST = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 300.0, 400.0, 490.0, 500.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """
    One entry of a catalogue.

    Args:
        name, kind, help, labels: as Prometheus has them; `region` stands on every series besides.
        buckets: of a histogram.
        aggregate: the gauge's mode when several processes share one endpoint.
        from_start: exported at 0 before its first event; False for a gauge whose 0 would say something untrue.
        words: the values of labels with fixed words, where they are not those of `WORDS`.
        of_parent: written by the process that starts the others, where there are several.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = _LATENCY
    aggregate: Literal["livesum", "livemax", "livemin", "liveall", "livemostrecent"] = "livemax"
    from_start: bool = True
    of_parent: bool = False
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def known(self, routes: Mapping[str, tuple[str, ...]]) -> list[dict[str, str]]:
        """
        Return every combination of label values that is known beforehand, none where one is not.

        Args:
            routes: the configuration's routes with their topics.
        """
        fixed = [label for label in self.labels if label not in ("route", "topic")]
        if not self.from_start or any(not self._words(label) for label in fixed):
            return []
        words = [dict(zip(fixed, values, strict=True)) for values in product(*(self._words(w) for w in fixed))]
        if "topic" in self.labels:
            own = [{"route": route, "topic": topic} for route, topics in routes.items() for topic in topics]
        elif "route" in self.labels:
            own = [{"route": route} for route in routes]
        else:
            own = [{}]
        return [{**place, **word} for place in own for word in words]

    def _words(self, label: str) -> tuple[str, ...]:
        return self.words.get(label) or OWN_WORDS.get((self.name, label)) or WORDS.get(label, ())


WORDS: Mapping[str, tuple[str, ...]] = {
    "format": ("record", "leased"),
    "stage": ("poll", "decode", "encrypt", "sink", "commit"),
    "reason": ("authority", "registry", "sink", "source", "dependency", "start", "placing", "backpressure", "operator"),
    "event": ("generated", "retrieved", "used", "expired", "wasted"),
    "cache": ("pool", "lease", "decrypt"),
    "result": ("hit", "miss", "negative"),
    "endpoint": ("generate-data-key", "retrieve-data-key-fallible", "load-keyset", "authorise"),
    "change": ("assigned", "revoked", "lost"),
    "client": ("source", "sink"),
    "direction": ("sent", "received"),
    "percentile": ("p50", "p99"),
    "fault": ("timeout", "retry", "disconnect"),
    "code": (
        "decode_failed",
        "bad_magic",
        "unknown_schema",
        "trailing_bytes",
        "too_large",
        "union_mismatch",
        "context_null",
        "not_an_envelope",
        "residency",
        "sink_rejected",
        "key_refused",
    ),
}
"""The fixed lists."""

_ANSWERS = ("200", "400", "401", "403", "404", "409", "422", "429", "500", "502", "503", "504", "unreachable")
OWN_WORDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("worker_records_total", "outcome"): ("encrypted", "passed", "tombstone", "forwarded", "dead"),
    ("worker_output_checks_total", "outcome"): ("ok", "failed"),
    ("worker_verify_values_total", "outcome"): ("envelope", "null", "plaintext", "unreadable"),
    ("worker_batches_total", "outcome"): ("committed", "aborted", "uncertain", "failed"),
    ("worker_authority_requests_total", "outcome"): _ANSWERS,
    ("worker_authority_retries_total", "reason"): ("throttled", "unavailable"),
    ("worker_residency_records_total", "outcome"): ("forwarded", "refused"),
    ("worker_transactions_total", "outcome"): ("committed", "aborted", "unknown", "fenced"),
}
"""The words of a label where a metric has its own."""

_ROUTE = ("route", "topic")
_CLIENT = ("route", "client")

CATALOGUE: tuple[Metric, ...] = (
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
    Metric("worker_keys_total", "counter", "Data keys, by event.", ("event",)),
    Metric(
        "worker_keys_held",
        "gauge",
        "Data keys held in memory, by cache and keyset.",
        ("cache", "keyset"),
        aggregate="livesum",
        from_start=False,
    ),
    Metric(
        "worker_key_cache_requests_total",
        "counter",
        "Requests to a key cache, by result.",
        ("cache", "result"),
    ),
    Metric("worker_key_rotations_total", "counter", "Times that every key held was dropped on demand."),
    Metric("worker_key_wait_seconds", "histogram", "Time encryption waited for keys.", ("cache",)),
    Metric("worker_authority_requests_total", "counter", "Requests to the authority.", ("endpoint", "outcome")),
    Metric(
        "worker_authority_request_seconds",
        "histogram",
        "Time of one request to the authority.",
        ("endpoint",),
    ),
    Metric(
        "worker_authority_retries_total",
        "counter",
        "Requests asked again, by reason.",
        ("reason",),
    ),
    Metric("worker_authority_keys_per_request", "histogram", "Keys in one request.", (), _PER_REQUEST),
    Metric(
        "worker_authority_requests_in_flight",
        "gauge",
        "Requests to the authority under way.",
        (),
        aggregate="livesum",
    ),
    Metric("worker_breaker_state", "gauge", "Circuit breaker: 0 closed, 1 half open, 2 open."),
    Metric("worker_key_cache_bytes", "gauge", "Bytes that leases and pools take.", aggregate="livesum"),
    Metric("worker_key_cache_budget_bytes", "gauge", "Bytes that leases and pools may take.", aggregate="livesum"),
    Metric("worker_oldest_key_age_seconds", "gauge", "Age of the oldest key held, 0 where none is."),
    Metric(
        "worker_revocation_bound_seconds",
        "gauge",
        "How long a revoked key may still be used, by part.",
        ("part",),
        from_start=False,
    ),
    Metric(
        "worker_token_expiry_timestamp_seconds",
        "gauge",
        "When the token in use expires.",
        ("service",),
        aggregate="livemin",
        from_start=False,
    ),
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
    Metric(
        "worker_kafka_round_trip_seconds",
        "gauge",
        "Round trip to the slowest broker within the last interval.",
        (*_CLIENT, "percentile"),
    ),
    Metric(
        "worker_kafka_throttle_seconds",
        "gauge",
        "Time for which the strictest broker throttles a request, on average of the last interval.",
        _CLIENT,
    ),
    Metric(
        "worker_kafka_queue_records",
        "gauge",
        "Records in librdkafka's queues: fetched ahead, or not acknowledged yet.",
        _CLIENT,
        aggregate="livesum",
    ),
    Metric(
        "worker_kafka_queue_bytes",
        "gauge",
        "Bytes in librdkafka's queues.",
        _CLIENT,
        aggregate="livesum",
    ),
    Metric(
        "worker_kafka_connected_brokers",
        "gauge",
        "Brokers that the client is connected to.",
        _CLIENT,
        aggregate="livemin",
        from_start=False,
    ),
    Metric(
        "worker_kafka_bytes_total",
        "counter",
        "Bytes on the wire to and from brokers.",
        (*_CLIENT, "direction"),
    ),
    Metric(
        "worker_kafka_faults_total",
        "counter",
        "Requests to brokers that timed out or were sent again, and connections lost.",
        (*_CLIENT, "fault"),
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
