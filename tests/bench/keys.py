"""
Keys and values a second through the key cache, against naive loops: `make bench-keys`.

The authority runs in a process of its own. Every ratio that the product promises is asserted; rates depend on the
machine and are printed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fakes.hold import hold
from worker import interpreter
from worker.encryption import BatchEncryptor
from worker.metrics import Metrics
from worker.model import (
    Audit,
    DataKey,
    EncryptionKeys,
    FieldPlan,
    Format,
    KeyHold,
    KeyNeed,
    KeySpec,
    LeasePortion,
    PlaintextKind,
)
from worker.model import ValueColumn as Column
from worker.zerokms.client import ZeroKMSClient
from worker.zerokms.derive import check_material, derive
from worker.zerokms.factory import client_from_environment
from worker.zerokms.keys import KeyCache

AUDIT = Audit("bench")
SPEC = KeySpec(None, "acme.crm.Customer/email")
BATCH = 2_000
VALUE = b"\x2aann.example@mail.test"
REGION = "eu-central-1"
SECONDS = float(os.environ.get("BENCH_S", "6"))
console = Console(width=110)


@contextlib.contextmanager
def authority(latencies_s: Sequence[float]) -> Iterator[tuple[dict[str, str], dict[float, str]]]:
    """Run the authority in a process of its own; yields its credentials, and its URL by latency."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "tests.bench.far", directory, *map(str, latencies_s)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            said = json.loads(running.stdout.readline())
            yield said["env"], {float(latency): url for latency, url in said["far"].items()}
            running.communicate()


def client_for(env: dict[str, str], metrics: Metrics | None = None, url: str | None = None) -> ZeroKMSClient:
    env = env | {"CS_ZEROKMS_HOST": url or env["CS_ZEROKMS_HOST"]}
    # The token names the authority's near address, which differs from a far one's.
    return client_from_environment(env, allow_hosts=("127.0.0.1",), metrics=metrics)


def rate(step: Callable[[], int], seconds: float = SECONDS) -> float:
    """Items a second of `step`, which returns how many it did."""
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        done += step()
    return done / elapsed


def plan(kind: Format) -> FieldPlan:
    return FieldPlan(
        identity=SPEC.descriptor,
        descriptor=SPEC.descriptor,
        descriptor_is_explicit=False,
        keyset=None,
        format=kind,
        context=(),
        bind=(),
        null="keep",
        index=(),
        kind=PlaintextKind.STRING,
        null_branch=None,
        symbols=(),
        fingerprint=bytes(8),
        schema='"string"',
    )


def column(kind: Format) -> Column:
    return Column(plan(kind), [VALUE] * BATCH, list(range(BATCH)))


class Naive:
    """Asks the service for every batch: no pool, no cache, one request after the other."""

    def __init__(self, client: ZeroKMSClient) -> None:
        self._client = client

    def take(self, spec: KeySpec, count: int) -> list[DataKey]:
        keys: list[DataKey] = []
        while len(keys) < count:
            keys += self._client.generate([spec] * min(500, count - len(keys)), AUDIT)
        return keys

    def hold(self, needs: Iterable[KeyNeed]) -> AbstractContextManager[KeyHold]:
        return hold(self, needs)

    def lease(self, spec: KeySpec, sizes: Sequence[int]) -> list[LeasePortion]:
        return [LeasePortion(self._client.generate([spec], AUDIT)[0], len(sizes))]


class Static:
    """One key for everything, for ever: what nobody should do, and the fastest there is."""

    def __init__(self, key: DataKey) -> None:
        self._key = key

    def take(self, spec: KeySpec, count: int) -> list[DataKey]:
        raise NotImplementedError

    def hold(self, needs: Iterable[KeyNeed]) -> AbstractContextManager[KeyHold]:
        return hold(self, needs)

    def lease(self, spec: KeySpec, sizes: Sequence[int]) -> list[LeasePortion]:
        return [LeasePortion(self._key, len(sizes))]


def values_per_s(keys: EncryptionKeys, kind: Format, seconds: float = SECONDS) -> float:
    """Values a second, sealed by the product's own encryptor."""
    encryptor, batch = BatchEncryptor(keys), column(kind)

    def step() -> int:
        encryptor.encrypt([batch])
        return BATCH

    step()
    return rate(step, seconds)


