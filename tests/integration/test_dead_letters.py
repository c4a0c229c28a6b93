"""Poison of every kind among good records: sealed, listed, shown, and put back after its cause is mended."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Message, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment, headers
from tests.poison import LONG, POISON, WIDE, good, output_schema, schema_files
from tests.program import worker
from worker.avro import frame
from worker.sdk import Encryption

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]
GOOD = 40
LIMIT_BYTES = 20_000
ROUTE_KEYS = {"topic": b"too large for the topic", "table": b"against the table's rule"}
HEADERS = {
    "__connect.errors.topic",
    "__connect.errors.partition",
    "__connect.errors.offset",
    "__connect.errors.connector.name",
    "__connect.errors.task.id",
    "__connect.errors.stage",
    "__connect.errors.exception.class.name",
    "worker.error.code",
    "worker.error.path",
    "worker.region",
}


class Site(Deployment):
    """A deployment whose schemas are broken until they are mended."""

    def write(self, *, mended: bool) -> str:
        """Write the settings as they are before or after the operator's work."""
        local = ", ".join(
            f'"{i}" = {{ input = "{file}", output_id = {output} }}'
            for i, (file, output) in schema_files(self.directory, mended=mended).items()
        )
        countries = '{ DE = "eu-central-1", FR = "eu-central-1" }' if mended else '{ DE = "eu-central-1" }'
        residency = f'residency = {{ field = "country", values = {countries} }}\nalready_encrypted = "pass"'
        # Two of the broken schemas have forgotten what the right ones declare.
        residency += '\nclear = ["acme.Case4", "acme.Case6"]'
        path = self.directory / "worker.toml"
        path.write_text(
            f"""{self.head()}
[schemas]
local = {{ {local} }}
[[routes]]
name = "topic"
group = "topic-{self.name}"
source = {{ topics = ["{self.source}"] }}
sink = {{ kind = "kafka", topic = "{self.sink}" }}
{residency}
[[routes]]
name = "table"
group = "table-{self.name}"
source = {{ topics = ["{self.source}"] }}
sink = {{ kind = "postgres", table = "crm.cases" }}
{residency}
""",
            encoding="utf-8",
        )
        return str(path)

    def produce(self) -> None:
        """Poison of every kind, spread among good records."""
        # One record a batch: the brokers judge a batch's size, and one of these is as large as they take.
        producer = Producer({**self.kafka.client, "batch.num.messages": 1})
        poison = [(p.key, p) for p in POISON] + [(ROUTE_KEYS["topic"], WIDE), (ROUTE_KEYS["table"], LONG)]
        for number in range(GOOD):
            key, value = good(number)
            producer.produce(self.source, value, key, number % 2)
            if number % 3 == 0 and poison:
                key, bad = poison.pop()
                extra: Any = bad.headers
                producer.produce(self.source, bad.value, key, number % 2, timestamp=bad.timestamp_ms, headers=extra)
        assert not poison
        assert producer.flush(30) == 0
        assert len(self.messages(self.source)) == GOOD + len(POISON) + 2

    def mend(self) -> None:
        """Make room in the sink's topic, drop the table's rule."""
        resource = ConfigResource(ResourceType.TOPIC, self.sink)
        resource.add_incremental_config(
            ConfigEntry("max.message.bytes", "60000", incremental_operation=AlterConfigOpType.SET)
        )
        admin = AdminClient(self.kafka.client)
        admin.incremental_alter_configs([resource])[resource].result(30)
        self.query("ALTER TABLE crm.cases DROP CONSTRAINT short")

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def ok(self, *args: str, code: int = 0) -> Any:
        """Run a command that ends with this exit code, and return what it printed as JSON."""
        ended = worker(self.environ, *args)
        assert ended.returncode == code, (args, ended.stdout[-2000:], ended.stderr[-3000:])
        return json.loads(ended.stdout) if ended.stdout.startswith((b"{", b"[")) else ended.stdout.decode()


