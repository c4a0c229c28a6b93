"""The PostgreSQL sink against a real server."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest

from tests.conftest import DatabaseFactory
from tests.fakes.records import output_of
from tests.pooler import Pooler
from worker.errors import ConfigError, OffsetLost, PositionsChanged, RegionViolation, SinkRejected, SinkUnavailable
from worker.metrics import Metrics
from worker.model import Position, SinkRecord, TopicPartition
from worker.model.rows import ColumnType, Row, RowType
from worker.sink.base import LedgerRow, OffsetRange, SinkRoute
from worker.sink.ledger import GENESIS, hash_fields
from worker.sink.postgres import PostgresSink, PostgresSinkOptions

pytestmark = pytest.mark.integration

_TP = TopicPartition("customers", 0)
_COLUMNS = (
    ColumnType("id", "long"),
    ColumnType("name", "string", nullable=True),
    ColumnType("email", "bytes", encrypted="record", nullable=True),
)
_ROWS = RowType(_COLUMNS)
_KEYS = RowType(_COLUMNS[:1])
_STAMP = 1_700_000_000_123
_ENVELOPE = b"\x95" + bytes(60)
_SESSIONS = "FROM pg_stat_activity WHERE application_name LIKE 'worker %' AND datname = current_database()"


class Sinks:
    """Makes sinks over one database and closes them."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._made: list[PostgresSink] = []

    def __call__(
        self,
        *,
        region: str = "eu-central-1",
        cluster: str = "c1",
        topic_id: str = "t1",
        instance: str = "w1",
        **options: object,
    ) -> PostgresSink:
        sink = PostgresSink(
            PostgresSinkOptions.model_validate({"table": "crm.customers", "timeout_s": 20, **options}),
            SinkRoute("customers-table", region, group="g", instance=instance, cluster_id=cluster),
            dsn=self.dsn,
            topic_ids=lambda topic: topic_id,
            metrics=Metrics("eu-central-1"),
        )
        self._made.append(sink)
        return sink

    def ready(self, **options: Any) -> PostgresSink:
        """Return a sink whose tables exist and whose partition is claimed at 0."""
        sink = self(**options)
        sink.ensure_schema()
        sink.tables.create_table(_ROWS, topic="customers")
        sink.check()
        sink.tables.check_schema(_ROWS, topic="customers")
        sink.positions({_TP: 0})
        return sink

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def end_sessions(self) -> None:
        self.query(f"SELECT pg_terminate_backend(pid) {_SESSIONS}")

    def close(self) -> None:
        for sink in self._made:
            sink.close()


@pytest.fixture
def sinks(new_database: DatabaseFactory) -> Iterator[Sinks]:
    made = Sinks(new_database(region="eu-central-1"))
    yield made
    made.close()


_UPSERT = {"mode": "upsert", "key": ["id"]}


def _record(offset: int, number: int, *, name: object = "n", email: object = _ENVELOPE) -> SinkRecord:
    row = Row(_ROWS, (number, name, email))
    return SinkRecord(Position("customers", 0, offset), b"k", b"v", (), 1, _STAMP, row, Row(_KEYS, (number,)))


def _tombstone(offset: int, number: int) -> SinkRecord:
    return SinkRecord(Position("customers", 0, offset), b"k", None, (), 1, _STAMP, None, Row(_KEYS, (number,)))


def _deliver(sink: PostgresSink, records: Sequence[SinkRecord], read: int, ledger: Sequence[LedgerRow] = ()) -> None:
    sink.begin()
    sink.write(output_of(records))
    sink.flush()
    sink.commit({_TP: OffsetRange(read, read + len(records))}, ledger, None)


def test_append_writes_rows_with_their_coordinates(sinks: Sinks) -> None:
    """A row holds the record's fields, its coordinates and its timestamp to the millisecond."""
    sink = sinks.ready()

    _deliver(sink, [_record(0, 7), _tombstone(1, 7)], 0)

    found = sinks.query(
        "SELECT id, name, email, _topic, _partition, _offset, extract(epoch FROM _timestamp) * 1000"
        " FROM crm.customers ORDER BY _offset"
    )
    assert found[0] == (7, "n", _ENVELOPE, "customers", 0, 0, 1_700_000_000_123)
    assert found[1][:6] == (None, None, None, "customers", 0, 1)


