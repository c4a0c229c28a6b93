"""A rekey that is killed again and again, while others write into its table, loses and leaves nothing."""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.conftest import DatabaseFactory
from tests.program import start, worker
from tests.rekeying import NEW, OLD, REGION, authority_of_keysets, declared, fill, holder, sealed
from worker.encryption import BatchEncryptor
from worker.sdk import Encryption, Table

pytestmark = [pytest.mark.integration, pytest.mark.fault]
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(2**31))
ROWS = int(os.environ.get("RECORDS") or 1_000_000)
KILLS = 20
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "acme.crm.Person",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "name", "type": "string", "encrypted": {"format": "leased", "bind": ["id"]}},
        {"name": "email", "type": ["null", "string"], "default": None, "encrypted": {"format": "leased"}},
    ],
}
STORED = declared(SCHEMA, OLD).plan.output_schema
CHUNK = 20_000


def person(n: int, version: int = 0) -> dict[str, object]:
    return {"id": n, "name": f"person {n} v{version}", "email": None if n % 7 == 6 else f"{n}.{version}@mail.example"}


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An authority whose client may use an old and a new keyset."""
    with authority_of_keysets(tmp_path_factory.mktemp("authority")) as running:
        yield dict(running.env)


def table_of(dsn: str, env: Mapping[str, str], count: int) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE people (id bigint PRIMARY KEY, name bytea NOT NULL, email bytea)")
    with holder(env) as own:
        for first in range(0, count, CHUNK):
            people = (person(n) for n in range(first, min(count, first + CHUNK)))
            fill(dsn, "people", declared(SCHEMA, OLD), people, own)


class Writer:
    """
    Goes on writing as a worker would: under the old keyset, and from `change_over` on under the new one.

    `expected` is what the table must hold: the versions of rows it has written, and None for those it removed.
    """

    def __init__(self, dsn: str, env: Mapping[str, str], count: int, seed: int, every_s: float = 0.02) -> None:
        self._dsn, self._env, self._random, self._count = dsn, env, random.Random(seed), count
        self._keyset, self._stop, self._every_s = OLD, threading.Event(), every_s
        self.expected: dict[int, int | None] = {}
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded)

    def change_over(self) -> None:
        self._keyset = NEW

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        assert self.error is None

    def _guarded(self) -> None:
        try:
            with holder(self._env) as own, psycopg.connect(self._dsn) as connection:
                encryptor, version = own.encryptor(), 0
                while not self._stop.wait(self._every_s):
                    version += 1
                    self._write(connection, encryptor, version)
        except BaseException as exc:
            self.error = exc

    def _write(self, connection: psycopg.Connection[Any], encryptor: BatchEncryptor, version: int) -> None:
        at = self._random.sample(range(self._count + self._count // 100), 20)
        rows = sealed(declared(SCHEMA, self._keyset), [person(n, version) for n in at[:18]], encryptor)
        merge = (
            "INSERT INTO people VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE SET name = excluded.name, "
            "email = excluded.email"
        )
        with connection.cursor() as cursor:
            cursor.executemany(merge, [row.values for row in rows])
            cursor.execute("DELETE FROM people WHERE id = ANY (%s)", [at[18:]])
        connection.commit()
        self.expected |= {**dict.fromkeys(at[:18], version), **dict.fromkeys(at[18:])}


def command(dsn: str, schema: Path, *more: str) -> list[str]:
    return ["rekey", "--table", "people", "--dsn", dsn, "--schema", str(schema), "--to-keyset", NEW, "--json", *more]


def refuse_any_other_state(dsn: str, env: Mapping[str, str], count: int, expected: Mapping[int, int | None]) -> None:
    """Assert that the table holds every row once, as it was last written, under the new keyset alone."""
    whole: dict[int, int | None] = {**dict.fromkeys(range(count), 0), **expected}
    left = {n: version for n, version in whole.items() if version is not None}
    with holder(env) as own:
        head = b"\x01\x00" + own.resolve(NEW).bytes
    table = Table(declared(SCHEMA, NEW).plan.output_schema)
    with (
        Encryption.from_env(environ=dict(env), reason="a test") as encryption,
        psycopg.connect(dsn, row_factory=dict_row) as connection,
        connection.cursor(name="all") as cursor,
    ):
        cursor.execute("SELECT * FROM people")
        while rows := cursor.fetchmany(CHUNK):
            assert all(row[n] is None or row[n].startswith(head) for row in rows for n in ("name", "email"))
            for row in encryption.decrypt_rows(rows, table=table):
                assert row == person(row["id"], left.pop(row["id"]) or 0)
    assert not left


def test_killed_before_and_after_commits_it_goes_on(
    new_database: DatabaseFactory, env: dict[str, str], tmp_path: Path
) -> None:
    """What is committed counts, what is not is done again; no page is done twice, none left out."""
    dsn, count, schema = new_database(region=REGION), 3_000, tmp_path / "stored.avsc"
    schema.write_text(STORED)
    table_of(dsn, env, count)

    with Writer(dsn, env, count, SEED, every_s=0.2) as writer:
        writer.change_over()
        for places in ("before_commit=kill@3", "after_commit=kill@2"):
            ended = worker({**env, "FAILPOINTS": places}, *command(dsn, schema, "--page", "100"))
            assert ended.returncode == -9, (SEED, ended.stderr[-2000:])
        with psycopg.connect(dsn) as connection:
            way = connection.execute("SELECT rewritten, after FROM worker.rekey").fetchone()
        finished = worker(env, *command(dsn, schema, "--page", "100"))
    assert way is not None
    assert 0 < way[0] <= 400
    assert finished.returncode == 0, (SEED, finished.stderr[-2000:])
    assert json.loads(finished.stdout)["complete"] is True
    assert worker(env, *command(dsn, schema, "--verify")).returncode == 0
    refuse_any_other_state(dsn, env, count, writer.expected)


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_a_million_rows_and_twenty_kills(new_database: DatabaseFactory, env: dict[str, str], tmp_path: Path) -> None:
    """Killed at moments drawn from a printed seed, others writing on: each row opens, once, under one keyset."""
    print(f"SEED={SEED} RECORDS={ROWS}", flush=True)
    chosen, dsn, schema = random.Random(SEED), new_database(region=REGION), tmp_path / "stored.avsc"
    schema.write_text(STORED)
    table_of(dsn, env, ROWS)

    began, whole = time.monotonic(), 0
    with Writer(dsn, env, ROWS, SEED) as writer:
        for kill in range(KILLS):
            if kill == KILLS // 2:
                writer.change_over()
            whole += killed(env, command(dsn, schema), chosen)
        print(f"{KILLS} kills within {time.monotonic() - began:.0f} s; {whole} runs had ended before", flush=True)
        finished = worker(env, *command(dsn, schema), timeout_s=1200)
        print(finished.stdout.decode(), flush=True)

    assert finished.returncode == 0, (SEED, finished.stderr[-2000:])
    told = worker(env, *command(dsn, schema, "--verify"), timeout_s=600)
    assert (told.returncode, json.loads(told.stdout)["others"]) == (0, 0), SEED
    refuse_any_other_state(dsn, env, ROWS, writer.expected)
    print(f"{len(writer.expected)} rows were written meanwhile; all are as they were last written", flush=True)


def killed(env: Mapping[str, str], args: list[str], chosen: random.Random) -> int:
    """Kill a run at a moment between its first page and its end; returns how many runs ended by themselves."""
    ended = 0
    while True:
        process = start(env, *args)
        try:
            process.wait(chosen.uniform(1.0, 4.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return ended
        assert process.returncode == 0, SEED
        ended += 1
