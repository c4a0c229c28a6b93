"""Residency: what proves that data and keys stay where they belong."""

from __future__ import annotations

from deploy.dashboards.fleet import PIN_WORDS
from deploy.dashboards.model import Board, Row, graph, q, stat, states
from deploy.dashboards.shared import INSTANCES, MARKS, OF_INSTANCE, OF_REGION, OF_ROUTE, REGIONS, ROUTES, rate, some

_PINS = Row(
    "Pins",
    (
        states(
            "Pins",
            "Each thing that must be the region's own. Unauthenticated: it matches, but only by the other side's "
            "word (plain text, no CA that you name, no signed declaration).",
            "short",
            q(f"min by (region, pin) (worker_region_pin{OF_INSTANCE})", "{{region}} {{pin}}"),
            steps=((None, "red"), (0.5, "orange"), (1, "green")),
            words=PIN_WORDS,
            width=16,
            runbook="worker-pin-broken",
        ),
        stat(
            "Pins that only match",
            "How many are unauthenticated. TLS with a CA of the operator's, https to the registry and a signed "
            "row in the database make them authenticated.",
            "short",
            q(
                f"count by (region) (worker_region_pin{OF_REGION} == 0.5)"
                f" or 0 * count by (region) (worker_build_info{OF_REGION})",
                "{{region}}",
            ),
            steps=((None, "green"), (1, "orange")),
            runbook="worker-pin-unauthenticated",
        ),
    ),
)

_OUTPUT = Row(
    "What is in the sinks",
    (
        stat(
            "Plaintext found",
            "Values of declared fields that `worker verify` found in a sink and that are no envelopes. Any is an "
            "incident: stop the route first.",
            "short",
            q(f"sum by (region) (worker_verify_plaintext_total{OF_REGION})", "{{region}}"),
            steps=((None, "green"), (1, "red")),
            runbook="worker-plaintext-found",
            may_be_empty="`worker verify` runs as a service of its own; it is not installed",
        ),
        graph(
            "Looked at by `worker verify`",
            "Values read from the sinks, by what they were. It is no part of the encryptor.",
            "short",
            q(
                rate("worker_verify_values_total", OF_REGION, "region", "route", "outcome"),
                "{{region}} {{route}} {{outcome}}",
            ),
            runbook="worker-verify-stale",
            may_be_empty="`worker verify` runs as a service of its own; it is not installed",
        ),
        stat(
            "Last look",
            "How long ago `worker verify` looked. Without it the sinks are watched by nobody.",
            "s",
            q(f"time() - min by (region) (worker_verify_run_timestamp_seconds{OF_REGION})", "{{region}}"),
            steps=((None, "green"), (21600, "red")),
            runbook="worker-verify-stale",
            may_be_empty="`worker verify` runs as a service of its own; it is not installed",
        ),
        graph(
            "Checked before the commit",
            "A sample of what was just encrypted is decrypted again before it is written. A failure stops the "
            "route with nothing written.",
            "short",
            q(
                rate("worker_output_checks_total", OF_ROUTE, "region", "route", "outcome"),
                "{{region}} {{route}} {{outcome}}",
            ),
            runbook="worker-output-check-failed",
        ),
        graph(
            "What became of records",
            "A share of `passed` that grows is a schema that declares less than it did.",
            "short",
            q(some("worker_records_total", OF_ROUTE, "route", "outcome"), "{{region}} {{route}} {{outcome}}"),
        ),
        graph(
            "Values encrypted",
            "A route that encrypts fewer values a record than before has another schema: `worker plan --diff`.",
            "short",
            q(
                f"{rate('worker_values_total', OF_ROUTE, 'region', 'route')} / "
                f"({rate('worker_records_total', OF_ROUTE, 'region', 'route', outcome='encrypted')} > 0)",
                "{{region}} {{route}} a record",
            ),
            may_be_empty="no record was encrypted lately",
        ),
    ),
)

_REFUSED = Row(
    "Refused and forwarded",
    (
        graph(
            "Dead letters by reason",
            "Why records were sealed away. decode_failed, bad_magic, unknown_schema: the producer; context_null: "
            "the data; sink_rejected: the sink; residency: another region's record.",
            "short",
            q(
                f"sum by (region, route, code) (increase(worker_dead_letters_total{OF_ROUTE}[15m])) > 0"
                f" or 0 * sum by (region) (worker_assigned_partitions{OF_ROUTE})",
                "{{region}} {{route}} {{code}}",
            ),
            runbook="worker-dead-letters",
        ),
        graph(
            "Dead letters by topic",
            "Where they come from. `worker dead list`, `show` and `replay` work on them.",
            "short",
            q(
                f"sum by (region, topic) (increase(worker_dead_letters_total{OF_ROUTE}[15m]))",
                "{{region}} {{topic}}",
            ),
            runbook="worker-dead-letters",
        ),
        graph(
            "Records of other regions",
            "Found by the route's `residency`: forwarded to the topic for their region, or refused into the dead "
            "letters. A surge is a producer that writes to the wrong region.",
            "short",
            q(
                rate("worker_residency_records_total", OF_ROUTE, "region", "route", "outcome"),
                "{{region}} {{route}} {{outcome}}",
            ),
            runbook="worker-foreign-records",
        ),
    ),
)

BOARD = Board(
    "residency-proof",
    "Residency / Proof",
    "What proves residency: pins, plaintext looked for, refusals, dead letters by reason, transfers.",
    (REGIONS, ROUTES, INSTANCES),
    MARKS,
    (_PINS, _OUTPUT, _REFUSED),
)
