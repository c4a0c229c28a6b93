"""What a SQLSTATE means for a batch: the table of docs/sinks.md, raised by a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.conftest import DatabaseFactory
from tests.fakes.records import output_of
from tests.integration.test_sink_postgres import Sinks
from worker.errors import ConfigError, FatalError, SinkRejected, SinkUnavailable, WorkerError
from worker.model import Position, SinkRecord
from worker.model.rows import ColumnType, Row, RowType
from worker.sink.postgres.errors import VERDICTS, Verdict, judge

pytestmark = pytest.mark.integration

DOC = Path(__file__).parents[2] / "docs" / "sinks.md"
RAISED: dict[Verdict, type[WorkerError]] = {
    Verdict.RECORD: SinkRejected,
    Verdict.TABLE: ConfigError,
    Verdict.OUTAGE: SinkUnavailable,
    Verdict.DOUBT: SinkUnavailable,
    Verdict.DAMAGE: FatalError,
}
OTHERS = {"55000", "23505", "42501", "ZZ999"}
STATES = sorted({state if len(state) == 5 else f"{state}000" for state in VERDICTS} | OTHERS)
ROWS = RowType((ColumnType("state", "string"),))


@pytest.fixture
def sinks(new_database: DatabaseFactory) -> Iterator[Sinks]:
    made = Sinks(new_database(region="eu-central-1"))
    sink = made(table="raising", ledger=False)
    sink.ensure_schema()
    sink.tables.create_table(ROWS, topic="customers")
    with psycopg.connect(made.dsn, autocommit=True) as connection:
        connection.execute(
            """
            CREATE FUNCTION raise_it() RETURNS trigger LANGUAGE plpgsql AS
              $$ BEGIN RAISE EXCEPTION 'secret %', NEW.state USING ERRCODE = NEW.state; END $$;
            CREATE TRIGGER raise_it BEFORE INSERT ON raising FOR EACH ROW EXECUTE FUNCTION raise_it();
            """
        )
    yield made
    made.close()


def test_each_state_has_its_verdict(sinks: Sinks) -> None:
    """What the server raises becomes what the worker does; its text goes no further."""
    sink = sinks(table="raising", ledger=False)
    found: dict[str, tuple[type[WorkerError], bool]] = {}
    answers = set()
    for state in STATES:
        sink.begin()
        record = SinkRecord(Position("customers", 0, 0), None, b"v", (), 0, -1, Row(ROWS, (state,)))
        sink.write(output_of([record]))
        with pytest.raises(WorkerError) as caught:
            sink.flush()
        sink.abort()
        if getattr(caught.value, "is_answer", False):
            answers.add(state)
        found[state] = type(caught.value), getattr(caught.value, "is_doubtful", False)
        assert "secret" not in str(caught.value)

    assert {s for s in STATES if judge(s) is Verdict.OUTAGE and s[:2] not in ("08", "57") and s != "25006"} == answers
    assert found == {state: (RAISED[judge(state)], judge(state) is Verdict.DOUBT) for state in STATES}


def test_the_drivers_own_warnings_quote_no_row(sinks: Sinks, caplog: pytest.LogCaptureFixture) -> None:
    """A row that the server refuses before one that we do: what the driver logs of it is without text."""
    with psycopg.connect(sinks.dsn, autocommit=True) as connection:
        connection.execute(
            "DROP TRIGGER raise_it ON raising;"
            "ALTER TABLE raising ALTER state TYPE varchar(9), ADD CHECK (state <> 'secret')"
        )
    sink = sinks(table="raising", ledger=False)
    sink.begin()
    # Enough between the two that the driver has sent the first one.
    states = ("secret", *("short",) * 5000, "far too long")
    rows = [Row(ROWS, (state,)) for state in states]
    sink.write(
        output_of([SinkRecord(Position("customers", 0, i), None, b"v", (), 0, -1, r) for i, r in enumerate(rows)])
    )

    with pytest.raises(SinkRejected) as caught:
        sink.flush()

    sink.abort()
    assert [p.offset for p in caught.value.positions] == [0, 5001]
    assert "SQLSTATE 23514" in caplog.text
    assert "secret" not in caplog.text


def test_the_document_says_the_same() -> None:
    """Every SQLSTATE and class of the code stands under its verdict in the docs, and none else."""
    said: dict[str, str] = {}
    for word in ("record", "table", "outage", "doubt", "damage"):
        line = re.search(rf"^\| {word} \| ([^|]*) \|", DOC.read_text(), re.MULTILINE)
        assert line is not None
        said |= dict.fromkeys(re.findall(r"\b[0-9A-Z]{2}(?:[0-9A-Z]{3})?\b", line[1]), word)

    assert said == {state: verdict.name.lower() for state, verdict in VERDICTS.items()}
