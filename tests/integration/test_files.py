"""`worker encrypt-files`, as it is called: whole files, kills, torn tails, and who reads the result."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import avro.datafile
import avro.io
import fastavro
import pytest

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.leaks import scan
from tests.program import COMMAND, said
from worker.avro import compile_schema, open_schema
from worker.avro.container import ContainerReader, DatumSplitter
from worker.avro.declaration import DeclarationOptions
from worker.demo.customers import ENCRYPTED, SCHEMA, Population, customers
from worker.encryption import BatchDecryptor
from worker.encryption.anyform import parse
from worker.encryption.ondemand import OnDemandKeys
from worker.model import Audit
from worker.zerokms.factory import client_from_environment

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
KILLED = -9
OFTEN = "[delivery]\nmax_records = 100\nmax_latency_ms = 0\n"


@pytest.fixture
def site(kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> Deployment:
    made = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=authority, directory=tmp_path)
    made.prepare(partitions=1)
    return made


def people(count: int, seed: int = 5) -> list[dict[str, object]]:
    return list(customers(Population({"DE": "de_DE"}, seed=seed), count))


def write(path: Path, records: Iterable[Mapping[str, object]], *, codec: str = "null", schema: str = SCHEMA) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        fastavro.writer(file, json.loads(schema), records, codec=codec, sync_interval=4_000)
    return path


def run(
    site: Deployment, *arguments: str, failpoints: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return said({**site.environ, **(env or {}), "FAILPOINTS": failpoints}, *arguments)


def command_of(site: Deployment, *files: Path | str, changes: str = "") -> list[str]:
    settings = site.settings(1, changes=changes)
    options = ["--config", str(settings), "--route", "topic", "--out", str(site.directory / "out"), "--json"]
    return ["encrypt-files", *map(str, files), *options]


def encrypt(
    site: Deployment, *files: Path | str, failpoints: str = "", changes: str = ""
) -> subprocess.CompletedProcess[str]:
    return run(site, *command_of(site, *files, changes=changes), failpoints=failpoints)


def decrypted(site: Deployment, path: Path) -> list[dict[str, Any]]:
    ended = run(site, "decrypt", str(path))
    return [json.loads(line) for line in ended.stdout.splitlines()]


def as_json(record: Mapping[str, object]) -> dict[str, object]:
    return {name: value if isinstance(value, str | None) else str(value) for name, value in record.items()}


def envelopes(content: bytes) -> list[bytes]:
    rows: list[Any] = []
    try:
        for row in fastavro.reader(io.BytesIO(content)):
            rows.append(row)
    except EOFError:
        assert rows
    return [row[name] for row in rows for name in ENCRYPTED if row[name] is not None]


def keys_behind(content: bytes, start: int) -> set[bytes]:
    """Return the ivs of the keys that what lies behind `start` is encrypted under."""
    return {parse(envelope).request(()).iv for envelope in envelopes(content)[len(envelopes(content[:start])) :]}


def datums(path: Path) -> tuple[str, list[bytes]]:
    with path.open("rb") as file:
        reader = ContainerReader(file)
        splitter = DatumSplitter(reader.schema)
        return reader.schema, [datum for block in reader.blocks() for datum in splitter.split(block)[0]]


def restored(path: Path, authority: Mapping[str, str]) -> list[bytes | None]:
    """Decrypt a file's records to their original Avro bytes."""
    schema, sealed = datums(path)
    split = open_schema(schema).split(sealed, [None] * len(sealed))
    with (
        client_from_environment(authority, allow_hosts=("127.0.0.1", "localhost")) as client,
        OnDemandKeys(client, Audit("test", purpose="decrypt")) as keys,
    ):
        opened = BatchDecryptor(keys).decrypt(split.columns)
    return split.join([[value or b"" for value in column] for column in opened.values])


