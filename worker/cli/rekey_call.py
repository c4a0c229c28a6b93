"""What every kind of rekey is told, and how it tells what became of it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import structlog

from worker import config, environment, log
from worker.assembly.connections import authority_client
from worker.assembly.context import instance_name
from worker.assembly.graph import Graph
from worker.assembly.keys import key_stack
from worker.assembly.schemas import output_schemas
from worker.cli import summary
from worker.cli.options import Level, load
from worker.cli.sources import schema_text
from worker.errors import ConfigError, WorkerError
from worker.metrics import Metrics
from worker.model import Audit, Format
from worker.rekey.keys import KeyHolder, Way
from worker.rekey.marks import Marks
from worker.rekey.wanted import Wanted, named
from worker.sdk.client import client_from_prefix
from worker.sdk.scope import checked_reason
from worker.zerokms.client import ZeroKMSClient

Mode = Literal["rekey", "estimate", "verify"]
_log = structlog.get_logger(__name__)
_SHOWN = 1_000


@dataclass(slots=True, kw_only=True)
class Call:
    """
    One call of the command; a context manager that closes what it opened.

    Args:
        graph: of the region's file, where one is given.
        wanted: how values are to be encrypted.
        schema: the output schema of what is stored, where it is given.
        keep, most: whether what does not open stays, and of how much.
        rate: records a second.
        mode: what is to be done.
        keeps_pseudonyms: whether keys that are pseudonyms are written as they are.
        json: whether the summary is JSON.
        prefixes: of the variables with the new and the old credentials.
        reason: for the audit.
    """

    graph: Graph | None
    wanted: Wanted
    schema: Path | None
    keep: bool
    most: int
    rate: float | None
    mode: Mode
    keeps_pseudonyms: bool
    json: bool
    prefixes: tuple[str, str]
    reason: str
    stop: threading.Event = field(default_factory=threading.Event)
    watch: summary.Stopwatch = field(default_factory=summary.Stopwatch)
    metrics: Metrics = field(default_factory=lambda: Metrics(""))
    _closing: ExitStack = field(default_factory=ExitStack)
    _way: Way | None = None
    _told: int = 0

    @classmethod
    def of(
        cls,
        *,
        config: Path | None,
        assignments: list[str] | None,
        env_prefix: str,
        from_env_prefix: str | None,
        reason: str | None,
        schema: Path | None,
        wanted: tuple[str | None, Format | None, Sequence[str], Path | None],
        keep: bool,
        most: int,
        rate: float | None,
        mode: Mode,
        keeps_pseudonyms: bool,
        json: bool,
        log: tuple[Level, log.LogFormat],
    ) -> Call:
        """Read the command's options; raises `ConfigError`."""
        settings = _settings(config, assignments, log)
        keyset, form, descriptors, to_schema = wanted
        made = Wanted(
            keyset=keyset,
            format=form,
            descriptors=named(list(descriptors)),
            schema=None if to_schema is None else schema_text(to_schema),
        )
        prefix = env_prefix if env_prefix.endswith("_") else f"{env_prefix}_"
        return cls(
            graph=None if settings is None else Graph(settings, environment.with_prefix(os.environ, prefix)),
            wanted=made,
            schema=schema,
            keep=keep,
            most=most,
            rate=rate,
            mode=mode,
            keeps_pseudonyms=keeps_pseudonyms,
            json=json,
            prefixes=(env_prefix, from_env_prefix or env_prefix),
            reason=checked_reason(reason) or "worker rekey",
        )

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop.set())
        if self.graph is not None:
            self._closing.callback(self.graph.close)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._closing.close()

    def narrow(self, settings: config.Settings) -> Graph:
        """Go on with other settings of the same file: those of one route."""
        assert self.graph is not None
        self.graph = Graph(settings, self.graph.context.environ)
        self._closing.callback(self.graph.close)
        return self.graph

    @property
    def way(self) -> Way:
        """From old keys to new ones; raises `RegionViolation` where they are of two regions, or not the file's."""
        if self._way is None:
            new_prefix, old_prefix = self.prefixes
            new = self._holder(new_prefix, own=True)
            old = new if old_prefix == new_prefix else self._holder(old_prefix, own=False)
            self._way = Way(old, new)
        return self._way

    def _holder(self, prefix: str, *, own: bool) -> KeyHolder:
        client = self._client(prefix, own=own)
        audit = partial(_audit, instance_name(os.environ), self.reason)
        service = None
        if own and self.graph is not None:
            # As for the worker itself: nothing is written under keys of an authority that gives others than before.
            service = key_stack(self.graph.context, client, self.graph.connection).service
        holder = KeyHolder(client, audit, service=service, metrics=self.metrics)
        self._closing.callback(client.close)
        self._closing.callback(holder.close)
        return holder

    def _client(self, prefix: str, *, own: bool) -> ZeroKMSClient:
        if self.graph is None:
            return client_from_prefix(prefix, {})[0]
        if own:
            return self.graph.authority
        values = environment.with_prefix(os.environ, prefix if prefix.endswith("_") else f"{prefix}_")
        return authority_client(self.graph.settings, values, metrics=self.metrics)

    def marks(self, stored: str) -> Marks:
        """Return how the envelopes of a stored schema's records are to look."""
        return Marks(self.wanted.compiled(stored).plan.fields, self.way.new.resolve)

    def stored_schema(self) -> str:
        """Return the output schema that was named; raises `ConfigError`."""
        return schema_text(self.schema)

    def schema_of(self, table: str) -> str:
        """Return the output schema of a table's rows: the one that was named, else the one that the file leads to."""
        if self.schema is not None or self.graph is None:
            return self.stored_schema()
        if self.graph.settings.schemas.local:
            known = list(output_schemas(self.graph.settings, self.graph.context.environ).values())
        else:
            known = [version.schema for version in self.graph.schemas.history(table)[-1:]]
        if len(known) != 1:
            raise ConfigError(f"the file leads to {len(known)} schemas, not to the one of {table}: give --schema")
        return known[0]

    def refused(self, place: Mapping[str, object], error: WorkerError) -> None:
        """Tell what stays as it is: where, and why; never what."""
        self._told += 1
        if self._told <= _SHOWN:
            code = getattr(error, "code", "key_refused")
            _log.warning("value_kept", **place, code=code, error=str(error))

    def tell(self, found: Mapping[str, object], title: str) -> None:
        """Print a summary."""
        if self.json:
            summary.print_json(found)
            return
        lines = found.get("fields")
        if isinstance(lines, list) and lines:
            summary.print_table(lines, tuple(lines[0]), title=title)
        else:
            summary.print_table([found], tuple(found), title=title)


def _settings(
    path: Path | None, assignments: list[str] | None, logged: tuple[Level, log.LogFormat]
) -> config.Settings | None:
    level, form = logged
    if path is not None:
        return load(path, assignments, log_level=level, log_format=form)
    if assignments:
        raise ConfigError("--set changes a --config, and none is given")
    log.configure(level=level, form=form)
    return None


def _audit(instance: str, reason: str, purpose: Literal["encrypt", "decrypt", "dead", "canary"]) -> Audit:
    return Audit(instance, "rekey", purpose, reason)
