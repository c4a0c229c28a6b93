"""Two regions under load, watched by a real Prometheus: workers, authorities, poison, records of other regions."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from tests.components import Kafka
from tests.deployment import OUTPUT_ID, Deployment
from tests.operations.prometheus import Prometheus, Target, free_port
from tests.program import COMMAND
from worker.authority.dev import read_env
from worker.demo.customers import SCHEMA, Population, customers
from worker.local.postgres import create_database
from worker.local.tls import CertificateAuthority

REGIONS = {"eu-central-1": "DE", "ap-southeast-2": "AU"}
_LOCALES = {"DE": "de_DE", "AU": "en_AU"}
_DISTINCT = 400
_POISON = (b"", b"\x00\x00", b"no frame", b"\x00\x00\x00\x00\x63unknown")


def _routes(site: Deployment, country: str, foreign: str) -> str:
    own = f'{country} = "{site.region}"'
    other = next(region for region in REGIONS if region != site.region)
    values = f'{{ {own}, {REGIONS[other]} = "{other}" }}'
    forward = f', topics = {{ "{other}" = "{site.source}.elsewhere" }}' if foreign == "forward" else ""
    return f"""
[[routes]]
name = "topic"
group = "topic-{site.name}"
source = {{ topics = ["{site.source}"] }}
sink = {{ kind = "kafka", topic = "{site.sink}" }}
residency = {{ field = "country", values = {values}, foreign = "{foreign}"{forward} }}
[[routes]]
name = "table"
group = "table-{site.name}"
source = {{ topics = ["{site.source}"] }}
sink = {{ kind = "postgres", table = "crm.customers", create = true }}
"""


class Authority:
    """A region's authority in a process of its own, so that the load does not take its interpreter."""

    def __init__(self, region: str, directory: Path) -> None:
        directory.mkdir(parents=True)
        port = free_port()
        env = directory / "client.env"
        command = [*COMMAND, "authority", "dev", "--region", region, "--port", str(port)]
        with (directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--data", str(directory), "--env-file", str(env)], stdout=subprocess.PIPE, stderr=log
            )
        assert self.process.stdout is not None
        assert b"ready" in self.process.stdout.readline(), (directory / "log").read_text()
        self.env, self.url = read_env(env), f"http://127.0.0.1:{port}/"

    def stop(self) -> None:
        end(self.process)
        if self.process.stdout is not None:
            self.process.stdout.close()


@dataclass(frozen=True, slots=True)
class Region:
    """One region of the stand."""

    site: Deployment
    authority: Authority
    settings: Path
    port: int
    processes: int

    @property
    def environ(self) -> dict[str, str]:
        """What the worker is told."""
        listen = f"127.0.0.1:{self.port}"
        return {**self.site.environ, "PATH": os.environ["PATH"], "WORKER_HTTP__LISTEN": listen}

    def start(self) -> subprocess.Popen[bytes]:
        """Start the worker; its log is `log` in the site's directory."""
        command = [*COMMAND, "run", "--config", str(self.settings)]
        if self.processes > 1:
            command += ["--processes", str(self.processes)]
        with (self.site.directory / "log").open("ab") as log:
            return subprocess.Popen(command, env=self.environ, stdout=log, stderr=log)

    def token(self) -> Path:
        """Write down the access key that opens the authority's metrics, as a stock Prometheus sends it."""
        path = self.site.directory / "token"
        path.write_text(self.authority.env["CS_ADMIN_ACCESS_KEY"])
        return path

    def verify(self, port: int) -> subprocess.Popen[bytes]:
        """Start what looks into the sinks."""
        command = [*COMMAND, "verify", "--config", str(self.settings), "--every", "2", "--last", "50"]
        secrets = {"PATH": os.environ["PATH"], "DATABASE_URL": self.site.dsn}
        with (self.site.directory / "verify.log").open("ab") as log:
            listen = ["--listen", f"127.0.0.1:{port}"]
            return subprocess.Popen([*command, *listen], env=secrets, stdout=log, stderr=log)

    def targets(self) -> list[Target]:
        """Return what Prometheus scrapes."""
        own = {"region": self.site.region}
        address = self.authority.url.removeprefix("http://").rstrip("/")
        return [
            Target(job="residency-worker", address=f"127.0.0.1:{self.port}"),
            Target(job="residency-authority", address=address, token=self.token(), labels=own),
        ]


