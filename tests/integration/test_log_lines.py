"""What a run writes while things go away and come back: JSON Lines wholly, each with its region, and few of them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Producer

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.integration.test_outages import REGION, lose, proxied_authority
from tests.program import COMMAND
from tests.proxy import Proxy
from tests.running import arrived, produce, until
from worker.local import LocalKafka
from worker.local.process import Program

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(400)]
OUTAGE_S = 20
CHANGES = "[keys]\nmax_age_s = 1\nwait_s = 1\n[delivery]\nverify_interval_s = 1\n"
A_HANDFUL = 40
"""Lines of two routes with a source, a sink and an administrative client each, and of what they tell themselves."""


class Log:
    """The lines of a running worker."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._path.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def says(self, event: str, since: int) -> bool:
        return any(line["event"] == event for line in self.lines()[since:])


def outage(log: Log, break_: Callable[[], object], mend: Callable[[], object], event: str) -> list[dict[str, Any]]:
    """Take something away for twenty seconds, wait until that was told, and return what was written meanwhile."""
    since, began = len(log.lines()), time.monotonic()
    break_()
    until(lambda: log.says(event, since) and time.monotonic() > began + OUTAGE_S, f"{event} is told")
    told = log.lines()[since:]
    mend()
    return told


def test_a_run_with_every_outage(new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> None:
    """Brokers, database and authority go away for twenty seconds each, and a record can't be read: all is told."""
    with ExitStack() as stack:
        local = stack.enter_context(LocalKafka())
        kafka = Kafka(local.bootstrap, local.cluster_id, dict(local.properties))
        dsn = new_database(region=REGION)
        site, keys = stack.enter_context(proxied_authority(kafka, dsn, authority, tmp_path))
        database, secrets = _through_a_proxy(stack, dsn)
        schema_id = produce(site, 1, 50)
        path = site.settings(schema_id, changes=CHANGES)
        # A static member that meets a dead broker in its join may be fenced against itself.
        path.write_text(
            path.read_text().replace("static_membership = true, session_timeout_s = 6", 'start = "earliest"')
        )
        environ = {"PATH": os.environ["PATH"], **site.environ, **secrets}
        program = Program([*COMMAND, "run", "--config", str(path)], tmp_path / "worker.log", environment=environ)
        stack.callback(program.stop, 20)
        log = Log(tmp_path / "worker.log")
        until(lambda: arrived(site, 50), "the first records arrive")

        outages = {"brokers": outage(log, local.kill, local.restart, "source_away")}
        produce(site, 2, 50)
        until(lambda: arrived(site, 100), "the next records arrive")
        for name, proxy in (("database", database), ("authority", keys)):
            since = len(log.lines())
            outages[name] = outage(log, partial(_lose_and_write, site, proxy), partial(_mend, proxy), "paused")
            until(partial(log.says, "resumed", since), "it goes on")
        _poison(site)
        until(lambda: log.says("dead_letters_sealed", 0), "a sealed letter is told")
        program.send(signal.SIGTERM)
        until(lambda: not program.is_running, "the worker ends")

    lines = log.lines()
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)
    assert {line["region"] for line in lines if line["event"] != "failed"} == {REGION}
    whole = {"starting", "verified", "waiting", "library"}
    assert [line for line in lines if "route" not in line and line["event"] not in whole] == []
    assert {name: len(told) for name, told in outages.items() if len(told) > A_HANDFUL} == {}, {
        name: Counter((line["event"], line.get("kind")) for line in told) for name, told in outages.items()
    }


def _through_a_proxy(stack: ExitStack, dsn: str) -> tuple[Proxy, dict[str, str]]:
    place = urlsplit(dsn)
    proxy = stack.enter_context(Proxy(place.port or 5432, place.hostname or "127.0.0.1"))
    return proxy, {"DATABASE_URL": dsn.replace(f"{place.hostname}:{place.port}", proxy.address)}


def _lose_and_write(site: Deployment, proxy: Proxy) -> None:
    lose(proxy, "refused")
    produce(site, int(time.monotonic()), 20)


def _mend(proxy: Proxy) -> None:
    proxy.refuse = False


def _poison(site: Deployment) -> None:
    producer = Producer(site.kafka.client)
    producer.produce(site.source, b"\7 no frame", key=b"poison")
    assert producer.flush(30) == 0