def test_files_come_back_byte_for_byte_and_others_read_them(
    site: Deployment, authority: dict[str, str], authority_ap: dict[str, str]
) -> None:
    """Every codec that is kept, a directory and a pattern; both libraries read the output, another region can't."""
    records = people(500)
    plain = write(site.directory / "in" / "2024" / "plain.avro", records)
    write(site.directory / "in" / "deflated.avro", records[:200], codec="deflate")
    write(site.directory / "more-1.avro", records[:50], codec="bzip2")

    ended = encrypt(site, site.directory / "in", str(site.directory / "more-*.avro"))

    told = json.loads(ended.stdout)
    assert ended.returncode == 0, ended.stderr
    assert (told["records"], told["encrypted"], told["dead"], told["complete"]) == (750, 750, 0, True)
    out = site.directory / "out"
    outputs = {str(p.relative_to(out)): p for p in out.rglob("*") if p.is_file()}
    assert sorted(outputs) == ["2024/plain.avro", "deflated.avro", "more-1.avro"]
    assert [line["value"] for line in decrypted(site, outputs["2024/plain.avro"])] == [as_json(r) for r in records]
    with outputs["deflated.avro"].open("rb") as file, outputs["2024/plain.avro"].open("rb") as other:
        reader = ContainerReader(file)
        assert reader.codec == "deflate"
        assert json.loads(reader.schema) == json.loads(compile_schema(SCHEMA, DeclarationOptions()).plan.output_schema)
        with avro.datafile.DataFileReader(other, avro.io.DatumReader()) as apache:
            rows: list[Any] = list(apache)
    assert [row["id"] for row in rows] == [r["id"] for r in records]
    assert restored(outputs["2024/plain.avro"], authority) == datums(plain)[1]
    stranger = {name: authority_ap[name] for name in site.environ if name.startswith("CS_")}
    foreign = run(site, "decrypt", str(outputs["more-1.avro"]), env=stranger)
    assert (foreign.returncode != 0, '"value"' in foreign.stdout) == (True, False)
    assert any(word in foreign.stdout + foreign.stderr for word in ("KeyAccessDenied", "key_refused"))
    secrets = [str(record[name]) for record in records[:50] for name in ENCRYPTED if record[name]]
    assert scan(secrets, {"output": outputs["2024/plain.avro"].read_bytes(), "log": ended.stderr.encode()}) == []


@pytest.mark.fault
@pytest.mark.parametrize(
    "place",
    [
        "after_write=kill@3",
        pytest.param("before_commit=kill@2", marks=pytest.mark.heavy),
        pytest.param("after_commit=kill@2", marks=pytest.mark.heavy),
    ],
)
def test_a_killed_run_is_continued_and_a_torn_tail_cut_off(site: Deployment, place: str) -> None:
    """Killed anywhere, with garbage behind what was durable: the next run ends with each record once, no key twice."""
    records = people(600)
    source = write(site.directory / "in.avro", records)

    killed = encrypt(site, source, failpoints=place, changes=OFTEN)
    partial = site.directory / "out" / "in.avro.partial"
    begun, durable = partial.read_bytes(), json.loads(partial.with_name("in.avro.progress").read_bytes())
    partial.write_bytes(begun + b"\x55" * 1_000)
    finished = encrypt(site, source, changes=OFTEN)
    again = encrypt(site, source, changes=OFTEN)

    out = site.directory / "out" / "in.avro"
    assert (killed.returncode, finished.returncode, again.returncode) == (KILLED, 0, 0), finished.stderr
    assert out.read_bytes()[: durable["written"]] == begun[: durable["written"]]
    assert 0 < durable["counts"]["encrypted"] < 600
    assert json.loads(finished.stdout)["records"] == 600
    assert [part["state"] for part in json.loads(again.stdout)["files"]] == ["skipped"]
    assert [p.name for p in out.parent.iterdir()] == ["in.avro"]
    assert [line["value"]["id"] for line in decrypted(site, out)] == [r["id"] for r in records]
    durable_bytes = durable["written"]
    assert keys_behind(begun, durable_bytes).isdisjoint(keys_behind(out.read_bytes(), durable_bytes))


def test_sigterm_ends_at_a_batch_and_the_next_run_goes_on(site: Deployment) -> None:
    """A stopped run exits with 0 and says that it is not complete; nothing of it is lost or done twice."""
    records = people(600)
    source = write(site.directory / "in.avro", records)
    command = command_of(site, source, changes=OFTEN)
    environ = {**site.environ, "PATH": os.environ["PATH"], "FAILPOINTS": "after_commit=sleep:300"}
    process = subprocess.Popen([*COMMAND, *command], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 90
    while not (site.directory / "out" / "in.avro.progress").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)

    process.terminate()
    said, log = process.communicate(timeout=60)

    finished = encrypt(site, source, changes=OFTEN)
    told = json.loads(said)
    assert (process.returncode, told["complete"], told["files"][0]["state"]) == (0, False, "interrupted"), log
    assert 0 < told["records"] < 600
    assert (finished.returncode, json.loads(finished.stdout)["records"]) == (0, 600)
    assert len(datums(site.directory / "out" / "in.avro")[1]) == 600


