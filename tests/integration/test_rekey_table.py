"""`worker rekey --table`: rows under another keyset, in place, while others write."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.conftest import DatabaseFactory
from tests.rekeying import NEW, OLD, PERSON, REGION, TABLE, authority_of_keysets, declared, fill, holder, person, way
from worker.authority.dev import DevAuthority
from worker.errors import FatalError, Fenced, KeyAccessDenied, RecordError, RegionViolation, WorkerError
from worker.rekey.census import Census
from worker.rekey.keys import Way
from worker.rekey.table import TableDone, TableOptions
from worker.rekey.tables import RekeyedTable, TablePlace
from worker.rekey.wanted import Wanted
from worker.sdk import Encryption, Table
from worker.sink.postgres.rewrite import Key

pytestmark = pytest.mark.integration
COUNT = 120
EQL = {"phone": "eql"}


def place(dsn: str) -> TablePlace:
    return TablePlace(dsn=dsn, name="people", instance="test")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevAuthority]:
    """An authority whose first client may use an old and a new keyset."""
    with authority_of_keysets(tmp_path_factory.mktemp("authority")) as running:
        yield running


@pytest.fixture
def env(keys: DevAuthority) -> dict[str, str]:
    """The first client's credentials."""
    return dict(keys.env)


@pytest.fixture
def second(keys: DevAuthority) -> dict[str, str]:
    """The second client's credentials."""
    own = {name: keys.env[f"{name}_2"] for name in ("CS_CLIENT_ID", "CS_CLIENT_KEY", "CS_CLIENT_ACCESS_KEY")}
    return {**keys.env, **own}


@pytest.fixture
def people(new_database: DatabaseFactory, env: dict[str, str]) -> str:
    """A database with a table under the old keyset."""
    dsn = new_database(region=REGION)
    with psycopg.connect(dsn) as connection:
        connection.execute(TABLE)
    with holder(env) as own:
        fill(dsn, "people", declared(PERSON, OLD), map(person, range(COUNT)), own, EQL)
    return dsn


def rows(dsn: str) -> list[dict[str, object]]:
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        return connection.execute("SELECT * FROM people ORDER BY id").fetchall()


def opened(env: Mapping[str, str], dsn: str, schema: str) -> list[dict[str, object]]:
    with Encryption.from_env(environ=env, reason="a test") as encryption:
        found = encryption.decrypt_rows(rows(dsn), table=Table(schema))
    return [{name: value for name, value in row.items() if name != "touched"} for row in found]


def rekeyed(
    dsn: str,
    env: Mapping[str, str],
    wanted: Wanted,
    options: TableOptions | None = None,
    observe: Callable[[], None] = lambda: None,
) -> tuple[TableDone, Census, list[tuple[Key, WorkerError]]]:
    stored = declared(PERSON, OLD).plan.output_schema
    refused: list[tuple[Key, WorkerError]] = []
    with way(env) as own, RekeyedTable(place(dsn), stored, wanted, own) as table:
        chosen = options or TableOptions(page=17)
        done = table.rekey(chosen, threading.Event(), lambda *_: observe(), lambda *x: refused.append(x))
        return done, table.census(50), refused


def test_every_value_moves_and_says_what_it_said(people: str, env: dict[str, str]) -> None:
    """Context, bound values, search terms and envelopes within JSON come along; nothing is left under the old one."""
    done, census, _ = rekeyed(people, env, Wanted(keyset=NEW))

    assert (done.complete, done.way.rewritten, census.others) == (True, COUNT, 0)
    schema = declared(PERSON, NEW).plan.output_schema
    assert opened(env, people, schema) == [person(n) for n in range(COUNT)]
    with Encryption.from_env(environ=env, reason="a test") as encryption, psycopg.connect(people) as connection:
        term = encryption.query_term("x", "+49 30 7", keyset=NEW)
        assert connection.execute("SELECT id FROM people WHERE phone ->> 'hm' = %s", [term]).fetchall() == [(7,)]


