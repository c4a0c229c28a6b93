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
from tests.registry.conftest import Registry
from tests.running import arrived, until
from worker.avro import encode_value, frame
from worker.demo.customers import SCHEMA, Population, customers
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


def test_a_run_with_every_outage(
    new_database: DatabaseFactory, authority: dict[str, str], registry: Registry, tmp_path: Path
) -> None:
    """Brokers, database, authority, registry go away for twenty seconds each, a record can't be read: all is told."""
    with ExitStack() as stack:
        local = stack.enter_context(LocalKafka())
        kafka = Kafka(local.bootstrap, local.cluster_id, dict(local.properties))
        dsn = new_database(region=REGION)
        site, keys = stack.enter_context(proxied_authority(kafka, dsn, authority, tmp_path))
        database, secrets = _through_a_proxy(stack, dsn)
        schemas, url = _through(stack, registry.url)
        producer = Customers(site, registry)
        producer.write(50)
        path = _configured(site, url)
        environ = {"PATH": os.environ["PATH"], **site.environ, **secrets}
        program = Program([*COMMAND, "run", "--config", str(path)], tmp_path / "worker.log", environment=environ)
        stack.callback(program.stop, 20)
        log = Log(tmp_path / "worker.log")
        until(lambda: arrived(site, 50), "the first records arrive")

        outages = {"brokers": outage(log, local.kill, local.restart, "source_away")}
        producer.write(50)
        until(lambda: arrived(site, 100), "the next records arrive")
        for name, proxy in (("database", database), ("authority", keys), ("registry", schemas)):
            since = len(log.lines())
            if name == "registry":
                producer.evolve()
            outages[name] = outage(log, partial(_lose_and_write, producer, proxy), partial(_mend, proxy), "paused")
            until(partial(log.says, "resumed", since), "it goes on")
        until(lambda: arrived(site, producer.count), "what was written meanwhile arrives")
        _poison(site)
        until(lambda: log.says("dead_letters_sealed", 0), "a sealed letter is told")
        program.send(signal.SIGTERM)
        until(lambda: not program.is_running, "the worker ends")

    lines = log.lines()
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)
    assert {line["region"] for line in lines if line["event"] != "failed"} == {REGION}
    whole = {"starting", "verified", "waiting", "library", "canary_made"}
    # The canary's producer belongs to no route; it is gone before the first of them has partitions.
    begun = [line["event"] for line in lines].index("assigned")
    assert [line for line in lines[begun:] if "route" not in line and line["event"] not in whole] == []
    assert {name: len(told) for name, told in outages.items() if len(told) > A_HANDFUL} == {}, {
        name: Counter((line["event"], line.get("kind")) for line in told) for name, told in outages.items()
    }


class Customers:
    """Writes customers, each with an id of its own, under a schema that is registered."""

    def __init__(self, site: Deployment, registry: Registry) -> None:
        self._site, self._registry = site, registry
        self._schema = json.loads(SCHEMA)
        self._id = self._registered()
        self.count = 0

    def evolve(self) -> None:
        """Write under another version from now on, which the worker has to ask for."""
        self._schema["fields"].append({"name": "note", "type": ["null", "string"], "default": None})
        self._id = self._registered()

    def write(self, count: int) -> None:
        producer = Producer(self._site.kafka.client)
        for record in customers(Population({"DE": "de_DE"}, seed=self.count), count):
            renamed = {**record, "id": f"{self.count}-{record['id']}"}
            renamed |= {"note": None} if len(self._schema["fields"]) > len(renamed) else {}
            value = frame(self._id) + encode_value(json.dumps(self._schema), renamed)
            producer.produce(self._site.source, value, key=str(renamed["id"]))
        assert producer.flush(30) == 0
        self.count += count

    def _registered(self) -> int:
        return self._registry.register(f"{self._site.source}-value", self._schema)


def _configured(site: Deployment, registry: str) -> Path:
    path = site.settings(0, changes=CHANGES)
    text = path.read_text()
    local = text[text.index("local = ") : text.index("\nrequired")]
    text = text.replace(local, f'registry = "{registry}"\nallow_hosts = ["127.0.0.1"]')
    text = text.replace("create = true", "create = true, evolve = true")
    # A static member that meets a dead broker in its join may be fenced against itself.
    path.write_text(text.replace("static_membership = true, session_timeout_s = 6", 'start = "earliest"'))
    return path


def _through_a_proxy(stack: ExitStack, dsn: str) -> tuple[Proxy, dict[str, str]]:
    proxy, through = _through(stack, dsn)
    return proxy, {"DATABASE_URL": through}


def _through(stack: ExitStack, url: str) -> tuple[Proxy, str]:
    """Return a proxy before what an address names, and the address through it."""
    place = urlsplit(url)
    assert place.port is not None
    proxy = stack.enter_context(Proxy(place.port, place.hostname or "127.0.0.1"))
    return proxy, url.replace(f"{place.hostname}:{place.port}", proxy.address)


def _lose_and_write(producer: Customers, proxy: Proxy) -> None:
    lose(proxy, "refused")
    producer.write(20)


def _mend(proxy: Proxy) -> None:
    proxy.refuse = False


def _poison(site: Deployment) -> None:
    producer = Producer(site.kafka.client)
    producer.produce(site.source, b"\7 no frame", key=b"poison")
    assert producer.flush(30) == 0
