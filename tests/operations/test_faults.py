"""The main alerts, fired in a real Prometheus by real faults: broker, authority, poison, identity, cluster."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components import Kafka, require_program
from tests.operations.prometheus import MISSING, Prometheus
from tests.operations.stand import Load, Region, end, make_region
from worker.authority.remote import Remote
from worker.local import LocalKafka

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.fault, pytest.mark.timeout(600)]


class Site:
    """One region under load in Prometheus's eyes, on a broker of its own."""

    def __init__(self, region: Region, prometheus: Prometheus, broker: LocalKafka, worker: subprocess.Popen[bytes]):
        self.region, self.prometheus, self.broker, self.worker = region, prometheus, broker, worker

    def flows(self) -> None:
        finished = 'rate(worker_records_total{route="topic",outcome="encrypted"}[10s])'
        self.prometheus.until(lambda: self.prometheus.value(finished) > 1, "records flow", within_s=180)

    def fires(self, alert: str) -> None:
        self.prometheus.until(lambda: alert in self.prometheus.firing(), f"{alert} fires", within_s=180)

    def is_quiet(self, alert: str) -> None:
        self.prometheus.until(lambda: alert not in self.prometheus.firing(), f"{alert} ends", within_s=180)


@pytest.fixture
def site(postgres: str, tmp_path: Path) -> Iterator[Site]:
    require_program("prometheus", MISSING)
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(LocalKafka())
        kafka = Kafka(broker.bootstrap, broker.cluster_id, dict(broker.properties))
        # Keys that are short-lived, so that a worker asks for them while it is watched.
        region = make_region(
            "eu-central-1", kafka, postgres, tmp_path / "eu", changes="[keys]\nmax_age_s = 5\n", foreign="dead"
        )
        stack.callback(region.authority.stop)
        worker = region.start()
        stack.callback(end, worker)
        stack.enter_context(Load(region, per_second=50))
        prometheus = stack.enter_context(Prometheus(tmp_path / "prometheus", region.targets(), hasty=True))
        yield Site(region, prometheus, broker, worker)


def test_faults_fire_their_alerts(site: Site) -> None:
    """One after the other, with the worker going on in between, and at last the identity is deleted."""
    site.flows()
    site.fires("WorkerDeadLetters")
    assert {"WorkerPaused", "WorkerBreakerOpen", "WorkerDown"} & site.prometheus.firing() == set()

    site.broker.kill()
    site.fires("WorkerPaused")
    site.broker.restart()
    site.flows()

    site.region.authority.process.send_signal(signal.SIGSTOP)
    site.fires("WorkerBreakerOpen")
    site.fires("AuthorityDown")
    site.region.authority.process.send_signal(signal.SIGCONT)
    site.is_quiet("WorkerBreakerOpen")
    site.flows()

    env = site.region.authority.env
    admin = Remote(site.region.authority.url, env["CS_ADMIN_ACCESS_KEY"])
    admin("delete-client", {"client_id": env["CS_CLIENT_ID"], "cascade": False})
    # One refusal is a verdict: the worker asks no second time, so its end is what is told.
    assert site.worker.wait(120) == 3
    site.fires("WorkerDown")


def test_a_wrong_cluster_fires_an_alert(site: Site) -> None:
    """A worker whose cluster is not the pinned one ends with 3, and its absence is told."""
    site.flows()
    end(site.worker)
    settings = site.region.settings
    settings.write_text(settings.read_text().replace(site.broker.cluster_id, "another-cluster"), encoding="utf-8")

    again = site.region.start()

    assert again.wait(120) == 3
    site.fires("WorkerDown")
