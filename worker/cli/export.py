"""`worker export`: what is encrypted, in the clear, for whoever leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import structlog
import typer

from worker import config as configuration
from worker import environment, log
from worker.assembly.connections import authority_client
from worker.assembly.context import instance_name
from worker.cli import export_sources, summary
from worker.cli.options import LogFormat, LogLevel, load
from worker.cli.topic import Topic
from worker.errors import ConfigError, RegionViolation, WorkerError
from worker.model import Audit
from worker.model.keys import Purpose
from worker.rekey.export import Batch, ContainerTarget, Export, TableTarget
from worker.rekey.keys import KeyHolder
from worker.sdk.client import client_from_prefix
from worker.sdk.scope import checked_reason
from worker.sink.postgres.plain import PlainTable
from worker.zerokms.client import ZeroKMSClient

_log = structlog.get_logger(__name__)
_SHOWN = 1_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    reason: Annotated[str, typer.Option("--reason", help="Why, for the authority's audit.")],
    files: Annotated[list[str] | None, typer.Argument(help="Container files, directories or patterns.")] = None,
    topic: Annotated[str | None, typer.Option("--topic", help="The topic that the worker wrote.")] = None,
    table: Annotated[str | None, typer.Option("--table", help="The table that the worker wrote.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The Avro container file to write.")] = None,
    to_table: Annotated[str | None, typer.Option("--to-table", help="The table of plain types to fill.")] = None,
    to_dsn: Annotated[
        str | None, typer.Option("--to-dsn", envvar="EXPORT_DATABASE_URL", help="That table's database.")
    ] = None,
    leave_region: Annotated[
        str | None,
        typer.Option(
            "--leave-region", help="The data's region, in words: it may leave for a database of no or another."
        ),
    ] = None,
    dsn: Annotated[str | None, typer.Option("--dsn", envvar="DATABASE_URL", help="The table's database.")] = None,
    schema: Annotated[Path | None, typer.Option("--schema", help="The output schema of what is stored.")] = None,
    registry: Annotated[str | None, typer.Option("--registry", help="Schema registry, by each record's id.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="The region's TOML file.")] = None,
    bootstrap: Annotated[str | None, typer.Option("--bootstrap", help="The cluster, without a --config.")] = None,
    property_: Annotated[list[str] | None, typer.Option("--property", help="A librdkafka property: k=v.")] = None,
    env_prefix: Annotated[str, typer.Option("--env-prefix", help="Prefix of the credentials.")] = "CS_",
    on_error: Annotated[
        Literal["stop", "leave-out"], typer.Option("--on-error", help="What does not open stops it, or is left out.")
    ] = "stop",
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "auto",
) -> None:
    """
    Decrypt a topic's records, a table's rows or files into a container file or a table of plain types.

    They get their original schema. All is there at the end, or nothing; the reason stands in the authority's audit.
    """
    why = checked_reason(reason)
    given = {"--topic": topic, "--table": table, "files": files or None}
    if len([name for name, value in given.items() if value is not None]) != 1:
        raise ConfigError("give one of --topic, --table or files: what is to be exported?")
    if (out is None) == (to_table is None):
        raise ConfigError("give one of --out or --to-table: where is it to go?")
    settings = None if config is None else load(config, None, log_level=log_level, log_format=log_format)
    if settings is None:
        log.configure(level=log_level, form=log_format)
    with closing(_client(settings, env_prefix)) as client, _holder(client, why) as holder:
        region = holder.region if settings is None else settings.region
        _refuse_foreign(holder.region, region)
        if topic is not None:
            where = Topic.of(topic, settings, bootstrap, property_ or [])
            batches = export_sources.topic_batches(where, settings, schema, registry)
        elif table is not None:
            batches = export_sources.table_batches(table, dsn, schema)
        else:
            batches = export_sources.file_batches(files or [])
        clear = () if settings is None else [name for route in settings.routes for name in route.clear]
        if out is not None:
            target: ContainerTarget | TableTarget = ContainerTarget(out)
        else:
            target = _plain_table(to_dsn, str(to_table), region, leave_region)
        with closing(target):
            work = Export(holder.decryptor(), target, leave_out=on_error != "stop", refused=_Refused(), clear=clear)
            _run(work, batches)
            target.finish()
            _tell(work, target, to_table, json=json)
    if work.left_out:
        raise typer.Exit(1)


def _run(work: Export, batches: Iterator[Batch | tuple[dict[str, object], WorkerError]]) -> None:
    for batch in batches:
        if isinstance(batch, Batch):
            work.add(batch)
        else:
            work.refuse(*batch)


def _tell(work: Export, target: ContainerTarget | TableTarget, table: str | None, *, json: bool) -> None:
    places = [str(path) for path in target.paths] if isinstance(target, ContainerTarget) else [str(table)]
    found: dict[str, object] = {"exported": work.exported, "left_out": work.left_out, "into": ", ".join(places)}
    if json:
        summary.print_json(found | {"into": places})
    else:
        summary.print_table([found], tuple(found), title="done")


class _Refused:
    """Tells of records that do not open: where, and why; never what."""

    def __init__(self) -> None:
        self._told = 0

    def __call__(self, place: object, error: WorkerError) -> None:
        self._told += 1
        if self._told <= _SHOWN and isinstance(place, dict):
            _log.warning("record_left_out", **place, code=getattr(error, "code", "key_refused"), error=str(error))


def _plain_table(dsn: str | None, table: str, region: str, leave: str | None) -> TableTarget:
    if dsn is None:
        raise ConfigError("give --to-dsn, or EXPORT_DATABASE_URL: which database does it go to?")
    if leave is not None and leave != region:
        raise ConfigError(f"--leave-region {leave!r}: the data is of {region!r}; say that, if it is to leave")
    try:
        return TableTarget(PlainTable(dsn, table, region, may_leave=leave is not None))
    except RegionViolation as exc:
        raise RegionViolation(f"{exc}; plaintext of {region} goes there only with --leave-region {region}") from None


def _refuse_foreign(own: str, region: str) -> None:
    if own != region:
        raise RegionViolation(f"the credentials are of {own!r}, the file of {region!r}")


def _client(settings: configuration.Settings | None, prefix: str) -> ZeroKMSClient:
    if settings is None:
        return client_from_prefix(prefix, {})[0]
    own = prefix if prefix.endswith("_") else f"{prefix}_"
    return authority_client(settings, environment.with_prefix(os.environ, own))


def _holder(client: ZeroKMSClient, reason: str | None) -> KeyHolder:
    return KeyHolder(client, partial(_audit, instance_name(os.environ), reason))


def _audit(instance: str, reason: str | None, purpose: Purpose) -> Audit:
    return Audit(instance, "export", purpose, reason)
