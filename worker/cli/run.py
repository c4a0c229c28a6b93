"""`worker run`: the main job."""

from __future__ import annotations

import gc
import os
import signal
from datetime import datetime
from typing import Annotated

import typer

from worker.app import Worker
from worker.cli.options import ConfigFile, LogLevel, Set, load


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
    log_level: LogLevel = "info",
) -> None:
    """Read, encrypt the declared fields and write, within one region, until SIGTERM. SIGHUP drops all keys held."""
    settings = load(config, set_, log_level=log_level)
    _calm_collector()
    with Worker(settings, os.environ) as worker:
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        signal.signal(signal.SIGINT, lambda *_: worker.stop())
        signal.signal(signal.SIGHUP, lambda *_: worker.rotate())
        worker.run(dry_run=dry_run, limit=limit, start=from_, end=to, until_end=until_end)


def _calm_collector() -> None:
    """
    Let Python look for reference cycles seldom, and never in what start-up left.

    A batch makes tens of thousands of objects and no cycle; at the default thresholds looking at all of them again and
    again took 5 to 15 % of the loop. Memory stays bounded: it is freed by reference counts.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
