"""A store made of rows and of what authenticates them: there whole, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import DBAPIError, OperationalError

from worker.authority import schema
from worker.authority.database import alone, engine_of, in_words, migrate, open_alone
from worker.authority.files import own_file
from worker.authority.state import Row
from worker.errors import ConfigError

Tables = Mapping[str, dict[Any, Row]]


def make_store(place: Path | str, meta: Mapping[str, str], tables: Tables) -> None:
    """
    Make a store where none is.

    Args:
        place: of the SQLite file; or the URL of an empty PostgreSQL database.
        meta: the region, the store's sealed key and its head.
        tables: of all that authorises, the rows by key.

    Raises:
        ConfigError: there is one already, or the database does not take it.
        TransientError: the database can't be reached.
    """
    if isinstance(place, str):
        _fill(engine_of(place), meta, tables)
        return
    # Under another name until it is whole: nobody takes for a store, or serves, what a crash left of it.
    part = place.with_suffix(".part")
    with open_alone(part):
        if place.exists():
            raise ConfigError(f"{place} exists: a backup is restored to where no store is")
        for path in (part, *(part.with_name(part.name + end) for end in ("-wal", "-shm"))):
            path.unlink(missing_ok=True)
        own_file(part, create=True)
        with ExitStack() as stack:
            stack.callback(part.unlink, missing_ok=True)
            _fill(engine_of(part), meta, tables)
            part.rename(place)


def _fill(engine: Engine, meta: Mapping[str, str], tables: Tables) -> None:
    try:
        with in_words(engine):
            migrate(engine)
            _insert(engine, meta, tables)
    finally:
        engine.dispose()


def _insert(engine: Engine, meta: Mapping[str, str], tables: Tables) -> None:
    try:
        with engine.connect().execution_options(write=True) as connection, connection.begin():
            alone(connection)
            if connection.execute(select(schema.meta.c.name)).first() is not None:
                raise ConfigError("the database has a store already: a backup is restored to where none is")
            connection.execute(insert(schema.meta), [{"name": name, "value": value} for name, value in meta.items()])
            for table in schema.AUTHORISING:
                rows = list(tables[str(table.name)].values())
                if rows:
                    connection.execute(insert(table), rows)
    except OperationalError:
        raise
    except DBAPIError as exc:
        # Not its text, which has the row.
        raise ConfigError(f"the database does not take the store: {type(exc).__name__}") from None
