"""`worker run`: the main job."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer

from worker.app import Observe, Worker
from worker.assembly.context import refuse_process_name
from worker.assembly.run import RunOptions
from worker.cli import summary
from worker.cli.options import ConfigFile, LogFormat, LogLevel, Set, load
from worker.config import Settings
from worker.errors import ConfigError
from worker.pipeline.progress import RouteProgress
from worker.supervisor import Supervisor


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(
    config: ConfigFile,
    set_: Set = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Encrypt, write nothing, commit nothing; print what would be written.")
    ] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Stop after this many records a route.")] = None,
    from_: Annotated[datetime | None, typer.Option("--from", help="Start at this time (UTC).")] = None,
    to: Annotated[datetime | None, typer.Option("--to", help="End before this time (UTC), with exit code 0.")] = None,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="End at what is the end now, with exit code 0.")
    ] = False,
    processes: Annotated[
        int, typer.Option("--processes", min=1, max=256, help="Share the partitions among this many processes.")
    ] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print a bounded run's summary as JSON.")] = False,
    log_level: LogLevel = "info",
    log_format: LogFormat = "auto",
) -> None:
    """
    Read, encrypt the declared fields and write, within one region, until SIGTERM. SIGHUP drops all keys held.

    A run with an end (--until-end, --to, --limit) prints a summary; on a terminal it shows a progress bar.
    """
    if processes > 1 and (dry_run or limit is not None):
        raise ConfigError("--processes goes with neither --dry-run nor --limit")
    settings = load(config, set_, log_level=log_level, log_format=log_format)
    refuse_process_name(os.environ)
    options = RunOptions(dry_run=dry_run, limit=limit, start=_utc(from_), end=_utc(to), until_end=until_end)
    ends = (options.is_bounded or limit is not None) and not dry_run
    watch, last = summary.Stopwatch(), _Last()
    with summary.bars(shown=ends) as move:

        def observe(progress: Sequence[RouteProgress]) -> None:
            last.progress = progress
            move(summary.offsets_done(progress))

        if processes == 1:
            _run_alone(settings, options, observe if ends else None)
        else:
            supervisor = Supervisor(
                settings,
                os.environ,
                options,
                processes=processes,
                log_level=log_level,
                log_format=log_format,
            )
            with heeding_signals(supervisor):
                supervisor.run(observe=observe)
    if ends:
        _tell(last.progress, watch.seconds, json=json)


class _Last:
    """How far the routes had come when they were last seen."""

    progress: Sequence[RouteProgress] = ()


def _run_alone(settings: Settings, options: RunOptions, observe: Observe | None) -> None:
    with Worker(settings, os.environ) as worker, heeding_signals(worker):
        worker.run(options, observe=observe)


@contextmanager
def heeding_signals(runs: Worker | Supervisor) -> Iterator[None]:
    """SIGTERM and SIGINT stop what runs, SIGHUP rotates its keys; once it has ended they do nothing any more."""
    signal.signal(signal.SIGTERM, lambda *_: runs.stop())
    signal.signal(signal.SIGINT, lambda *_: runs.stop())
    signal.signal(signal.SIGHUP, lambda *_: runs.rotate())
    try:
        yield
    finally:
        # At its end the interpreter takes handlers away: a second SIGTERM would kill what has stopped as asked.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


def _utc(time: datetime | None) -> datetime | None:
    """Take a time without a zone for UTC, whatever this machine's own zone is."""
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time


def _tell(progress: Sequence[RouteProgress], seconds: float, *, json: bool) -> None:
    told = summary.routes_summary(progress, seconds)
    if json:
        summary.print_json(told)
        return
    parts = [
        {
            **summary.counts(route.outcomes, seconds),
            "route": route.route,
            "complete": "yes" if route.is_complete else "no",
            "positions": ", ".join(f"{p} {s.start} to {s.next} of {s.end}" for p, s in sorted(route.spans.items())),
        }
        for route in progress
    ]
    columns = ("route", "records", "encrypted", "tombstones", "dead", "rate", "complete", "positions")
    summary.print_table(parts, columns, title=f"{told['records']} records in {seconds:.1f} s")