def make_region(
    name: str, kafka: Kafka, postgres: str, directory: Path, *, processes: int = 1, changes: str = "", foreign: str
) -> Region:
    """Make a region's topics, table, authority and settings."""
    directory.mkdir(parents=True)
    authority = Authority(name, directory / "authority")
    dsn = create_database(postgres, region=name)
    site = Deployment(kafka=kafka, dsn=dsn, authority=authority.env, directory=directory, region=name)
    site.prepare(partitions=4)
    if foreign == "forward":
        kafka.create_topic(f"{site.source}.elsewhere", partitions=4)
    schema, settings = directory / "customer.avsc", directory / "worker.toml"
    schema.write_text(SCHEMA, encoding="utf-8")
    head = site.head().replace("\n[http]", "\n[delivery]\nverify_interval_s = 1\nmax_records = 500\n[http]")
    authority_file = CertificateAuthority(directory).path
    properties = f'"statistics.interval.ms" = "1000", "ssl.ca.location" = "{authority_file}", "security.protocol" ='
    head = head.replace('"security.protocol" =', properties)
    local = f'[schemas]\nlocal = {{ "1" = {{ input = "{schema}", output_id = {OUTPUT_ID} }} }}\n'
    limits = "[dead_letters]\nmax_per_minute = 100000\nmax_per_partition = 100000\n"
    settings.write_text(head + local + limits + changes + _routes(site, REGIONS[name], foreign), encoding="utf-8")
    return Region(site, authority, settings, free_port(), processes)


class Load:
    """Writes customers into a region's topic until the block ends, one in fifty of another region, and poison."""

    def __init__(self, region: Region, *, per_second: int = 200) -> None:
        self._site, self._per_second = region.site, per_second
        self._values = self._encoded()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _encoded(self) -> list[bytes]:
        own = REGIONS[self._site.region]
        other = next(country for country in _LOCALES if country != own)
        registry = SchemaRegistryClient.new_client({"url": f"mock://{self._site.name}"})
        serialize = AvroSerializer(registry, SCHEMA)
        context = SerializationContext(self._site.source, MessageField.VALUE)
        at_home = customers(Population({own: _LOCALES[own]}, 1), _DISTINCT)
        foreign = customers(Population({other: _LOCALES[other]}, 2), _DISTINCT // 50)
        return [b"" if v is None else v for v in (serialize(r, context) for r in (*at_home, *foreign))]

    def _run(self) -> None:
        client: dict[str, Any] = dict(self._site.kafka.client)
        producer, n = Producer({**client, "linger.ms": 20, "log_level": 2}), 0
        while not self._stop.wait(0.1):
            for _ in range(self._per_second // 10):
                producer.produce(self._site.source, self._values[n % len(self._values)], key=f"{n}")
                n += 1
            if not n % (5 * self._per_second):
                for value in _POISON:
                    producer.produce(self._site.source, value, key="poison")
            producer.poll(0)
        producer.flush(30)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)


@contextlib.contextmanager
def under_load(
    kafka: Kafka, postgres: str, directory: Path, *, hasty: bool = False
) -> Iterator[tuple[Prometheus, Sequence[Region]]]:
    """Run both regions and Prometheus; the second region has two processes and forwards what is not its own."""
    regions = [
        make_region("eu-central-1", kafka, postgres, directory / "eu", foreign="dead"),
        make_region("ap-southeast-2", kafka, postgres, directory / "ap", processes=2, foreign="forward"),
    ]
    targets = [target for region in regions for target in region.targets()]
    verifier = free_port()
    targets.append(Target(job="residency-verifier", address=f"127.0.0.1:{verifier}"))
    with contextlib.ExitStack() as stack:
        for region in regions:
            stack.callback(region.authority.stop)
            stack.callback(end, region.start())
        stack.callback(end, regions[0].verify(verifier))
        for region in regions:
            stack.enter_context(Load(region))
        yield stack.enter_context(Prometheus(directory / "prometheus", targets, hasty=hasty)), regions


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process gracefully, or at last by force."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(30)