def test_a_second_run_finds_nothing_to_do(people: str, env: dict[str, str]) -> None:
    """What is as wanted is left as it is, byte for byte."""
    rekeyed(people, env, Wanted(keyset=NEW))
    before = rows(people)

    done, _, _ = rekeyed(people, env, Wanted(keyset=NEW))

    assert (done.way.rewritten, done.complete) == (0, True)
    assert rows(people) == before


def test_another_format_and_descriptor(people: str, env: dict[str, str]) -> None:
    """Format and descriptor change as the keyset does."""
    schema = json.loads(json.dumps(PERSON).replace('"leased", "context"', '"record", "context"'))
    schema["fields"][3]["encrypted"]["descriptor"] = "people/note"
    made = declared(schema, OLD)

    done, census, _ = rekeyed(people, env, Wanted(schema=json.dumps(schema), keyset=OLD))

    assert (done.way.rewritten, census.others) == (COUNT, 0)
    assert opened(env, people, made.plan.output_schema) == [person(n) for n in range(COUNT)]


def test_what_does_not_open_stops_the_run_or_stays(people: str, env: dict[str, str]) -> None:
    """An altered and a moved value, and plaintext, are not sealed again: the run stops, or they stay as they are."""
    with psycopg.connect(people) as connection:
        connection.execute("UPDATE people SET email = overlay(email PLACING '\\xffff' FROM 150) WHERE id = 40")
        connection.execute("UPDATE people SET email = (SELECT note FROM people WHERE id = 2) WHERE id = 50")
        connection.execute("UPDATE people SET email = 'ada@example.org' WHERE id = 60")
        connection.execute("UPDATE people SET email = '\\x' WHERE id = 70")
    bad, before = {40, 50, 60, 70}, {row["id"]: row for row in rows(people)}

    with pytest.raises(FatalError, match="id = 40") as raised:
        rekeyed(people, env, Wanted(keyset=NEW))
    done, census, refused = rekeyed(people, env, Wanted(keyset=NEW), TableOptions(page=17, keep=True))

    assert "ada@example.org" not in str(raised.value)
    assert (done.complete, done.way.kept, done.way.rewritten) == (True, 4, COUNT - 4)
    assert {int(key[0]) for key, _ in refused} == bad
    assert all(isinstance(error, RecordError) for _, error in refused)
    after = {row["id"]: row for row in rows(people)}
    assert all(after[n] == before[n] for n in bad)
    assert census.others >= 4
    good = [row for row in rows(people) if row["id"] not in bad]
    with Encryption.from_env(environ=env, reason="a test") as encryption:
        found = encryption.decrypt_rows(good, table=Table(declared(PERSON, NEW).plan.output_schema))
    assert [row["email"] for row in found] == [person(n)["email"] for n in range(COUNT) if n not in bad]


def test_a_client_without_one_of_the_keysets_changes_nothing(
    people: str, keys: DevAuthority, second: dict[str, str]
) -> None:
    """Whoever may not seal is refused as a whole; whoever may not open opens nothing, and is asked about it."""
    before = rows(people)

    with pytest.raises(KeyAccessDenied):
        rekeyed(people, second, Wanted(keyset=NEW))
    keys.grant(second["CS_CLIENT_ID"], NEW)
    with pytest.raises(FatalError, match="id = 0"):
        rekeyed(people, second, Wanted(keyset=NEW))
    with pytest.raises(FatalError, match="right credentials"):
        rekeyed(people, second, Wanted(keyset=NEW), TableOptions(page=17, keep=True, most=10))

    assert rows(people) == before