def test_upsert_keeps_the_last_record_of_a_key(sinks: Sinks) -> None:
    """Within and across batches the last record wins, and a tombstone deletes."""
    sink = sinks.ready(**_UPSERT)

    _deliver(sink, [_record(0, 1, name="a"), _record(1, 2, name="b"), _record(2, 1, name="c"), _record(3, 3)], 0)
    _deliver(sink, [_tombstone(4, 2), _tombstone(5, 3), _record(6, 3, name="again"), _record(7, 1, name="d")], 4)

    assert sinks.query("SELECT id, name FROM crm.customers ORDER BY id") == [(1, "d"), (3, "again")]


def test_upsert_without_a_decodable_key_is_refused(sinks: Sinks) -> None:
    """A tombstone whose key does not decode to the key columns is a wrong configuration."""
    sink = sinks.ready(**_UPSERT)
    stone = _tombstone(0, 1)
    stone.key_row = None
    stone.key = b"\0\0\0\0\x01\x02"
    sink.begin()
    sink.write(output_of([stone]))

    with pytest.raises(ConfigError, match="decode"):
        sink.flush()


def test_a_plain_text_key_deletes_its_row(sinks: Sinks) -> None:
    """A tombstone whose key is the key column's value as text needs no schema."""
    sink = sinks.ready(**_UPSERT)
    stone = _tombstone(1, 5)
    stone.key_row, stone.key = None, b"5"

    _deliver(sink, [_record(0, 5)], 0)
    _deliver(sink, [stone], 1)

    assert sinks.query("SELECT * FROM crm.customers") == []


def test_an_eql_column_holds_the_payload(sinks: Sinks) -> None:
    """An `eql` column is jsonb in the form that EQL reads."""
    sink = sinks.ready(columns={"email": "eql"})

    _deliver(sink, [_record(0, 1)], 0)

    found = sinks.query(
        "SELECT email->>'v', email->>'k', email->'i'->>'c', jsonb_typeof(email->'c') FROM crm.customers"
    )
    assert found == [("2", "ct", "email", "string")]


@pytest.mark.parametrize("options", [{}, _UPSERT])
def test_rows_and_position_stand_or_fall_together(sinks: Sinks, options: dict[str, Any]) -> None:
    """An aborted batch leaves neither rows nor position."""
    sink = sinks.ready(**options)
    sink.begin()
    sink.write(output_of([_record(0, 1)]))
    sink.flush()

    sink.abort()

    assert sinks.query("SELECT * FROM crm.customers") == []
    assert sink.positions({_TP: 99}).found == {_TP: 0}


def test_another_owners_batch_is_not_doubled(sinks: Sinks) -> None:
    """When another owner moved the position, the swap fails, the rows go, and the position is read again."""
    zombie = sinks.ready()
    owner = sinks(instance="w2")
    assert owner.positions({_TP: 50}).found == {_TP: 0}
    _deliver(owner, [_record(0, 1), _record(1, 2)], 0)
    zombie.begin()
    zombie.write(output_of([_record(0, 1)]))

    with pytest.raises(PositionsChanged, match="another owner"):
        zombie.flush()

    zombie.abort()
    assert zombie.positions({_TP: 0}).found == {_TP: 2}
    assert sinks.query("SELECT count(*) FROM crm.customers") == [(2,)]


def test_a_late_commit_is_not_made(sinks: Sinks) -> None:
    """Without a unique index too: the swap fails when the position has moved, and the rows go with it."""
    zombie = sinks.ready(ledger=False)
    sinks.query("ALTER TABLE crm.customers DROP CONSTRAINT customers_pkey")
    zombie.begin()
    zombie.write(output_of([_record(0, 1)]))
    zombie.flush()
    owner = sinks(instance="w2")
    owner.positions({_TP: 0})
    _deliver(owner, [_record(0, 1), _record(1, 2)], 0)

    with pytest.raises(PositionsChanged, match=r"1 of 1 positions"):
        zombie.commit({_TP: OffsetRange(0, 1)}, (), None)

    zombie.abort()
    assert sinks.query("SELECT count(*) FROM crm.customers") == [(2,)]


def test_a_recreated_topic_stops_the_worker(sinks: Sinks) -> None:
    """A stored position of another topic id is never used."""
    sinks.ready()

    with pytest.raises(OffsetLost, match=r"t1.*t2"):
        sinks(topic_id="t2").positions({_TP: 0})


def test_another_cluster_stops_the_worker(sinks: Sinks) -> None:
    """Nor one of another cluster."""
    sinks.ready()

    with pytest.raises(RegionViolation, match=r"c1.*c2"):
        sinks(cluster="c2").positions({_TP: 0})


def test_another_regions_database_is_refused(sinks: Sinks) -> None:
    """The database's declared region must be the worker's; the message names both."""
    with pytest.raises(RegionViolation, match=r"eu-central-1.*ap-southeast-2"):
        sinks(region="ap-southeast-2").check()