def taken_per_s(cache: KeyCache, seconds: float = SECONDS) -> float:
    """Single-use keys a second, each wiped after its use."""

    def step() -> int:
        keys = cache.take(SPEC, 500)
        for key in keys:
            key.wipe()
        return len(keys)

    rate(step, 2)
    return rate(step, seconds)


def own_rates(client: ZeroKMSClient) -> tuple[float, float]:
    """Keys a second of the authority alone (5 connections, answers thrown away) and of the derivation alone."""
    done, stop = [0] * 5, threading.Event()
    item = {"iv": "AQEBAQEBAQEBAQEBAQEBAQ==", "descriptor": SPEC.descriptor, "context": []}
    from worker.zerokms.wire import keys_body

    body = keys_body(client.credentials.client_id, None, b",".join([json.dumps(item).encode()] * 500), {})

    def ask(i: int) -> None:
        while not stop.is_set():
            client._wire.post("generate-data-key", body)
            done[i] += 500

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(5)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    stop.wait(SECONDS)
    stop.set()
    for thread in threads:
        thread.join()
    authority = sum(done) / (time.perf_counter() - started)
    ivs, materials, key = os.urandom(16 * 500), os.urandom(528 * 500), client.credentials.client_key

    def derive_once() -> int:
        check_material(key, ivs, materials)
        derive(key, ivs, materials)
        return 500

    return authority, rate(derive_once, 2)


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, {"region": REGION, **labels}) or 0.0


