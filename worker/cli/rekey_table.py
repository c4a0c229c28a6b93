"""`worker rekey --table`: in place."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from worker.assembly.context import instance_name
from worker.cli import summary
from worker.cli.rekey_call import Call
from worker.config import RouteSettings
from worker.errors import ConfigError, WorkerError
from worker.rekey.census import told
from worker.rekey.table import TableDone, TableOptions
from worker.rekey.tables import RekeyedTable, TablePlace
from worker.sink.postgres.rewrite import Key
from worker.sink.postgres.rewritten import Way


def run(call: Call, table: str, key: Sequence[str], dsn: str | None, page: int) -> bool:
    """Do what the call says to a table; returns whether all is as wanted."""
    if dsn is None:
        raise ConfigError("give --dsn, or DATABASE_URL: which database is the table in?")
    route = _route(call, table)
    if route is not None and route.key == "pseudonym" and not call.keeps_pseudonyms and call.mode == "rekey":
        raise ConfigError(
            f"route {route.name} writes pseudonyms into the key columns of {table}. They come from the index key "
            "of the keyset that the record key's schema names and can't be made anew from what is stored: keep them "
            "(--pseudonyms keep) and that keyset for keys, or run the route again into a new table"
        )
    options = TableOptions(page=page, rate=call.rate, keep=call.keep, most=call.most)
    signed = route.sink.residency_key if route is not None and route.sink.kind == "postgres" else None
    place = TablePlace(dsn=dsn, name=table, key=tuple(key), instance=instance_name(os.environ), residency_key=signed)
    with RekeyedTable(place, call.schema_of(table), call.wanted, call.way) as own:
        refused = _refused(call, own)
        if call.mode == "verify":
            census = own.census(page)
            found = {"table": table, "others": census.others, "fields": told(census.lines())}
            call.tell(found, f"values of {table} by keyset, {census.others} not as wanted")
            return census.others == 0
        if call.mode == "estimate":
            call.tell(estimated := own.estimate(options, refused), f"{table}: an estimate, nothing was written")
            return estimated["kept"] == 0
        done = _rekey(call, own, options, refused)
    _tell(call, table, done)
    return done.complete and not done.way.kept


def _rekey(
    call: Call, own: RekeyedTable, options: TableOptions, refused: Callable[[Key, WorkerError], None]
) -> TableDone:
    total = own.count()
    with summary.bars(shown=not call.json) as move:

        def observe(way: Way, _rows: int) -> None:
            move({f"{own.name}, pass {way.number}": (min(way.found, total), total)})

        return own.rekey(options, call.stop, observe, refused)


def _refused(call: Call, own: RekeyedTable) -> Callable[[Key, WorkerError], None]:
    def tell(key: Key, error: WorkerError) -> None:
        call.refused({"table": own.name, **dict(zip(own.key, key, strict=True))}, error)

    return tell


def _route(call: Call, table: str) -> RouteSettings | None:
    """The route of the file that writes the table."""
    routes = () if call.graph is None else call.graph.settings.routes
    return next((r for r in routes if r.sink.kind == "postgres" and table in r.sink.all_tables), None)


def _tell(call: Call, table: str, done: TableDone) -> None:
    way, seconds = done.way, call.watch.seconds
    found = {
        "table": table,
        "rewritten": way.rewritten,
        "kept": way.kept,
        "raced": way.raced,
        "passes": way.number,
        "seconds": round(seconds, 1),
        "complete": done.complete,
    }
    said = "interrupted; call it again to continue"
    if done.complete:
        said = "done"
    elif not call.stop.is_set():
        said = f"no end after {way.number - 1} passes: something still writes under other keys, or has hold of rows"
    call.tell(found, f"{table}: {said}")