def test_another_region_is_refused(people: str, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """A database of another region than the keys' is left alone, and so are two regions' credentials together."""
    with psycopg.connect(people) as connection:
        connection.execute("UPDATE worker.residency SET region = 'ap-southeast-2'")
    with pytest.raises(RegionViolation, match="ap-southeast-2"):
        rekeyed(people, env, Wanted(keyset=NEW))

    with (
        DevAuthority("ap-southeast-2", tmp_path_factory.mktemp("ap")) as other,
        holder(env) as own,
        holder(other.env) as foreign,
        pytest.raises(RegionViolation, match="ap-southeast-2"),
    ):
        Way(foreign, own)


def test_a_row_that_somebody_has_hold_of_is_waited_for_by_nobody(people: str, env: dict[str, str]) -> None:
    """The others are rewritten meanwhile; once it is let go, changed or not, its turn comes."""
    with psycopg.connect(people) as connection:
        connection.execute("UPDATE people SET touched = 1 WHERE id IN (3, 90)")

        def let_go() -> None:
            with psycopg.connect(people) as other:
                found = other.execute("SELECT raced, pass_rewritten FROM worker.rekey").fetchone()
            if found == (2, COUNT - 2):
                connection.commit()

        done, census, _ = rekeyed(people, env, Wanted(keyset=NEW), observe=let_go)

    assert (done.complete, done.way.rewritten, census.others) == (True, COUNT, 0)
    assert [row["touched"] for row in rows(people) if row["id"] in (3, 90)] == [1, 1]


def test_two_at_once_fence_each_other(people: str, env: dict[str, str]) -> None:
    """Whoever comes later takes over; the other one stops, and nothing is done twice."""
    taken: list[TableDone] = []

    def take_over() -> None:
        if not taken:
            taken.append(rekeyed(people, env, Wanted(keyset=NEW))[0])

    with pytest.raises(Fenced):
        rekeyed(people, env, Wanted(keyset=NEW), observe=take_over)

    assert taken[0].way.rewritten == COUNT
    assert opened(env, people, declared(PERSON, NEW).plan.output_schema) == [person(n) for n in range(COUNT)]


def test_a_row_whose_new_value_the_table_refuses_stays(people: str, env: dict[str, str]) -> None:
    """A condition that one new envelope breaks keeps that row alone from being rewritten, and is told."""
    with psycopg.connect(people) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN IF new.id = 41 THEN RAISE 'no' USING ERRCODE = '23514'; END IF; RETURN new; END $$"
        )
        connection.execute("CREATE TRIGGER refuse BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION refuse()")

    done, _, refused = rekeyed(people, env, Wanted(keyset=NEW), TableOptions(page=50, keep=True))

    assert (done.way.rewritten, done.way.kept, done.complete) == (COUNT - 1, 1, True)
    assert {key for key, _ in refused} == {("41",)}


def test_eql_own_type_and_its_terms_are_rewritten(people: str, env: dict[str, str]) -> None:
    """A column of EQL's composite type is read, compared and written by its payload."""
    with psycopg.connect(people) as connection:
        connection.execute("CREATE TYPE eql_v2_encrypted AS (data jsonb)")
        connection.execute(
            "ALTER TABLE people ALTER phone TYPE eql_v2_encrypted "
            "USING CASE WHEN phone IS NOT NULL THEN row(phone)::eql_v2_encrypted END"
        )

    done, census, _ = rekeyed(people, env, Wanted(keyset=NEW))

    assert (done.way.rewritten, census.others) == (COUNT, 0)
    with psycopg.connect(people) as connection:
        connection.execute("ALTER TABLE people ALTER phone TYPE jsonb USING (phone).data")
    assert opened(env, people, declared(PERSON, NEW).plan.output_schema) == [person(n) for n in range(COUNT)]


def test_keys_of_several_columns_over_partitions(people: str, env: dict[str, str]) -> None:
    """Pages go by the key's own order, whatever its types, and a row is found in the partition that it is in."""
    with psycopg.connect(people) as connection:
        connection.execute("ALTER TABLE people RENAME TO whole")
        connection.execute("CREATE TABLE people (LIKE whole) PARTITION BY LIST (tenant)")
        for n in range(3):
            connection.execute(f"CREATE TABLE people_{n} PARTITION OF people FOR VALUES IN ('tenant-{n}')")
        connection.execute("INSERT INTO people SELECT * FROM whole")
        connection.execute("ALTER TABLE people ADD PRIMARY KEY (tenant, id)")

    done, census, _ = rekeyed(people, env, Wanted(keyset=NEW))

    assert (done.complete, done.way.rewritten, census.others) == (True, COUNT, 0)
