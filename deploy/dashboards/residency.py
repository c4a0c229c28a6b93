"""Residency: what proves that data and keys stay where they belong."""

from __future__ import annotations

from deploy.dashboards.fleet import PIN_WORDS
from deploy.dashboards.model import Board, Panel, Row, q
from deploy.dashboards.shared import INSTANCES, MARKS, OF_INSTANCE, OF_REGION, OF_ROUTE, REGIONS, ROUTES, rate

_PINS = Row(
    "Pins",
    (
        Panel(
            title="Pins",
            help="Each thing that must be the region's own. Unauthenticated: it matches, but only by the other side's "
            "word (plain text, no CA that you name, no signed declaration).",
            unit="short",
            kind="states",
            queries=(q(f"min by (region, pin) (worker_region_pin{OF_INSTANCE})", "{{region}} {{pin}}"),),
            steps=((None, "red"), (0.5, "orange"), (1, "green")),
            words=PIN_WORDS,
            width=16,
            runbook="worker-pin-broken",
        ),
        Panel(
            title="Pins that only match",
            help="How many are unauthenticated. TLS with a CA of the operator's, https to the registry and a signed "
            "row in the database make them authenticated.",
            unit="short",
            kind="stat",
            queries=(
                q(
                    f"count by (region) (worker_region_pin{OF_REGION} == 0.5)"
                    f" or 0 * count by (region) (worker_build_info{OF_REGION})",
                    "{{region}}",
                ),
            ),
            steps=((None, "green"), (1, "orange")),
            runbook="worker-pin-unauthenticated",
        ),
    ),
)

_OUTPUT = Row(
    "What is in the sinks",
    (
        Panel(
            title="Plaintext found",
            help="Values of declared fields that `worker verify` found in a sink and that are no envelopes. Any is an "
            "incident: stop the route first.",
            unit="short",
            kind="stat",
            queries=(q(f"sum by (region) (worker_verify_plaintext_total{OF_REGION})", "{{region}}"),),
            steps=((None, "green"), (1, "red")),
            runbook="worker-plaintext-found",
            may_be_empty="`worker verify` runs as a service of its own; it is not installed",
        ),
        Panel(
            title="Looked at by `worker verify`",
            help="Values read from the sinks, by what they were. It is no part of the encryptor.",
            unit="short",
            queries=(
                q(
                    rate("worker_verify_values_total", OF_REGION, "region", "route", "outcome"),
                    "{{region}} {{route}} {{outcome}}",
                ),
            ),
            runbook="worker-verify-stale",
            may_be_empty="`worker verify` runs as a service of its own; it is not installed",
        ),
        Panel(
            title="Last look",
            help="How long ago `worker verify` looked. Without it the sinks are watched by nobody.",
            unit="s",
            kind="stat",
            queries=(q(f"time() - min by (region) (worker_verify_run_timestamp_seconds{OF_REGION})", "{{region}}"),),
            steps=((None, "green"), (21600, "red")),
            runbook="worker-verify-stale",
            may_be_empty="`worker verify` runs as a service of its own; it is not installed",
        ),
        Panel(
            title="Checked before the commit",
            help="A sample of what was just encrypted is decrypted again before it is written. A failure stops the "
            "route with nothing written.",
            unit="short",
            queries=(
                q(rate("worker_output_checks_total", OF_ROUTE, "region", "route", "outcome"), "{{route}} {{outcome}}"),
            ),
            runbook="worker-output-check-failed",
        ),
        Panel(
            title="What became of records",
            help="A share of `passed` that grows is a schema that declares less than it did.",
            unit="short",
            queries=(
                q(
                    rate("worker_records_total", OF_ROUTE, "region", "route", "outcome"),
                    "{{region}} {{route}} {{outcome}}",
                ),
            ),
        ),
        Panel(
            title="Values encrypted",
            help="A route that encrypts fewer values a record than before has another schema: `worker plan --diff`.",
            unit="short",
            queries=(
                q(
                    f"{rate('worker_values_total', OF_ROUTE, 'region', 'route')} / "
                    f"({rate('worker_records_total', OF_ROUTE, 'region', 'route', outcome='encrypted')} > 0)",
                    "{{region}} {{route}} a record",
                ),
            ),
            may_be_empty="no record was encrypted lately",
        ),
    ),
)

_REFUSED = Row(
    "Refused and forwarded",
    (
        Panel(
            title="Dead letters by reason",
            help="Why records were sealed away. decode_failed, bad_magic, unknown_schema: the producer; context_null: "
            "the data; sink_rejected: the sink; residency: another region's record.",
            unit="short",
            queries=(
                q(
                    f"sum by (region, route, code) (increase(worker_dead_letters_total{OF_ROUTE}[15m])) > 0"
                    f" or 0 * sum by (region) (worker_assigned_partitions{OF_ROUTE})",
                    "{{region}} {{route}} {{code}}",
                ),
            ),
            runbook="worker-dead-letters",
        ),
        Panel(
            title="Dead letters by topic",
            help="Where they come from. `worker dead list`, `show` and `replay` work on them.",
            unit="short",
            queries=(
                q(
                    f"sum by (region, topic) (increase(worker_dead_letters_total{OF_ROUTE}[15m]))",
                    "{{region}} {{topic}}",
                ),
            ),
            runbook="worker-dead-letters",
        ),
        Panel(
            title="Records of other regions",
            help="Found by the route's `residency`: forwarded to the topic for their region, or refused into the dead "
            "letters. A surge is a producer that writes to the wrong region.",
            unit="short",
            queries=(
                q(
                    rate("worker_residency_records_total", OF_ROUTE, "region", "route", "outcome"),
                    "{{region}} {{route}} {{outcome}}",
                ),
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
