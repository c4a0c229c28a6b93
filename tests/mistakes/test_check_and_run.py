"""What time can't mend, `check` finds and `run` refuses, with one exit code; what it can mend, `run` waits for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.components import Kafka
from tests.conftest import DatabaseFactory, running_authority
from tests.deployment import Deployment
from tests.mistakes.program import Program
from tests.running import Running, until
from worker import config
from worker.app import Worker
from worker.assembly.graph import Graph
from worker.assembly.keys import key_stack
from worker.authority.remote import Remote

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
REGION = "eu-central-1"
SCHEMA_ID = 7
WAITS = 4


@dataclass(slots=True)
class Stand:
    """A deployment in which everything is right, and what may be got wrong: the file's text and the variables."""

    site: Deployment
    text: str
    environ: dict[str, str]
    admin: Remote

    def change(self, old: str, new: str) -> None:
        assert old in self.text
        self.text = self.text.replace(old, new, 1)

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.site.dsn, autocommit=True) as connection:
            connection.execute(statement)

    def seal_canary(self) -> None:
        """Make the keyset's canary, as the first run does."""
        with Graph(self.settings(), self.environ) as graph:
            key_stack(graph.context, graph.authority, graph.connection).canaries.check("default")

    def store_offset(self, offset: int) -> None:
        """Let the group of the topic's route have an offset."""
        group = {"group.id": f"topic-{self.site.name}", "enable.auto.commit": False}
        consumer = Consumer({**self.site.kafka.client, **group})
        consumer.commit(offsets=[TopicPartition(self.site.source, 0, offset)], asynchronous=False)
        consumer.close()

    def settings(self) -> config.Settings:
        path = self.site.directory / "worker.toml"
        path.write_text(self.text)
        return config.load(path, environ=self.environ)


@dataclass(frozen=True, slots=True)
class Break:
    """One thing that is wrong: how it comes to be, what is said of it, and the exit code; 4 is waited for."""

    name: str
    act: Callable[[Stand], None]
    code: int
    says: tuple[str, ...] = field(default=())


def _elsewhere(dsn: str, **parts: str) -> str:
    """Return a database's address with another part."""
    url = urlsplit(dsn)
    password = parts.get("password", url.password)
    port = parts.get("port", url.port)
    return f"postgresql://{url.username}:{password}@{url.hostname}:{port}/{parts.get('name', url.path[1:])}"


def _wrong_client_key(stand: Stand) -> None:
    stand.seal_canary()
    stand.environ["CS_CLIENT_KEY"] = stand.site.authority["CS_CLIENT_KEY_2"]


def _other_client(stand: Stand) -> None:
    stand.environ["CS_CLIENT_ACCESS_KEY"] = stand.site.authority["CS_CLIENT_ACCESS_KEY_2"]


def _deleted_client(stand: Stand) -> None:
    stand.admin("delete-client", {"client_id": stand.environ["CS_CLIENT_ID"], "cascade": False})


def _disabled_keyset(stand: Stand) -> None:
    stand.admin("disable-keyset", {"keyset_id": {"Name": "default"}})


def _keyset_of_others(stand: Stand) -> None:
    stand.admin("create-keyset", {"name": "billing", "description": "billing"})
    stand.change("[[routes]]", '[encryption]\nkeyset = "billing"\n[[routes]]')


def _unlisted_authority(stand: Stand) -> None:
    stand.change(f"allow_hosts = [{urlsplit(stand.environ['CS_CTS_HOST']).netloc!r}]", "allow_hosts = []")


def _lost_offset(stand: Stand) -> None:
    stand.store_offset(500)


def _cut(name: str, value: str) -> Callable[[Stand], None]:
    return lambda stand: stand.environ.__setitem__(name, value)


def _authority_away(stand: Stand) -> None:
    stand.environ |= {"CS_CTS_HOST": NOWHERE, "CS_ZEROKMS_HOST": NOWHERE}
    stand.change("allow_hosts = [", "allow_hosts = ['127.0.0.1:1', ")


def _lost_declaration(stand: Stand) -> None:
    path = stand.site.directory / "customer.avsc"
    schema = json.loads(path.read_text())
    path.write_text(json.dumps({**schema, "fields": [f for f in schema["fields"] if f["name"] != "email"]}))


def _more_partitions(stand: Stand) -> None:
    stand.site.kafka.add_partitions(stand.site.sink, 5)


def _registry(stand: Stand, url: str, allowed: str) -> None:
    local = stand.text[stand.text.index("local = ") : stand.text.index("\nrequired")]
    stand.change(local, f'registry = "{url}"\nallow_hosts = [{allowed!r}]')


def _poor(stand: Stand) -> None:
    role = f"poor_{stand.site.name}"
    stand.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'poor'")
    stand.execute(f"GRANT USAGE ON SCHEMA worker TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA worker TO {role}")
    url = urlsplit(stand.site.dsn)
    stand.environ["DATABASE_URL"] = f"postgresql://{role}:poor@{url.hostname}:{url.port}{url.path}"


