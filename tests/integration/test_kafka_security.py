"""A whole worker over a broker that authenticates and authorizes, with the least rights that the docs list."""

from __future__ import annotations

import gc
import re
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet
from confluent_kafka import Consumer, Producer

from tests.conftest import DatabaseFactory, running_authority
from tests.deployment import Deployment
from tests.program import said
from tests.secured import Right, SecuredKafka, TokenEndpoint, least_rights, running_secured
from worker.app import Worker
from worker.assembly.connections import kafka_connection
from worker.assembly.run import RunOptions
from worker.checks.start import verify
from worker.demo.customers import Population, customers, write
from worker.errors import ConfigError, SourceUnavailable
from worker.kafka.departure import Departures
from worker.kafka.groups import described
from worker.local.tls import CertificateAuthority
from worker.source.properties import client_id

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
RECORDS = 2_000
REGION = "eu-central-1"
WORKER_TOPICS = (f"worker.ledger.{REGION}", f"worker.canary.{REGION}")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """One broker for the module, with the worker's own topics as an administrator makes them."""
    with running_secured(tmp_path_factory.mktemp("secured")) as broker:
        for topic in WORKER_TOPICS:
            broker.kafka.create_topic(topic, config={"retention.ms": "-1"})
        yield broker


@pytest.fixture
def site(secured: SecuredKafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> Deployment:
    site = Deployment(
        kafka=secured.kafka, dsn=new_database(region=REGION), authority=authority, directory=tmp_path, region=REGION
    )
    site.prepare()
    return site


def rights(site: Deployment) -> list[Right]:
    """Return the documented rights with this deployment's names, one row for each of its groups."""
    names = {"source": site.source, "sink": site.sink, "region": site.region}
    groups = [f"topic-{site.name}", f"table-{site.name}"]
    return list(dict.fromkeys(row.filled(**names, group=group) for row in least_rights() for group in groups))


def produce(site: Deployment, count: int = RECORDS) -> int:
    client = {name: str(value) for name, value in site.kafka.client.items()}
    population = customers(Population({"DE": "de_DE"}, seed=5), count)
    return write(population, site.source, client, registry=site.name, progress=lambda: None)[0]


def command(site: Deployment, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real command to its end."""
    return said(site.environ, *arguments)


def as_scram_user(secured: SecuredKafka, site: Deployment, user: str, granted: list[Right]) -> Deployment:
    """Return the deployment with the worker as a new user that has these rights; its password comes from a file."""
    password = secrets.token_hex(16)
    secured.set_password(user, password)
    secured.allow(f"User:{user}", granted)
    file = site.directory / "kafka-password"
    file.write_text(password + "\n")
    return replace(site, connection=secured.scram(user), secrets={"KAFKA_PASSWORD_FILE": str(file)})


def run_with_poison(site: Deployment) -> None:
    """Run a worker over good records and one that does not decode, to the topic's present end."""
    schema_id = produce(site)
    producer = Producer({**site.kafka.client, "log_level": 0})
    producer.produce(site.source, b"not a record")
    assert producer.flush(30) == 0
    with Worker(site.load(schema_id), site.environ) as worker:
        worker.run(RunOptions(until_end=True))


def test_scram_with_the_documented_rights_alone(secured: SecuredKafka, site: Deployment) -> None:
    """The rights that the docs list suffice for the whole worker: records, dead letters, ledger, canary, offsets."""
    own = as_scram_user(secured, site, "worker-scram", rights(site))

    run_with_poison(own)

    assert len(own.read(own.sink)) == len(own.rows()) == RECORDS
    assert len(own.read(own.dead)) == 2


def rarely(row: Right) -> ParameterSet:
    """Keep one row for every day and the others for `make secure`."""
    marks = () if row.resource == "Group" else pytest.mark.heavy
    return pytest.param(row, marks=marks, id=str(row))


@pytest.mark.parametrize("missing", [rarely(row) for row in least_rights()])
def test_a_missing_right_is_named(secured: SecuredKafka, site: Deployment, tmp_path: Path, missing: Right) -> None:
    """Without any one of the documented rights the worker stops, and says which is missing on what."""
    names = {"source": site.source, "sink": site.sink, "region": site.region, "group": f"table-{site.name}"}
    gone = missing.filled(**names)
    own = as_scram_user(secured, site, f"without-{site.name}", [r for r in rights(site) if r != gone])

    # An authority of its own: only a keyset that nobody used before makes a canary.
    with running_authority(REGION, tmp_path / "authority") as fresh, pytest.raises(ConfigError) as refused:
        run_with_poison(replace(own, authority=fresh))

    assert re.search(
        rf"\b{gone.operation}\b.* on \S*(topic|group|transactional id) {re.escape(gone.name)}", str(refused.value)
    )


@pytest.mark.heavy
def test_dead_letters_are_listed_with_read_alone(secured: SecuredKafka, site: Deployment) -> None:
    """`worker dead list` needs Read on the dead topic and nothing else."""
    own = as_scram_user(secured, site, f"lister-{site.name}", [Right("Topic", site.dead, "literal", "Read")])

    done = command(own, "dead", "list", "--json", "--config", str(own.settings(1)))

    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.heavy
def test_a_client_certificate(secured: SecuredKafka, site: Deployment) -> None:
    """With TLS on both sides the certificate's subject is the identity; the cluster's id counts as authenticated."""
    secured.allow("User:CN=worker", rights(site))
    own = replace(site, connection=secured.mutual(secured.certificates.issue("worker")))
    schema_id = produce(own)

    with Worker(own.load(schema_id), own.environ) as worker:
        findings = {finding.name: finding for finding in verify(worker.graph)}
        worker.run(RunOptions(until_end=True))

    assert findings["topic: kafka cluster"].verdict == "ok"
    assert len(own.read(own.sink)) == len(own.rows()) == RECORDS


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["file", "command"])
def test_access_tokens(secured: SecuredKafka, site: Deployment, kind: str) -> None:
    """Every client of the worker gets its access token from the file or the command."""
    secured.allow("User:worker-oauth", rights(site))
    file = site.directory / "token"
    file.write_text(secured.token("worker-oauth") + "\n")
    supply = f'{{ token_file = "{file}" }}' if kind == "file" else f'{{ command = ["cat", "{file}"] }}'
    own = replace(site, connection=secured.oauth(supply))

    run_with_poison(own)

    assert len(own.read(own.sink)) == len(own.rows()) == RECORDS


@pytest.mark.heavy
def test_tokens_that_the_client_library_fetches_itself(secured: SecuredKafka, site: Deployment) -> None:
    """librdkafka's own OIDC client passes through [kafka] properties and secrets."""
    secured.allow("User:worker-oidc", rights(site))
    with TokenEndpoint(secured, "worker-oidc") as endpoint:
        connection = secured.oauth(
            "",
            **{
                "sasl.oauthbearer.method": "oidc",
                "sasl.oauthbearer.client.id": "worker",
                "sasl.oauthbearer.token.endpoint.url": endpoint.url,
            },
        )
        more = 'secrets = { "sasl.oauthbearer.client.secret" = "OIDC_SECRET" }'
        own = replace(site, connection=f"{connection}\n{more}", secrets={"OIDC_SECRET": "a-client-secret"})
        run_with_poison(own)
        asked = endpoint.asked

    assert asked
    assert len(own.read(own.sink)) == len(own.rows()) == RECORDS


# kafka-python leaves a connection that it refuses to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", ["scram", pytest.param("mutual", marks=pytest.mark.heavy), "oauth"])
def test_a_group_is_told_and_a_dead_member_removed_with_the_documented_rights(
    secured: SecuredKafka, site: Deployment, how: str
) -> None:
    """Whichever identity the worker has, Read on the group suffices; a stranger's CA does not get that far."""
    group, name = f"topic-{site.name}", client_id("dead--1")
    own = as_scram_user(secured, site, f"remover-{site.name}", rights(site))
    if how == "mutual":
        secured.allow(f"User:CN=m{site.name}", rights(site))
        own = replace(site, connection=secured.mutual(secured.certificates.issue(f"m{site.name}")))
    elif how == "oauth":
        secured.allow(f"User:o{site.name}", rights(site))
        token = site.directory / "token"
        token.write_text(secured.token(f"o{site.name}"))
        own = replace(site, connection=secured.oauth(f'{{ token_file = "{token}" }}'))
    connection = kafka_connection(own.load(1).kafka, own.environ)
    dead = Consumer({**site.kafka.client, "group.id": group, "client.id": name, "session.timeout.ms": 60_000})
    dead.subscribe([site.source])
    while not dead.assignment():
        dead.poll(0.1)

    seen = described(connection, group)
    departures = Departures(connection)
    found = departures.members([group], name)
    removed, left = departures.remove(found), departures.members([group], name)
    departures.close()
    dead.close()

    assert [{each.topic for each in member.partitions} for member in seen.members] == [{site.source}]
    assert [len(ids) for ids in found.values()] == [removed] == [1]
    assert left == {group: []}
    stranger = site.directory / "stranger"
    stranger.mkdir()
    with pytest.raises(SourceUnavailable):
        Departures({**connection, "ssl.ca.location": str(CertificateAuthority(stranger).path)})
    gc.collect()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("password", "the broker refuses these credentials"),
        pytest.param("ca", "the broker's certificate is not trusted", marks=pytest.mark.heavy),
        pytest.param("certificate", "the broker refuses our certificate", marks=pytest.mark.heavy),
        pytest.param("expired", "expired", marks=pytest.mark.heavy),
        pytest.param("foreign", "the broker refuses these credentials", marks=pytest.mark.heavy),
    ],
)
def test_a_refused_identity_is_a_matter_of_configuration(
    secured: SecuredKafka, site: Deployment, fault: str, says: str
) -> None:
    """A wrong password, an unknown CA on either side, an expired or foreign token end `check` with 2, saying which."""
    stranger_directory = site.directory / "stranger"
    stranger_directory.mkdir()
    stranger = CertificateAuthority(stranger_directory)
    wrong = secrets.token_hex(16)
    file = site.directory / "token"
    token = secured.token("worker", lifetime_s=-60 if fault == "expired" else 600)
    file.write_text(token if fault == "expired" else token[:-9] + "A" * 9)
    connection = {
        "password": secured.scram("worker"),
        "ca": secured.scram("worker", ca=stranger.path),
        "certificate": secured.mutual(stranger.issue("worker")),
        "expired": secured.oauth(f'{{ token_file = "{file}" }}'),
        "foreign": secured.oauth(f'{{ token_file = "{file}" }}'),
    }[fault]
    own = replace(site, connection=connection, secrets={"KAFKA_PASSWORD": wrong})

    done = command(own, "check", "--json", "--config", str(own.settings(1)))

    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stdout
    assert wrong not in done.stdout + done.stderr
    assert file.read_text() not in done.stdout + done.stderr