def test_a_database_without_a_region_is_refused(database: str) -> None:
    """No declaration is no permission."""
    other = Sinks(database)

    with pytest.raises(ConfigError, match=r"declares no region.*worker residency declare"):
        other().check()

    other.close()


def test_the_region_is_read_again_at_every_connection(sinks: Sinks) -> None:
    """A declaration that changed while the connection was lost stops the worker."""
    sink = sinks.ready()
    sinks.query("UPDATE worker.residency SET region = 'us-east-1'")
    sinks.end_sessions()
    sink.begin()
    sink.write(output_of([_record(0, 1)]))
    with pytest.raises(SinkUnavailable):
        sink.flush()
    sink.abort()
    sink.write(output_of([_record(0, 1)]))

    with pytest.raises(RegionViolation, match="us-east-1"):
        sink.flush()


def test_a_lost_connection_is_made_anew(sinks: Sinks) -> None:
    """After a lost connection the same batch is written once."""
    sink = sinks.ready()
    sink.begin()
    sink.write(output_of([_record(0, 1)]))
    sink.flush()
    sinks.end_sessions()
    with pytest.raises(SinkUnavailable):
        sink.commit({_TP: OffsetRange(0, 1)}, (), None)
    sink.abort()

    _deliver(sink, [_record(0, 1)], sink.positions({_TP: 0}).found[_TP])

    assert sinks.query("SELECT count(*) FROM crm.customers") == [(1,)]


@pytest.mark.parametrize("name", [5, "nul\0"])
def test_a_value_that_does_not_fit_names_its_record(sinks: Sinks, name: object) -> None:
    """A value that the column's type can't hold is refused with its position, without its content."""
    sink = sinks.ready()
    sink.begin()
    sink.write(output_of([_record(0, 1), _record(1, 2, name=name), _record(2, 3)]))

    with pytest.raises(SinkRejected) as caught:
        sink.flush()

    sink.abort()
    assert caught.value.positions == (Position("customers", 0, 1),)


def test_a_row_the_table_refuses_names_its_record(sinks: Sinks) -> None:
    """A broken constraint is traced to its record, and the row is not in the message."""
    sink = sinks.ready()
    sinks.query("ALTER TABLE crm.customers ADD CONSTRAINT short CHECK (length(name) < 9)")
    sink.begin()
    sink.write(output_of([_record(0, 1), _record(1, 2), _record(2, 3, name="far too long")]))

    with pytest.raises(SinkRejected, match="short") as caught:
        sink.flush()

    sink.abort()
    assert caught.value.positions == (Position("customers", 0, 2),)
    assert "far too" not in str(caught.value)


def test_a_constraint_that_upsert_breaks_is_traced_to_its_record(sinks: Sinks) -> None:
    """Where the server can't tell the record it is found by trying."""
    sink = sinks.ready(**_UPSERT)
    sinks.query("ALTER TABLE crm.customers ADD CONSTRAINT short CHECK (length(name) < 9)")
    sink.begin()
    sink.write(output_of([_record(0, 1), _record(1, 2, name="far too long")]))

    with pytest.raises(SinkRejected) as caught:
        sink.flush()

    sink.abort()
    assert caught.value.positions == (Position("customers", 0, 1),)


@pytest.mark.parametrize("options", [{}, _UPSERT], ids=["append", "upsert"])
def test_a_row_that_no_page_holds_is_named_and_no_other(sinks: Sinks, options: dict[str, object]) -> None:
    """The server puts rows into the table together, and speaks of the line that it has read last by then."""
    sink = sinks.ready(**options)
    sinks.query("ALTER TABLE crm.customers ALTER name SET STORAGE PLAIN")
    sink.begin()
    sink.write(output_of([_record(n, n, name=os.urandom(20_000).hex() if n in (0, 7) else "n") for n in range(9)]))

    with pytest.raises(SinkRejected) as caught:
        sink.flush()

    sink.abort()
    assert [position.offset for position in caught.value.positions] == [0, 7]