NOWHERE = "http://127.0.0.1:1/"
BREAKS = [
    Break(
        "the source's topic is misspelt",
        lambda s: s.change(f'topics = ["{s.site.source}"]', f'topics = ["{s.site.source}x"]'),
        2,
        (r"topic customers-\S+x does not exist at 127", r"Did you mean customers-", "source.topics"),
    ),
    Break(
        "the sink's topic is misspelt",
        lambda s: s.change(f'topic = "{s.site.sink}"', f'topic = "{s.site.sink}x"'),
        2,
        (r"topic customers-\S+\.encx does not exist", "create = true"),
    ),
    Break("the sink has other partitions", _more_partitions, 2, (r"customers-\S+\.enc", "partitions")),
    Break(
        "a workspace of another region",
        _cut("CS_WORKSPACE_CRN", "crn:us-east-1.aws:ZVATKW3VHMFG27DY"),
        3,
        ("workspace region", "us-east-1", "set CS_WORKSPACE_CRN"),
    ),
    Break(
        "a registry of another region",
        lambda s: _registry(s, "https://registry.us-east-1.example.org", ""),
        3,
        ("registry host", "us-east-1", "allow_hosts"),
    ),
    Break(
        "a property that the client library refuses",
        lambda s: s.change('properties = { "', 'properties = { "linger.ms" = "soon", "'),
        2,
        ("Kafka property (linger|queue)",),
    ),
    Break(
        "another cluster's id",
        lambda s: s.change(s.site.kafka.cluster_id, "Xk9-another-cluster-00"),
        3,
        ("Xk9-another-cluster-00", "kafka cluster", r"\[kafka\] bootstrap", "cluster_id"),
    ),
    Break(
        "another client's key",
        _wrong_client_key,
        3,
        ("canary of keyset", "CS_CLIENT_KEY is not the key of the client that CS_CLIENT_ID names"),
    ),
    Break(
        "an access key that is none of the authority's",
        _cut("CS_CLIENT_ACCESS_KEY", "CSAKAAAABBBB.CCCCDDDDEEEEFFFF"),
        3,
        ("CTS at http://127", "401", "CS_CLIENT_ACCESS_KEY is no access key", "worker access-key create"),
    ),
    Break(
        "another client's access key",
        _other_client,
        3,
        ("bound to another client", "CS_CLIENT_ACCESS_KEY and CS_CLIENT_ID belong to two clients"),
    ),
    Break("a deleted client", _deleted_client, 3, ("Client not found|deleted", "worker (client|access-key) create")),
    Break("a disabled keyset", _disabled_keyset, 3, ("Keyset disabled|disabled", "worker keyset enable")),
    Break(
        "a keyset that there is not",
        lambda s: s.change("[[routes]]", '[encryption]\nkeyset = "biling"\n[[routes]]'),
        3,
        ("keyset biling", "worker keyset create"),
    ),
    Break("a keyset that was not granted", _keyset_of_others, 3, ("keyset billing", "worker keyset grant")),
    Break(
        "an authority that nobody listed",
        _unlisted_authority,
        3,
        ("region eu-central-1 has", "in allow_hosts"),
    ),
    Break(
        "a database that declares no region",
        lambda s: s.execute("DELETE FROM worker.residency"),
        2,
        (r"PostgreSQL \(DATABASE_URL\)", "declares no region", "worker residency declare --region eu-central-1"),
    ),
    Break(
        "a database of another region",
        lambda s: s.execute("UPDATE worker.residency SET region = 'us-east-1'"),
        3,
        ("declares region 'us-east-1'", "this worker is of 'eu-central-1'"),
    ),
    Break(
        "a database's wrong password",
        lambda s: s.environ.__setitem__("DATABASE_URL", _elsewhere(s.site.dsn, password="wr0ng-passw0rd")),
        2,
        (r"PostgreSQL \(DATABASE_URL\) at 127", "refuses the connection", "password"),
    ),
    Break(
        "a database that there is not",
        lambda s: s.environ.__setitem__("DATABASE_URL", _elsewhere(s.site.dsn, name="crmm")),
        2,
        ("database crmm", "DATABASE_URL"),
    ),
    Break(
        "no database's address",
        lambda s: s.environ.__delitem__("DATABASE_URL"),
        2,
        ("DATABASE_URL is not set", "_FILE"),
    ),
    Break(
        "no table",
        lambda s: s.change('table = "crm.customers", create = true', 'table = "crm.costumers"'),
        2,
        (r"crm\.costumers", "create"),
    ),
    Break(
        "a role without rights on the table's schema",
        _poor,
        2,
        ("permission denied for schema crm", "rights"),
    ),
    Break(
        "a column that does not take its field",
        lambda s: s.execute("ALTER TABLE crm.customers ALTER COLUMN email TYPE date USING NULL"),
        2,
        (r"crm\.customers", "email is date"),
    ),
    Break(
        "a column that is too many",
        lambda s: s.execute("ALTER TABLE crm.customers ADD COLUMN tier int NOT NULL DEFAULT NULL"),
        2,
        (r"crm\.customers", "tier"),
    ),
    Break(
        "a required field that no schema declares",
        _lost_declaration,
        2,
        (r"customer\.avsc", "acme.crm.Customer/email", "declare it"),
    ),
    Break("a position that is not in the log", _lost_offset, 3, (r"goes on at 500", "on_offset_loss")),
    Break(
        "the authority away",
        _authority_away,
        WAITS,
        ("CTS at http://127.0.0.1:1/", "CS_CTS_HOST", "does not answer"),
    ),
    Break(
        "the brokers away",
        lambda s: s.change(s.site.kafka.bootstrap, "127.0.0.1:1"),
        WAITS,
        (r"asking 127\.0\.0\.1:1 \(\[kafka\] bootstrap\)",),
    ),
    Break(
        "the database away",
        lambda s: s.environ.__setitem__("DATABASE_URL", _elsewhere(s.site.dsn, port="1")),
        WAITS,
        (r"PostgreSQL \(DATABASE_URL\) at 127\.0\.0\.1:1", "no connection"),
    ),
    Break(
        "the registry away",
        lambda s: _registry(s, "http://127.0.0.1:1", "127.0.0.1:1"),
        WAITS,
        (r"schema registry at 127\.0\.0\.1:1 \(\[schemas\] registry\)", "does not answer"),
    ),
]
EVERY_DAY = {
    "the source's topic is misspelt",
    "another client's key",
    "a deleted client",
    "a database that declares no region",
    "the authority away",
}