@pytest.mark.heavy
def test_memory_does_not_grow_with_the_file(site: Deployment) -> None:
    """Twenty times the records take the same memory, within what one batch more or less makes."""
    peaks = []
    for count in (5_000, 100_000):
        some = people(5_000)
        source = write(site.directory / f"{count}.avro", (some[i % 5_000] for i in range(count)))
        command = command_of(site, source, changes="[delivery]\nmax_records = 2000\n")
        environ = {**site.environ, "PATH": os.environ["PATH"]}
        process = subprocess.Popen([*COMMAND, *command], env=environ, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        peaks.append(usage.ru_maxrss / 1024)

    print(f"peak memory in MiB: {peaks}")
    assert peaks[1] - peaks[0] < 64


def test_another_input_of_the_same_name_is_refused(site: Deployment) -> None:
    """What was begun from one file is not continued with another, nor is a finished file overwritten."""
    source = write(site.directory / "in.avro", people(1_000))
    assert encrypt(site, source, failpoints="after_commit=kill@1", changes=OFTEN).returncode == KILLED
    write(source, people(1_000, seed=6))

    other = encrypt(site, source, changes=OFTEN)

    assert (other.returncode, "another input" in other.stderr) == (2, True), other.stderr


def test_records_that_fail_are_sealed_beside_the_file(site: Deployment) -> None:
    """A datum that does not decode takes what follows in its block along into a letter, whole and sealed."""
    source = write(site.directory / "in.avro", people(300))
    with source.open("rb") as file:
        reader = ContainerReader(file)
        blocks = list(reader.blocks())
        data, _ = DatumSplitter(reader.schema).split(blocks[1])
    content = bytearray(source.read_bytes())
    # The second datum's first length becomes a negative one.
    start = blocks[1].end - 16 - len(blocks[1].data) + len(data[0])
    content[start] = 1
    source.write_bytes(content)

    ended = encrypt(site, source)

    told, out = json.loads(ended.stdout), site.directory / "out" / "in.avro"
    lost = blocks[1].count - 1
    assert (ended.returncode, told["dead"], told["encrypted"]) == (0, lost, 300 - lost), ended.stderr
    assert len(decrypted(site, out)) == 300 - lost
    settings, dead = str(site.directory / "worker.toml"), str(out.with_name("in.avro.dead"))
    listed = json.loads(run(site, "dead", "list", "--config", settings, "--file", dead, "--json").stdout)
    assert [(row["letter"], row["stage"], row["code"]) for row in listed] == [
        ("in.avro/1/1", "decode", "decode_failed")
    ]
    shown = json.loads(run(site, "dead", "show", "in.avro/1/1", "--config", settings, "--file", dead).stdout)
    assert base64.b64decode(shown["value"]) == bytes(content)[start : blocks[1].end - 16]


def test_more_failures_than_allowed_stop_the_run(site: Deployment) -> None:
    """The limits of the stream hold for files too: nothing is drained into the dead letters."""
    schema = json.loads(SCHEMA)
    email = next(field for field in schema["fields"] if field["name"] == "email")
    email["encrypted"] = {"context": ["tenant"]}
    schema["fields"].append({"name": "tenant", "type": ["null", "string"], "default": None})
    source = write(site.directory / "in.avro", people(50), schema=json.dumps(schema))

    ended = encrypt(site, source, changes="[dead_letters]\nmax_per_minute = 10\n")

    assert (ended.returncode, "max_per_minute" in ended.stderr) == (3, True), ended.stderr
    assert not (site.directory / "out" / "in.avro").exists()


def test_a_file_that_lost_its_declarations_is_refused(site: Deployment) -> None:
    """A program that drops properties it does not know must not make personal data pass in the clear."""
    bare = json.loads(SCHEMA)
    for field in bare["fields"]:
        field.pop("encrypted", None)
    source = write(site.directory / "in.avro", people(10), schema=json.dumps(bare))

    ended = encrypt(site, source)

    assert ended.returncode == 2
    assert "acme.crm.Customer/" in ended.stderr
    assert not (site.directory / "out" / "in.avro").exists()


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [(b"id,name\n1,Ann\n", 2, "not an Avro object container file"), (None, 3, "ends inside the block")],
)
def test_what_is_no_whole_container_file_is_refused(
    site: Deployment, content: bytes | None, code: int, word: str
) -> None:
    """Another format ends with 2, a file cut short with 3; neither leaves an output in place."""
    source = write(site.directory / "in.avro", people(50))
    source.write_bytes(source.read_bytes()[:-20] if content is None else content)

    ended = encrypt(site, source)

    assert (ended.returncode, word in ended.stderr) == (code, True), ended.stderr
    assert not (site.directory / "out" / "in.avro").exists()