@pytest.fixture
def site(kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> Site:
    made = Site(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
    room = {"max.message.bytes": str(LIMIT_BYTES)}
    for topic in (made.source, made.sink):
        kafka.create_topic(topic, partitions=2, config=room)
    kafka.create_topic(made.dead, config={"max.message.bytes": str(LIMIT_BYTES + 4096)})
    return made


def test_poison_of_every_kind_is_put_back_after_the_fix(site: Site) -> None:
    """Good records arrive around it; each letter opens to its bytes, and goes through its route and to its source."""
    config = site.write(mended=False)
    site.ok("check", "--config", config, "--create")
    site.query("ALTER TABLE crm.cases ADD CONSTRAINT short CHECK (length(id) < 40)")
    site.produce()
    originals = {m.key(): m for m in site.messages(site.source)}

    site.ok("run", "--config", config, "--until-end")

    goods = {good(n)[0] for n in range(GOOD)}
    assert {m.key() for m in site.messages(site.sink)} == goods | {ROUTE_KEYS["table"]}
    assert {row[0] for row in site.query("SELECT id FROM crm.cases")} == {k.decode() for k in goods} | {"wide"}
    listed = site.ok("dead", "list", "--config", config, "--json")
    kinds = {p.code for p in POISON} | {"sink_rejected"}
    assert sorted((row["route"], row["code"]) for row in listed) == sorted((r, k) for r in ROUTE_KEYS for k in kinds)
    for letter in site.messages(site.dead):
        assert {name for name, _ in headers(letter)} == HEADERS
    _shows_byte_for_byte(site, config, listed[0], originals)

    still = site.ok(
        "dead", "replay", "--config", config, "--route", "topic", "--code", "decode_failed", "--json", code=1
    )
    assert (still["replayed"], still["failed"], still["refused"][0]["code"]) == (0, 1, "decode_failed")

    config = site.write(mended=True)
    site.mend()
    site.ok("check", "--config", config, "--create")
    for route in ROUTE_KEYS:
        told = site.ok("dead", "replay", "--config", config, "--route", route, "--json", code=1)
        assert (told["replayed"], [row["code"] for row in told["refused"]]) == (len(kinds) - 1, ["bad_magic"]), route
    _arrived_through_the_topics_route(site, originals)
    _arrived_through_the_tables_route(site)

    again = site.ok("dead", "replay", "--config", config, "--route", "table", "--code", "residency", "--json", code=1)
    assert (again["replayed"], again["refused"][0]["code"]) == (0, "sink_rejected")

    site.ok("dead", "replay", "--config", config, "--route", "topic", "--to", "source", "--json")
    _came_back_to_the_source(site, originals)


def _shows_byte_for_byte(site: Site, config: str, row: dict[str, str], originals: dict[bytes | None, Message]) -> None:
    shown = site.ok("dead", "show", row["letter"], "--config", config)
    original = originals[base64.b64decode(shown["key"])]
    assert base64.b64decode(shown["value"]) == original.value()
    assert [(n, None if v is None else base64.b64decode(v)) for n, v in shown["headers"]] == headers(original)
    assert (shown["timestamp_type"], shown["timestamp_ms"]) == original.timestamp()


def _arrived_through_the_topics_route(site: Site, originals: dict[bytes | None, Message]) -> None:
    """Each letter once in the sink: its content encrypted, everything else as it was."""
    arrived = [m for m in site.messages(site.sink) if headers(m)]
    mended = [p for p in POISON if p.raw is None]
    expected = {p.key: p for p in mended} | {ROUTE_KEYS["topic"]: WIDE, ROUTE_KEYS["table"]: LONG}
    assert sorted(m.key() or b"" for m in arrived) == sorted(expected)
    with Encryption.from_env(environ=site.environ, allow_hosts=("127.0.0.1", "localhost")) as encryption:
        for message in arrived:
            poison, original = expected[message.key() or b""], originals[message.key()]
            value = message.value() or b""
            assert value[:5] == frame(1000 + poison.schema_id)
            opened = encryption.decrypt_record(value[5:], schema=output_schema(poison.schema_id))
            assert opened == poison.values
            assert (headers(message), message.timestamp()) == (headers(original), original.timestamp())
            assert message.partition() == original.partition()


def _arrived_through_the_tables_route(site: Site) -> None:
    rows = site.query("SELECT id, name FROM crm.cases WHERE id NOT LIKE 'good-%'")
    ids = {p.values["id"] for p in POISON if p.raw is None} | {"wide", LONG.values["id"]}
    assert sorted(row[0] for row in rows) == sorted(ids)
    sealed = next(name for id_, name in rows if id_ == "residency")
    with Encryption.from_env(environ=site.environ, allow_hosts=("127.0.0.1", "localhost")) as encryption:
        assert encryption.decrypt(sealed, field="acme.Case9/name") == "Ada Foreign"


def _came_back_to_the_source(site: Site, originals: dict[bytes | None, Message]) -> None:
    """Each letter of the route once more: partition, key, value, headers, timestamp, and the mark."""
    back = [m for m in site.messages(site.source) if any(name == "worker-replayed" for name, _ in headers(m))]
    assert {m.key() for m in back} == {p.key for p in POISON} | {ROUTE_KEYS["topic"]}
    assert len(back) == len(POISON) + 1
    for message in back:
        original = originals[message.key()]
        *kept, (name, mark) = headers(message)
        assert (message.value(), kept, message.timestamp()) == (
            original.value(),
            headers(original),
            original.timestamp(),
        )
        assert (name, message.partition()) == ("worker-replayed", original.partition())
        assert mark is not None
        assert mark.startswith(f"{site.source}[{original.partition()}]@".encode())


def test_a_broken_schema_does_not_drain_its_topic(site: Site) -> None:
    """One failure more than a limit allows stops the worker, exit 3, with nothing sealed and no offset moved."""
    config = site.write(mended=False)
    site.ok("check", "--config", config, "--create")
    producer = Producer(site.kafka.client)
    for number in range(6):
        producer.produce(site.source, b"\7 broken", str(number).encode(), 0)
    assert producer.flush(30) == 0

    for limit in ("max_per_minute", "max_per_partition"):
        site.ok("run", "--config", config, "--until-end", "--set", f"dead_letters.{limit}=5", code=3)

    assert site.messages(site.dead) == []
    site.ok("run", "--config", config, "--until-end", "--set", "dead_letters.max_per_minute=6")
    assert len(site.messages(site.dead)) == 2 * 6