@pytest.fixture
def stand(kafka: Kafka, new_database: DatabaseFactory, tmp_path: Path) -> Iterator[Stand]:
    """A deployment with an authority of its own, since some breaks are made there."""
    with running_authority(REGION, tmp_path / "authority") as authority:
        site = Deployment(kafka=kafka, dsn=new_database(region=REGION), authority=authority, directory=tmp_path)
        site.prepare()
        text = site.settings(SCHEMA_ID).read_text()
        yield Stand(site, text, dict(site.environ), Remote(authority["CS_CTS_HOST"], authority["CS_ADMIN_ACCESS_KEY"]))


def ran(stand: Stand, *, refuses: bool = True) -> int:
    """
    Run until the worker has refused, or waits; returns the exit code, `WAITS` for the latter, 0 where it runs.

    A position that is lost shows only once its partition is read: with `refuses` a worker that runs is waited for.
    """
    try:
        worker = Worker(stand.settings(), stand.environ)
    except Exception as exc:
        return int(getattr(exc, "exit_code", -1))
    with worker, Running(worker) as run:
        until(
            lambda: run.error is not None or run.is_waiting() or (not refuses and run.is_ready()), "the worker decides"
        )
        if run.error is None:
            return WAITS if run.is_waiting() else 0
    return int(getattr(run.error, "exit_code", -1))


def often(broken: Break) -> object:
    marks = () if broken.name in EVERY_DAY else pytest.mark.heavy
    return pytest.param(broken, marks=marks, id=broken.name.replace(" ", "_"))


@pytest.mark.parametrize("broken", [often(broken) for broken in BREAKS])
def test_check_finds_what_run_refuses(broken: Break, stand: Stand, program: Program) -> None:
    """One thing is wrong: both end with the same code, and `check` says what, where and what to do."""
    broken.act(stand)
    path = stand.site.directory / "worker.toml"
    path.write_text(stand.text)

    checked = program(["check", "--config", str(path), "--json"], stand.environ)
    code = ran(stand)

    words = " ".join(checked.said.replace('\\"', '"').split())
    assert [pattern for pattern in broken.says if not re.search(pattern, words)] == [], words
    assert (checked.code, code) == (broken.code, broken.code), words
    assert stand.site.read(stand.site.sink) == []
    secrets = [stand.environ["CS_CLIENT_KEY"], "wr0ng-passw0rd", "CCCCDDDDEEEEFFFF"]
    assert [secret for secret in secrets if secret in words] == []


def test_where_nothing_is_wrong_both_go_on(stand: Stand, program: Program) -> None:
    """`check` ends with 0 and `run` runs."""
    path = stand.site.directory / "worker.toml"
    path.write_text(stand.text)

    checked = program(["check", "--config", str(path)], stand.environ)

    assert (checked.code, ran(stand, refuses=False)) == (0, 0), checked.said


def test_a_first_start_is_told_before(stand: Stand, program: Program) -> None:
    """While a keyset has no canary, nobody can tell a wrong client key: `check` warns until the first start made it."""
    path = stand.site.directory / "worker.toml"
    path.write_text(stand.text)

    before = program(["check", "--config", str(path), "--json"], stand.environ)
    stand.seal_canary()
    after = program(["check", "--config", str(path), "--json"], stand.environ)

    (warned,), (opened,) = ([f for f in json.loads(t.said) if "canary" in f["name"]] for t in (before, after))
    assert (before.code, warned["verdict"], opened["verdict"], opened["found"]) == (0, "warning", "ok", "opens")
    assert "CS_CLIENT_KEY was written together with CS_CLIENT_ID" in warned["remedy"]