def pace(metrics: Metrics, cache: KeyCache, keys_per_s: float) -> tuple[float, int]:
    """Take batches of 100 at a steady rate; returns the share that waited and how many were taken."""
    batches, waited = int(keys_per_s / 100 * max(SECONDS, 10)), 0.0
    due = time.perf_counter()
    for i in range(-300, batches):
        if i == 0:
            waited = sample(metrics, "worker_key_cache_requests_total", cache="pool", result="miss")
        for key in cache.take(SPEC, 100):
            key.wipe()
        due += 100 / keys_per_s
        time.sleep(max(0.0, due - time.perf_counter()))
    missed = sample(metrics, "worker_key_cache_requests_total", cache="pool", result="miss") - waited
    return missed / batches, batches


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def slope(cache: KeyCache) -> float:
    """MiB of resident memory gained per million values in `leased`, after warm-up."""
    encryptor, batch = BatchEncryptor(cache), column("leased")

    def seal(values: int) -> None:
        for _ in range(values // BATCH):
            encryptor.encrypt([batch])

    seal(200_000)
    before = rss_bytes()
    seal(1_000_000)
    return (rss_bytes() - before) / 2**20


class Report:
    """Lines of figures, and which promises held."""

    def __init__(self) -> None:
        self._table = Table("figure", "measured", "promised", "")
        self.broken: list[str] = []

    def show(self, name: str, text: str) -> None:
        """A figure without a promise."""
        self._table.add_row(name, text, "", "")

    def check(self, name: str, value: float, bound: float, *, at_least: bool, form: str = "{:.3f}") -> None:
        """A figure with one."""
        holds = value >= bound if at_least else value <= bound
        sign = ">=" if at_least else "<="
        self._table.add_row(name, form.format(value), f"{sign} {form.format(bound)}", "ok" if holds else "BROKEN")
        if not holds:
            self.broken.append(name)

    def end(self) -> int:
        """Print the table and which promises are broken; return 1 where one is."""
        console.print(self._table)
        if self.broken:
            console.print("[red]broken: " + "; ".join(self.broken))
        return 1 if self.broken else 0


def plain(report: Report, env: dict[str, str]) -> None:
    """Everything without added latency."""
    metrics = Metrics(REGION)
    with client_for(env, metrics) as client:
        authority, derivation = own_rates(client)
        report.show("authority's own rate, keys/s", f"{authority:,.0f}")
        report.show("derivation's own rate, keys/s", f"{derivation:,.0f}")
        report.show("record, asking for every batch, values/s", f"{values_per_s(Naive(client), 'record'):,.0f}")
        static = client.generate([SPEC], AUDIT)[0]
        static_rates, leased_rates = [], []
        with KeyCache(client, audit=AUDIT, metrics=metrics) as cache:
            # Interleaved, so that a neighbour's load on the machine meets both alike.
            for _ in range(4):
                static_rates.append(values_per_s(Static(static), "leased", SECONDS / 4))
                leased_rates.append(values_per_s(cache, "leased", SECONDS / 4))
            report.show("leased, one static key, values/s", f"{max(static_rates):,.0f}")
            report.show("leased, values/s", f"{max(leased_rates):,.0f}")
            report.show("leased, asking for every batch, values/s", f"{values_per_s(Naive(client), 'leased'):,.0f}")
            report.check("leased / static key", max(leased_rates) / max(static_rates), 0.8, at_least=True)
            report.check("leased: MiB per million values", slope(cache), 1.0, at_least=False)
        taken = requests_per_key(report, client, authority, derivation)
        steady(report, client, taken)


def requests_per_key(report: Report, client: ZeroKMSClient, authority: float, derivation: float) -> float:
    """Drain the pool as fast as it goes; returns keys/s."""
    metrics = Metrics(REGION)
    asked: list[int] = []

    class Counted:
        generate_calls = asked

        def generate(self, requests: Sequence[KeySpec], audit: Audit) -> Sequence[DataKey]:
            asked.append(len(requests))
            return client.generate(requests, audit)

        retrieve = staticmethod(client.retrieve)

    with KeyCache(Counted(), audit=AUDIT, metrics=metrics) as cache:
        taken = taken_per_s(cache)
        report.show("record, keys/s taken", f"{taken:,.0f}")
        report.show("record, values/s sealed", f"{values_per_s(cache, 'record'):,.0f}")
    report.check("record / min(authority, derivation)", taken / min(authority, derivation), 0.8, at_least=True)
    report.show("record, keys per request", f"{sum(asked) / len(asked):.1f}")
    report.check("record, requests per key", len(asked) / sum(asked), 1 / 490, at_least=False, form="{:.6f}")
    return taken


def steady(report: Report, client: ZeroKMSClient, taken: float) -> None:
    """A steady stream at half the full rate."""
    metrics = Metrics(REGION)
    with KeyCache(client, audit=AUDIT, metrics=metrics) as cache:
        share, batches = pace(metrics, cache, taken / 2)
        depth = cache._pools[SPEC].depth
    report.show("steady stream, batches of 100 and pool depth", f"{batches:,} and {depth:,}")
    report.check("steady stream, share of batches that waited", share, 0.001, at_least=False, form="{:.5f}")


def delayed(report: Report, env: dict[str, str], latency_s: float, url: str) -> None:
    """With latency added on the authority and without, in turns: a neighbour's load on the machine meets both."""
    with (
        client_for(env) as near,
        client_for(env, url=url) as far,
        KeyCache(near, audit=AUDIT) as plain_keys,
        KeyCache(far, audit=AUDIT) as slow_keys,
    ):
        before = taken_per_s(plain_keys)
        slow = taken_per_s(slow_keys, max(SECONDS, 20 * latency_s))
        taken = (before + taken_per_s(plain_keys)) / 2
        leased = [[values_per_s(k, "leased", SECONDS / 6) for k in (plain_keys, slow_keys)] for _ in range(6)]
    name = f"+{latency_s * 1000:.0f} ms"
    report.show(f"{name}: record, keys/s (without: {taken:,.0f})", f"{slow:,.0f}")
    report.check(
        f"{name}: record / min(2500/latency, plain)", slow / min(2_500 / latency_s, taken), 0.85, at_least=True
    )
    ratio = max(each[1] for each in leased) / max(each[0] for each in leased)
    report.check(f"{name}: leased / plain", ratio, 0.9, at_least=True)


def main() -> int:
    """Run everything, print the table, and return 1 where a promise is broken."""
    interpreter.set_up()
    report = Report()
    with authority((0.02, 0.1, 0.5)) as (env, far):
        plain(report, env)
        for latency_s, url in far.items():
            delayed(report, env, latency_s, url)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
