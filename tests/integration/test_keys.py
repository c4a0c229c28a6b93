"""Record keys through a whole worker: in the clear and as pseudonyms, into a topic and a keyed table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.leaks import scan
from tests.poison import plain
from worker import config
from worker.app import Worker
from worker.assembly.run import RunOptions
from worker.avro import DeclarationOptions, compile_schema, encode_value, frame
from worker.checks.start import verify
from worker.errors import DecryptionError
from worker.sdk import Encryption

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
VALUE = json.dumps(
    {
        "type": "record",
        "name": "acme.crm.Visit",
        "fields": [
            {"name": "number", "type": "long"},
            {"name": "email", "type": "string", "encrypted": {"format": "leased", "bind": ["$key"]}},
        ],
    }
)


def key_schema(*, declared: bool) -> str:
    email: dict[str, Any] = {"name": "email", "type": "string"}
    fields = [{"name": "tenant", "type": "int"}, email | ({"encrypted": True} if declared else {})]
    return json.dumps({"type": "record", "name": "acme.crm.VisitKey", "fields": fields})


def key(name: str) -> bytes:
    return frame(2) + encode_value(key_schema(declared=False), {"tenant": 5, "email": email_of(name)})


def email_of(name: str) -> str:
    return f"{name}@customers.example"


class Site(Deployment):
    """A topic's and a keyed table's route over keys of two fields."""

    def policy(self, policy: str) -> config.Settings:
        for name, text in (("value", VALUE), ("key", key_schema(declared=policy == "pseudonym"))):
            (self.directory / f"{name}.avsc").write_text(text, encoding="utf-8")
        path = self.directory / "worker.toml"
        path.write_text(
            f"""{self.head()}
[schemas.local]
1 = {{ input = "{self.directory}/value.avsc", output_id = 1001 }}
2 = {{ input = "{self.directory}/key.avsc", output_id = 1002, key = true }}
[[routes]]
name = "topic"
group = "topic-{self.name}"
key = "{policy}"
source = {{ topics = ["{self.source}"] }}
sink = {{ kind = "kafka", topic = "{self.sink}", partitioning = "key" }}
[[routes]]
name = "table"
group = "table-{self.name}"
key = "{policy}"
source = {{ topics = ["{self.source}"] }}
sink = {{ kind = "postgres", table = "crm.visits", mode = "upsert", key = ["k_tenant", "k_email"], key_prefix = "k_" }}
""",
            encoding="utf-8",
        )
        return config.load(path, environ={})

    def produce(self, *visits: tuple[str, int | None]) -> None:
        """Write visits in order: a name and a number, or None for a tombstone."""
        producer = Producer(self.kafka.client)
        for name, number in visits:
            values = {"number": number, "email": email_of(name)}
            value = None if number is None else frame(1) + encode_value(plain(VALUE), values)
            producer.produce(self.source, value, key(name), 0)
        assert producer.flush(30) == 0

    def table(self) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(
                "SELECT number, k_tenant, k_email, email FROM crm.visits ORDER BY number"
            ).fetchall()


@pytest.fixture
def site(kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> Site:
    made = Site(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
    kafka.create_topic(made.source)
    kafka.create_topic(made.sink, partitions=5)
    kafka.create_topic(made.dead, config={"max.message.bytes": str(2 << 20)})
    return made


def run(site: Site, policy: str) -> None:
    with Worker(site.policy(policy), site.environ) as worker:
        assert [f for f in verify(worker.graph, create=True) if f.is_broken] == []
        worker.run(RunOptions(until_end=True))


@pytest.mark.parametrize("policy", ["clear", "pseudonym"])
def test_the_last_record_of_a_key_stands_and_a_tombstone_deletes(site: Site, policy: str) -> None:
    """Within a batch and over batches, with composite Avro keys, in the clear and as pseudonyms."""
    site.produce(("ada", 1), ("bob", 2), ("ada", 3), ("bob", None), ("bob", 4), ("cy", 5), ("cy", None), ("dee", 6))
    run(site, policy)
    first = site.table()
    site.produce(("ada", None), ("cy", 7), ("bob", 8))
    run(site, policy)

    assert [row[0] for row in first] == [3, 4, 6]
    assert [row[0] for row in site.table()] == [6, 7, 8]
    assert site.read(site.dead) == []
    keys = {row[0]: row[1:3] for row in first + site.table()}
    assert keys[4] == keys[8]
    if policy == "clear":
        assert keys[6] == (5, email_of("dee"))
    else:
        assert {type(email) for _, email in keys.values()} == {bytes}
        assert {len(email) for _, email in keys.values()} == {32}


def test_a_pseudonym_stands_for_its_key_everywhere(site: Site) -> None:
    """One key, one pseudonym, one partition, tombstones too; values bind it as `$key`; no key is in the clear."""
    site.produce(*((name, number) for number in range(4) for name in ("ada", "bob", "cy")), ("ada", None))

    run(site, "pseudonym")

    found = site.read(site.sink)
    keys = {k for k, _, _ in found if k is not None}
    counts = sorted(sum(k == other for k, _, _ in found) for other in keys)
    assert counts == [4, 4, 5]
    stone = next(k for k, value, _ in found if value is None)
    assert sum(k == stone for k, _, _ in found) == 5
    assert {k[:5] for k in keys} == {frame(1002)}
    assert {row[2] for row in site.table()} < {k[-32:] for k in keys}
    output = compile_schema(VALUE, DeclarationOptions()).plan.output_schema
    sealed, bound = next((value, k) for k, value, _ in found if value is not None and k is not None)
    with Encryption.from_env(environ=site.environ, allow_hosts=("127.0.0.1", "localhost")) as encryption:
        opened = encryption.decrypt_record(sealed[5:], schema=output, key=bound)
        name = str(opened["email"]).partition("@")[0]
        with pytest.raises(DecryptionError):
            encryption.decrypt_record(sealed[5:], schema=output, key=key(name))
    places = {
        "topic": b"\0".join((k or b"") + (value or b"") for k, value, _ in found),
        "table": repr(site.table()).encode() + b"".join(row[2] for row in site.table()),
    }
    assert scan([email_of(name) for name in ("ada", "bob", "cy")], places) == []
