"""For each alert: series under which it fires, and series under which it does not."""

from __future__ import annotations

from dataclasses import dataclass, field

R = 'region="eu-central-1",route="customers"'
A = 'region="eu-central-1",instance="a:9464"'
RI = 'region="eu-central-1",route="customers",instance="a:9464"'
Series = dict[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """Series in promtool's notation, one value a `step`; `at` is when it is looked at."""

    alert: str
    fires: Series
    quiet: Series
    at: str = "30m"
    step: str = "1m"
    labels: dict[str, str] = field(default_factory=dict)


def _records(outcome: str, values: str) -> Series:
    return {f'worker_records_total{{{R},topic="t",outcome="{outcome}"}}': values}


def _lag(values: str) -> Series:
    return {f'worker_lag_records{{{R},topic="t",partition="0"}}': values}


def _fresh(good: str, all_: str) -> Series:
    return {
        f'worker_end_to_end_seconds_bucket{{{R},le="60.0"}}': good,
        f"worker_end_to_end_seconds_count{{{R}}}": all_,
    }


def _answers(good: str, bad: str) -> Series:
    name = f'worker_authority_requests_total{{{A},endpoint="generate-data-key"'
    return {f'{name},outcome="200"}}': good, f'{name},outcome="503"}}': bad}


CASES = (
    Case("WorkerDown", {'up{job="residency-worker",instance="a"}': "0x60"}, {'up{job="residency-worker"}': "1x60"}),
    Case(
        "WorkerNoProgress",
        {**_lag("500x60"), **_records("encrypted", "1000x60")},
        {**_lag("500x60"), **_records("encrypted", "1000+60x60")},
    ),
    Case(
        "WorkerNoProgress",
        {**_lag("500x60"), **_records("encrypted", "1000x60")},
        {
            **_lag("500x60"),
            **_records("encrypted", "1000x60"),
            f'worker_paused_partitions{{{R},reason="operator"}}': "4x60",
        },
    ),
    Case(
        "WorkerLagGrowing",
        {**_lag("100000+6000x90"), **_records("encrypted", "0+600x90")},
        {**_lag("600000-600x90"), **_records("encrypted", "0+600x90")},
        at="60m",
    ),
    Case(
        "WorkerPaused",
        {f'worker_paused_partitions{{{R},reason="sink"}}': "4x60"},
        {
            f'worker_paused_partitions{{{R},reason="backpressure"}}': "4x60",
            f'worker_paused_partitions{{{R},reason="sink"}}': "0x20 4x5 0x35",
        },
        labels={"reason": "sink"},
    ),
    Case(
        "WorkerPausedByOperator",
        {f'worker_paused_partitions{{{R},reason="operator"}}': "4x400"},
        {f'worker_paused_partitions{{{R},reason="operator"}}': "4x100 0x300"},
        at="300m",
    ),
    Case(
        "WorkerCrashLoop",
        {f'worker_process_restarts_total{{{A},process="1"}}': "0x20 0+1x40"},
        {f'worker_process_restarts_total{{{A},process="1"}}': "0x20 1x40"},
    ),
    Case(
        "WorkerCrashLoop",
        {f"process_start_time_seconds{{{A}}}": "0+100x60"},
        {f"process_start_time_seconds{{{A}}}": "0x20 100x40"},
    ),
    Case(
        "WorkerRebalanceStorm",
        {f'worker_rebalances_total{{{RI},change="assigned"}}': "0+1x60"},
        {f'worker_rebalances_total{{{RI},change="assigned"}}': "0x20 2x40"},
    ),
    Case(
        "WorkerKafkaDegraded",
        {f'worker_kafka_connected_brokers{{{RI},client="sink"}}': "0x60"},
        {
            f'worker_kafka_connected_brokers{{{RI},client="sink"}}': "3x60",
            f'worker_kafka_throttle_seconds{{{RI},client="sink"}}': "0x60",
            f'worker_kafka_round_trip_seconds{{{RI},client="sink",percentile="p99"}}': "0.02x60",
        },
    ),
    Case(
        "WorkerKafkaDegraded",
        {f'worker_kafka_throttle_seconds{{{RI},client="source"}}': "0.4x60"},
        {f'worker_kafka_round_trip_seconds{{{RI},client="source",percentile="p99"}}': "5x60"},
    ),
    Case(
        "WorkerKeyWait",
        {f'worker_key_wait_seconds_sum{{{A},cache="pool"}}': "0+30x60"},
        {f'worker_key_wait_seconds_sum{{{A},cache="pool"}}': "0+3x60"},
    ),
    Case("WorkerAuthorityErrors", _answers("0+100x60", "0+20x60"), _answers("0+100x60", "0+2x60")),
    Case("WorkerBreakerOpen", {f"worker_breaker_state{{{A}}}": "2x60"}, {f"worker_breaker_state{{{A}}}": "1x60"}),
    Case(
        "WorkerRevocationBoundExceeded",
        {
            f"worker_oldest_key_age_seconds{{{A}}}": "500x60",
            f'worker_revocation_bound_seconds{{{A},part="age"}}': "300x60",
            f'worker_revocation_bound_seconds{{{A},part="batch"}}': "60x60",
        },
        {
            f"worker_oldest_key_age_seconds{{{A}}}": "350x60",
            f'worker_revocation_bound_seconds{{{A},part="age"}}': "300x60",
            f'worker_revocation_bound_seconds{{{A},part="batch"}}': "60x60",
        },
    ),
    Case(
        "WorkerOldestKeyTooOld",
        {
            f"worker_oldest_key_age_seconds{{{A}}}": "420x60",
            f'worker_revocation_bound_seconds{{{A},part="age"}}': "300x60",
        },
        {
            f"worker_oldest_key_age_seconds{{{A}}}": "320x60",
            f'worker_revocation_bound_seconds{{{A},part="age"}}': "300x60",
        },
    ),
    Case(
        "WorkerTokenExpired",
        {
            f'worker_token_expiry_timestamp_seconds{{{A},service="authority"}}': "600x60",
            **_answers("0+1x60", "0x60"),
        },
        {f'worker_token_expiry_timestamp_seconds{{{A},service="authority"}}': "600x60", **_answers("5x60", "0x60")},
    ),
    Case(
        "WorkerCertificateNearExpiry",
        {f'worker_certificate_expiry_timestamp_seconds{{{A},certificate="kafka_client"}}': "1000000x200"},
        {f'worker_certificate_expiry_timestamp_seconds{{{A},certificate="kafka_client"}}': "3000000x200"},
        at="120m",
    ),
    Case(
        "WorkerPinBroken",
        {f'worker_region_pin{{{A},pin="kafka_cluster"}}': "1x20 0x40"},
        {f'worker_region_pin{{{A},pin="kafka_cluster"}}': "0.5x60"},
    ),
    Case(
        "WorkerPinUnauthenticated",
        {f'worker_region_pin{{{A},pin="database"}}': "0.5x120"},
        {f'worker_region_pin{{{A},pin="database"}}': "1x120"},
        at="90m",
    ),
    Case(
        "WorkerPlaintextFound",
        {f"worker_verify_plaintext_total{{{R}}}": "0x20 3x40"},
        {f"worker_verify_plaintext_total{{{R}}}": "0x60"},
    ),
    Case(
        "WorkerVerifyStale",
        {f"worker_verify_run_timestamp_seconds{{{R}}}": "0x500"},
        {f"worker_verify_run_timestamp_seconds{{{R}}}": "0x300 18000x200"},
        at="400m",
    ),
    Case(
        "WorkerOutputCheckFailed",
        {f'worker_output_checks_total{{{R},outcome="failed"}}': "0x20 1x40"},
        {f'worker_output_checks_total{{{R},outcome="ok"}}': "0+10x60"},
    ),
    Case(
        "WorkerDeadLetters",
        {f'worker_dead_letters_total{{{R},topic="t",code="decode_failed"}}': "0x20 1x40"},
        {f'worker_dead_letters_total{{{R},topic="t",code="decode_failed"}}': "7x60"},
        labels={"code": "decode_failed"},
    ),
    Case(
        "WorkerForeignRecords",
        {
            f'worker_residency_records_total{{{R},topic="t",outcome="refused"}}': "0+10x60",
            **_records("encrypted", "0+60x60"),
        },
        {
            f'worker_residency_records_total{{{R},topic="t",outcome="refused"}}': "0+1x60",
            **_records("encrypted", "0+60x60"),
        },
        at="45m",
    ),
    Case("WorkerFreshnessBudgetBurnFast", _fresh("0+50x120", "0+60x120"), _fresh("0+60x120", "0+60x120"), at="90m"),
    Case("WorkerFreshnessBudgetBurnSlow", _fresh("0+55x500", "0+60x500"), _fresh("0+60x500", "0+60x500"), at="420m"),
    Case(
        "WorkerFreshnessBudgetBurnLong",
        _fresh("0+590x4500", "0+600x4500"),
        _fresh("0+597x4500", "0+600x4500"),
        at="74h",
    ),
    Case(
        "WorkerSuccessBudgetBurnFast",
        {**_records("encrypted", "0+900x120"), **_records("dead", "0+20x120")},
        {**_records("encrypted", "0+900x120"), **_records("dead", "0x120")},
        at="90m",
    ),
    Case(
        "WorkerSuccessBudgetBurnSlow",
        {**_records("encrypted", "0+900x500"), **_records("dead", "0+9x500")},
        {**_records("encrypted", "0+900x500"), **_records("dead", "0x500")},
        at="420m",
    ),
    Case(
        "WorkerSuccessBudgetBurnLong",
        {**_records("encrypted", "0+990x150"), **_records("dead", "0+2x150")},
        {**_records("encrypted", "0+9990x150"), **_records("dead", "0+2x150")},
        at="74h",
        step="30m",
    ),
    Case(
        "AuthorityDown",
        {'up{job="residency-authority",instance="k"}': "0x60"},
        {'up{job="residency-authority",instance="k"}': "1x60"},
    ),
    Case(
        "AuthorityNotReady",
        {'authority_ready{region="eu-central-1",instance="k",part="audit"}': "1x20 0x40"},
        {'authority_ready{region="eu-central-1",instance="k",part="audit"}': "1x60"},
        labels={"part": "audit"},
    ),
    Case(
        "AuthorityBackupStale",
        {'authority_backup_timestamp_seconds{region="eu-central-1",instance="k"}': "0x2000"},
        {
            'authority_backup_timestamp_seconds{region="eu-central-1",instance="k"}': "0x2000",
            'authority_backup_timestamp_seconds{region="eu-central-1",instance="l"}': "0x1000 60000x1000",
        },
        at="30h",
    ),
    Case(
        "AuthorityDisk",
        {'authority_disk_free_bytes{region="eu-central-1",instance="k"}': "500000000x60"},
        {'authority_disk_free_bytes{region="eu-central-1",instance="k"}': "5000000000x60"},
    ),
    Case(
        "AuthorityErrors",
        {
            'authority_requests_total{region="eu-central-1",status="200"}': "0+100x60",
            'authority_requests_total{region="eu-central-1",status="503"}': "0+5x60",
        },
        {
            'authority_requests_total{region="eu-central-1",status="200"}': "0+100x60",
            'authority_requests_total{region="eu-central-1",status="403"}': "0+50x60",
        },
    ),
    Case(
        "AuthoritySlow",
        {
            'authority_request_seconds_bucket{region="eu-central-1",endpoint="generate-data-key",le="0.5"}': "0+1x60",
            'authority_request_seconds_bucket{region="eu-central-1",endpoint="generate-data-key",le="5"}': "0+60x60",
            'authority_request_seconds_bucket{region="eu-central-1",endpoint="generate-data-key",le="+Inf"}': "0+60x60",
        },
        {
            'authority_request_seconds_bucket{region="eu-central-1",endpoint="generate-data-key",le="0.5"}': "0+60x60",
            'authority_request_seconds_bucket{region="eu-central-1",endpoint="generate-data-key",le="+Inf"}': "0+60x60",
        },
    ),
    Case(
        "AuthorityRefusals",
        {'authority_refusals_total{region="eu-central-1",operation="retrieve"}': "0+120x60"},
        {'authority_refusals_total{region="eu-central-1",operation="retrieve"}': "0+10x60"},
    ),
    Case(
        "AuthorityQuota",
        {'authority_quota_refusals_total{region="eu-central-1",operation="generate"}': "0+5x60"},
        {'authority_quota_refusals_total{region="eu-central-1",operation="generate"}': "5x60"},
    ),
)