@pytest.mark.parametrize("options", [{}, _UPSERT], ids=["append", "upsert"])
def test_all_rows_that_a_table_refuses_are_named_at_once(sinks: Sinks, options: dict[str, object]) -> None:
    """Dozens among hundreds: whoever calls encrypts the batch once more, not once a row; nothing is written."""
    sink = sinks.ready(**options)
    sinks.query("ALTER TABLE crm.customers ADD CONSTRAINT short CHECK (length(name) < 9)")
    bad = {n for n in range(300) if n % 9 == 1 or n > 290}
    records = [_record(n, n, name="far too long" if n in bad else "n") for n in range(300)]
    records[150] = _record(150, 150, name=5)
    sink.begin()
    sink.write(output_of(records))

    with pytest.raises(SinkRejected) as caught:
        sink.flush()

    sink.abort()
    assert sorted(position.offset for position in caught.value.positions) == sorted({*bad, 150})
    assert sinks.query("SELECT count(*) FROM crm.customers") == [(0,)]


@pytest.mark.parametrize("entries", [0, 1], ids=["in its positions", "in its ledger"])
def test_a_frozen_owner_holds_its_partition_for_a_bounded_time_and_no_other(sinks: Sinks, entries: int) -> None:
    """Its open transaction is not waited for: the heir says whose it is, goes on with the rest, and gets it soon."""
    other = TopicPartition("customers", 1)
    frozen, heir = sinks.ready(instance="frozen", idle_transaction_s=1), sinks(instance="heir")
    frozen.positions({other: 0})
    frozen.begin()
    frozen.write(output_of([_record(0, 1)]))
    frozen.flush()
    with frozen._database.guarded("moving positions") as connection:
        frozen._positions.swap(connection, {_TP: OffsetRange(0, 1)})
        row = LedgerRow(uuid.uuid4(), (uuid.uuid4(),), UUID(int=7), "record", 1, 1, "customers", 0, 0, 0, "1001")
        frozen._ledger.write(connection, [row] * entries)

    found = heir.positions({_TP: None, other: None})

    assert found.found == {other: 0}
    assert "frozen" in str(found.held[_TP])
    assert "idle in transaction" in str(found.held[_TP])
    while not heir.positions({_TP: None}).found:
        pass
    assert sinks.query("SELECT owner, next_offset FROM worker.offsets WHERE partition = 0") == [("heir", 0)]
    with pytest.raises(SinkUnavailable):
        frozen.commit({}, (), None)


def test_every_session_is_bounded_at_the_server(sinks: Sinks) -> None:
    """What a worker leaves behind ends without it, however it went."""
    sink = sinks.ready(timeout_s=20, idle_transaction_s=7)
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")

    with sink._database.guarded("looking") as connection:
        found = [connection.execute(f"SHOW {name}".encode()).fetchone() for name in names]

    assert found == [("20s",), ("7s",), ("7s",)]


@pytest.mark.parametrize("refuses", [True, False], ids=["refused", "dropped"])
def test_a_pooler_that_hands_no_options_on_is_refused(sinks: Sinks, refuses: bool) -> None:
    """Without its bounds a frozen session holds a partition for ever; nor is a server waited for that is up."""
    at = urlsplit(sinks.dsn)
    with Pooler(at.port or 5432, refuses=refuses) as pooler:
        pooled = Sinks(at._replace(netloc=f"{at.netloc.rpartition('@')[0]}@{pooler.address}").geturl())
        try:
            with pytest.raises(ConfigError, match="a pooler between does not hand on the session's options"):
                pooled().ensure_schema()
        finally:
            pooled.close()


def test_a_table_that_is_called_like_one_of_postgresql_s_own_is_named(sinks: Sinks) -> None:
    """A name without a schema finds that one, whatever lies in the search_path."""
    sink = sinks(table="pg_class")
    sink.ensure_schema()

    for attempt in (sink.tables.create_table, sink.tables.check_schema):
        with pytest.raises(ConfigError, match="table pg_class is PostgreSQL's own, of pg_catalog"):
            attempt(_ROWS, topic="customers")


def test_a_field_without_a_column_is_a_wrong_configuration(sinks: Sinks) -> None:
    """A table that lacks a column stops the worker instead of losing the field."""
    sink = sinks.ready()
    sinks.query("ALTER TABLE crm.customers DROP COLUMN name")
    sink.abort()
    sink.begin()
    sink.write(output_of([_record(0, 1)]))

    with pytest.raises(ConfigError, match="lacks columns name"):
        sink.flush()


def test_check_with_create_leaves_a_missing_table_to_its_schema(sinks: Sinks) -> None:
    """`create` makes the worker's own tables at once and the target when a schema is known; without it both refuse."""
    with pytest.raises(ConfigError, match="check --create"):
        sinks().check()
    sink = sinks(create=True)
    sink.check()

    sink.tables.create_table(_ROWS, topic="customers")

    sinks().check()


