"""`worker rekey` of a topic into another one and of files in place, and `worker export`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import fastavro
import psycopg
import pytest
from confluent_kafka import Message, Producer

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment, headers
from tests.program import worker
from tests.rekeying import NEW, OLD, REGION, authority_of_keysets
from worker.authority.dev import DevAuthority
from worker.demo.customers import SCHEMA

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(300)]
COUNT = 300


@pytest.fixture(scope="module")
def authority_of_two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevAuthority]:
    """An authority whose client may use an old and a new keyset."""
    with authority_of_keysets(tmp_path_factory.mktemp("authority")) as running:
        yield running


class Stand:
    """A region whose worker has encrypted customers into a topic and into files."""

    def __init__(self, site: Deployment) -> None:
        self.site = site
        site.prepare()
        schema_id, self.written = site.write_customers(5, COUNT)
        self.config = site.settings(schema_id, changes=f'[encryption]\nkeyset = "{OLD}"')
        done = worker(site.environ, "run", "--config", str(self.config), "--until-end")
        assert done.returncode == 0, done.stderr[-2000:]
        self.new = f"{site.sink}.2"

    def worker(self, *args: str, **more: str) -> tuple[int, str, str]:
        done = worker({**self.site.environ, **more}, *args)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def rekey(self, *args: str, **more: str) -> tuple[int, str, str]:
        common = ("--config", str(self.config), "--to-keyset", NEW, "--json")
        return self.worker("rekey", "--topic", self.site.sink, "--into", self.new, *common, *args, **more)

    def opened(self, topic: str) -> dict[str, dict[str, object]]:
        code, out, err = self.worker("decrypt", "--topic", topic, "--config", str(self.config))
        assert code == 0, err
        lines = [json.loads(line) for line in out.splitlines()]
        return {line["value"]["id"]: line["value"] for line in lines}


@pytest.fixture
def stand(kafka: Kafka, new_database: DatabaseFactory, authority_of_two: DevAuthority, tmp_path: Path) -> Stand:
    """Records encrypted under the old keyset."""
    dsn = new_database(region=REGION)
    return Stand(Deployment(kafka=kafka, dsn=dsn, authority=authority_of_two.env, directory=tmp_path))


def said(message: Message) -> tuple[object, ...]:
    return (message.partition(), message.key(), message.timestamp(), headers(message))


def test_a_topic_goes_over_exactly_once_and_says_where_readers_go_on(stand: Stand, tmp_path: Path) -> None:
    """Killed in the middle it goes on; key, time, headers and order stay, and the hand-over's offsets are exact."""
    site, file = stand.site, tmp_path / "handover.json"
    small = ("--set", "delivery.max_records=50")
    code, _, err = stand.rekey(*small, FAILPOINTS="after_sink_commit=kill@2")
    assert code == -9, err

    code, out, err = stand.rekey(*small, "--handover", str(file))

    assert code == 0, err
    old, new = site.messages(site.sink), site.messages(stand.new)
    for partition in range(2):
        pair = [[said(m) for m in found if m.partition() == partition] for found in (old, new)]
        assert pair[0] == pair[1]
    assert stand.opened(stand.new) == stand.opened(site.sink)
    handover = json.loads(file.read_text())
    assert json.loads(out)["partitions"] == handover["partitions"]
    for place in handover["partitions"]:
        for found, name in ((old, "source_offset"), (new, "target_offset")):
            offsets = [m.offset() or 0 for m in found if m.partition() == place["partition"]]
            assert place[name] > max(offsets, default=-1)
    assert stand.worker("rekey", "--topic", stand.new, *_verify(stand))[0] == 0
    assert stand.worker("rekey", "--topic", site.sink, *_verify(stand))[0] == 1


def test_a_record_that_does_not_open_ends_the_new_topic_before_it_or_is_taken_along(stand: Stand) -> None:
    """Nothing is dropped: the run stops, or the record stands in the new topic as it was, and is told."""
    site = stand.site
    [broken, *_] = site.messages(site.sink)
    value = bytearray(broken.value() or b"")
    value[-1] ^= 1
    _produce(site, broken.key(), bytes(value))

    stopped, _, err = stand.rekey()
    kept, out, warned = stand.rekey("--on-error", "keep")

    assert stopped == 3
    assert f"{site.sink}[" in err
    assert (kept, json.loads(out)["kept"]) == (1, 1)
    assert "decryption_failed" in warned
    assert len(site.messages(stand.new)) == len(site.messages(site.sink)) == COUNT + 1
    assert bytes(value) in [m.value() for m in site.messages(stand.new)]


