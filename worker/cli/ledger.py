"""`worker ledger`: follow every chain to its end, remove what is old, print what the authority's audit said."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import orjson
import typer

from worker import environment
from worker.assembly.graph import Graph
from worker.cli.options import ConfigFile, Json, LogLevel, Set, load
from worker.errors import ConfigError
from worker.model.receipts import as_json
from worker.sink.checkpoint import ChainReport, Told, ignored
from worker.sink.kafka.retention import LedgerTopic
from worker.sink.postgres.retention import trim_table, verify_table

app = typer.Typer(help="Follow the ledger's chains, and remove what is old.", no_args_is_help=True)


@app.command()
def verify(config: ConfigFile, set_: Set = None, json: Json = False, log_level: LogLevel = "warning") -> None:
    """Follow every chain of the routes' ledgers to its end; exit 1 where an entry was altered, removed or moved."""
    settings = load(config, set_, log_level=log_level)
    with Graph(settings, os.environ) as graph:
        ledgers = _Ledgers(graph)
        _tell(ledgers.verified(), json)


@app.command()
def trim(
    config: ConfigFile,
    before: Annotated[datetime, typer.Option("--before", help="Entries from then (UTC) on stay.")],
    set_: Set = None,
    json: Json = False,
    log_level: LogLevel = "warning",
) -> None:
    """
    Remove the entries from before a time, once every chain verifies, and leave a signed checkpoint for them.

    It signs under the index key of the client's default keyset; `verify` goes on from there.
    """
    settings = load(config, set_, log_level=log_level)
    with Graph(settings, os.environ) as graph:
        ledgers = _Ledgers(graph)
        _tell(ledgers.trimmed(before if before.tzinfo else before.replace(tzinfo=UTC)), json)


@app.command()
def audited(config: ConfigFile, set_: Set = None, log_level: LogLevel = "warning") -> None:
    """
    Print where the authority's audit has this worker's requests, one JSON object a line, from chains that verify.

    For `worker authority audit verify --against`: exit 3 where an entry of the ledger was altered, removed or moved.
    """
    settings = load(config, set_, log_level=log_level)
    with Graph(settings, os.environ) as graph:
        for _ in _Ledgers(graph).verified(_print):
            pass


class _Ledgers:
    """The ledgers of a configuration's routes, each database and the topic once."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        sinks = [route.sink for route in graph.settings.routes if route.sink.ledger]
        self._has_topic = any(sink.dsn_env is None for sink in sinks)
        self._tables = {
            environment.require(os.environ, sink.dsn_env, "the ledger's database"): sink.timeout_s
            for sink in sinks
            if sink.dsn_env is not None
        }
        if not self._has_topic and not self._tables:
            raise ConfigError("no route of this configuration keeps a ledger")

    def verified(self, told: Told = ignored) -> Iterator[ChainReport]:
        """Follow all."""
        for dsn, timeout_s in self._tables.items():
            yield from verify_table(dsn, self._key_of, timeout_s=timeout_s, told=told)
        if self._has_topic:
            yield from self._topic().verify(told)

    def trimmed(self, before: datetime) -> Iterator[ChainReport]:
        """Trim all."""
        keyset = self._graph.keys.resolve(None)
        for dsn, timeout_s in self._tables.items():
            yield from trim_table(dsn, before, keyset, self._key_of, timeout_s=timeout_s)
        if self._has_topic:
            yield from self._topic().trim(before, keyset)

    def _topic(self) -> LedgerTopic:
        settings = self._graph.settings
        name = f"worker.ledger.{settings.region}"
        return LedgerTopic(name, self._graph.connection, settings.kafka.cluster_id, self._key_of)

    @property
    def _key_of(self) -> Callable[[UUID], bytes]:
        return lambda keyset: self._graph.keys.index_key(str(keyset))


def _print(receipt: str) -> None:
    typer.echo(orjson.dumps(as_json(receipt)))


def _tell(reports: Iterator[ChainReport], json: bool) -> None:
    found = list(reports)
    if json:
        typer.echo(orjson.dumps([dataclasses.asdict(report) for report in found]))
        return
    for report in found:
        removed = f", {report.removed} removed behind a checkpoint" if report.removed else ""
        typer.echo(
            f"{report.chain}: {report.entries} entries{removed}; in all {report.keys} keys, {report.values} values"
        )
    typer.echo(f"{len(found)} chains verify")