def test_a_table_evolves_on_request(sinks: Sinks) -> None:
    """Columns that a newer schema brings are added, nullable, and nothing else changes."""
    sink = sinks.ready()
    newer = RowType((*_COLUMNS, ColumnType("phone", "bytes", encrypted="leased", nullable=True)))
    with pytest.raises(ConfigError, match="phone"):
        sink.tables.check_schema(newer, topic="customers")

    sink.tables.create_table(newer, topic="customers")

    sink.tables.check_schema(newer, topic="customers")


def test_a_server_that_does_not_answer_is_given_up(sinks: Sinks) -> None:
    """A call that a lock holds up ends within the sink's bound, and is tried again later."""
    sink = sinks.ready(timeout_s=1)
    sink.begin()
    sink.write(output_of([_record(0, 1)]))
    with psycopg.connect(sinks.dsn) as holder:
        holder.execute("LOCK TABLE crm.customers IN ACCESS EXCLUSIVE MODE")

        with pytest.raises(SinkUnavailable):
            sink.flush()

    sink.abort()


def test_a_silent_network_is_cut(sinks: Sinks) -> None:
    """A connection whose other end falls silent without closing is cut, not waited for."""
    sink = sinks.ready(timeout_s=1)
    ((pid,),) = sinks.query(f"SELECT pid {_SESSIONS}")
    sink.begin()
    sink.write(output_of([_record(0, 1)]))
    os.kill(pid, signal.SIGSTOP)

    try:
        with pytest.raises(SinkUnavailable):
            sink.flush()
    finally:
        os.kill(pid, signal.SIGCONT)

    sink.abort()


def test_a_read_only_server_is_waited_for(sinks: Sinks) -> None:
    """A server that has become read-only is waited for."""
    sink = sinks.ready()
    name = sinks.query("SELECT current_database()")[0][0]
    sinks.query(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    sinks.end_sessions()
    sink.begin()
    sink.write(output_of([_record(0, 1)]))

    for _ in range(2):
        with pytest.raises(SinkUnavailable):
            sink.flush()
        sink.abort()


def test_the_ledgers_chain_stands_in_the_rows_transaction(sinks: Sinks) -> None:
    """Each entry holds its predecessor's hash, over batches, and matches its own fields."""
    sink = sinks.ready()
    for i in range(3):
        row = LedgerRow(uuid.uuid4(), (uuid.uuid4(),), UUID(int=7), "record", 1, 1, "customers", 0, i, i, "1001")
        _deliver(sink, [_record(i, i)], i, [row])

    found = sinks.query(
        "SELECT batch::text, request_ids::text[], keyset::text, format, keys, values, topic, partition, first_offset,"
        " last_offset, schema_id, chain, sequence, prev_hash, hash FROM worker.ledger ORDER BY sequence"
    )
    names = ("batch", "request_ids", "keyset", "format", "keys", "values", "topic", "partition", "first_offset",
             "last_offset", "schema_id", "chain", "sequence")  # fmt: skip
    head = GENESIS
    for entry in found:
        assert entry[13] == head
        head = hash_fields(head, dict(zip(names, entry[:13], strict=True)))
        assert entry[14] == head
    assert len(found) == 3


@pytest.mark.parametrize(
    ("dsn", "told"),
    [
        ("jdbc:postgresql://127.0.0.1:1/x?user=u&password=word", "malformed; it is postgresql://"),
        ("postgresql://u:wo%rd@127.0.0.1:1/x", "malformed; it is postgresql://.*with %XX"),
        ("postgresql://u:word@127.0.0.1:1/x?sslmode=of", "gives an option a value that there is not"),
    ],
)
def test_a_connection_string_that_never_leads_anywhere_is_a_wrong_setting(sinks: Sinks, dsn: str, told: str) -> None:
    """Nobody waits for it, nor is it shown."""
    sinks.dsn = dsn

    with pytest.raises(ConfigError, match=told) as caught:
        sinks().check()

    assert "word" not in str(caught.value).replace("user:password", "")


def test_a_value_is_let_go_before_another_row_takes_it(sinks: Sinks) -> None:
    """Within a batch rows go in the order of their last versions: another unique index has each value once."""
    sink = sinks.ready(**_UPSERT)
    sinks.query("CREATE UNIQUE INDEX ON crm.customers (name)")
    _deliver(sink, [_record(0, 1, name="x"), _record(1, 2, name="y")], 0)

    _deliver(sink, [_record(2, 2, name="w"), _record(3, 1, name="z"), _record(4, 2, name="x")], 2)

    assert sinks.query("SELECT id, name FROM crm.customers ORDER BY id") == [(1, "z"), (2, "x")]