def test_pseudonyms_are_not_taken_along_unasked(stand: Stand) -> None:
    """Record keys that come from the old keyset's index key are a reason to stop, and may be kept in words."""
    stand.config.write_text(stand.config.read_text().replace('name = "topic"\n', 'name = "topic"\nkey = "pseudonym"\n'))

    refused, _, err = stand.rekey()

    assert refused == 2
    assert "--pseudonyms keep" in err
    assert stand.rekey("--pseudonyms", "keep")[0] == 0


def test_files_in_place_and_out(stand: Stand, authority_of_two: DevAuthority, tmp_path: Path) -> None:
    """A file is encrypted anew beside its place and moved there; an export has the original values and schema."""
    folder = tmp_path / "files"
    folder.mkdir()
    plain, sealed = folder / "customers.avro", tmp_path / "sealed" / "customers.avro"
    records = [dict(value) for value in list(stand.opened(stand.site.sink).values())[:50]]
    for record in records:
        record["since"] = 15_000
    unbound = json.loads(SCHEMA.replace(', "bind": ["id"]', ""))
    with plain.open("wb") as out:
        fastavro.writer(out, fastavro.parse_schema(unbound), records)
    config = str(stand.config)
    code, _, err = stand.worker(
        "encrypt-files", str(plain), "--config", config, "--route", "table", "--out", str(sealed.parent)
    )
    assert code == 0, err
    common = (str(sealed), "--config", config, "--to-keyset", NEW, "--json")

    assert stand.worker("rekey", *common, FAILPOINTS="before_commit=kill@1")[0] == -9
    code, said_, err = stand.worker("rekey", *common)
    again = json.loads(stand.worker("rekey", *common)[1])

    assert (code, json.loads(said_)["complete"]) == (0, True), err
    assert [part["state"] for part in again["fields"]] == ["skipped"]
    assert stand.worker("rekey", *common, "--verify")[0] == 0
    assert sorted(path.name for path in sealed.parent.iterdir()) == ["customers.avro"]
    target = tmp_path / "leaving.avro"
    code, _, err = stand.worker(
        "export", str(sealed), "--config", config, "--reason", "leaving 4711", "--out", str(target)
    )
    assert code == 0, err
    with plain.open("rb") as before, target.open("rb") as after:
        assert list(fastavro.reader(after)) == list(fastavro.reader(before))
    assert target.stat().st_mode & 0o077 == 0
    assert "leaving 4711" in authority_of_two.audit_path.read_text()


def test_an_export_stays_in_its_region_unless_told(stand: Stand, new_database: DatabaseFactory, tmp_path: Path) -> None:
    """Plaintext goes into a database of the data's region; into another, or an undeclared one, only in words."""
    dsn = {name: new_database(region=name or None) for name in ("ap-southeast-2", "", REGION)}
    common = ("export", "--topic", stand.site.sink, "--config", str(stand.config), "--reason", "leaving", "--to-table")

    foreign, _, err = stand.worker(*common, "out.customers", "--to-dsn", dsn["ap-southeast-2"])
    undeclared, _, _ = stand.worker(*common, "out.customers", "--to-dsn", dsn[""])
    wrong, _, _ = stand.worker(*common, "c", "--to-dsn", dsn[""], "--leave-region", "ap-southeast-2")
    told, _, said_ = stand.worker(*common, "c", "--to-dsn", dsn["ap-southeast-2"], "--leave-region", REGION)
    own, _, _ = stand.worker(*common, "out.customers", "--to-dsn", dsn[REGION])
    full, _, _ = stand.worker(*common, "out.customers", "--to-dsn", dsn[REGION])

    assert (foreign, undeclared, wrong, told, own, full) == (3, 2, 2, 0, 0, 2), said_
    assert f"--leave-region {REGION}" in err
    with psycopg.connect(dsn[REGION]) as connection:
        found = connection.execute("SELECT id, email, since FROM out.customers ORDER BY id").fetchall()
    expected = stand.opened(stand.site.sink)
    assert [(i, e, str(d)) for i, e, d in found] == [(n, v["email"], v["since"]) for n, v in sorted(expected.items())]


def _verify(stand: Stand) -> tuple[str, ...]:
    return ("--config", str(stand.config), "--to-keyset", NEW, "--verify", "--json")


def _produce(site: Deployment, key: bytes | str | None, value: bytes) -> None:
    producer = Producer(dict(site.kafka.client))
    producer.produce(site.sink, value, key)
    assert producer.flush(30) == 0
