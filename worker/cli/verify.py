"""`worker verify`: looks into the sinks for plaintext."""

from __future__ import annotations

import json as json_
import os
import signal
import threading
import time
from typing import Annotated

import structlog
import typer

from worker.cli.options import ConfigFile, Json, LogFormat, LogLevel, Set, load
from worker.config import Settings
from worker.errors import TransientError
from worker.http import HttpServer, Surface, application
from worker.metrics import Metrics
from worker.metrics.catalogue import VERIFIER
from worker.verifier.findings import Seen
from worker.verifier.routes import verify as look
from worker.version import __version__

_log = structlog.get_logger(__name__)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify)


def verify(
    config: ConfigFile,
    set_: Set = None,
    route: Annotated[list[str] | None, typer.Option("--route", help="Only this route; may be given again.")] = None,
    last: Annotated[int, typer.Option("--last", min=1, help="Records of each partition, rows of each table.")] = 1_000,
    every: Annotated[float | None, typer.Option("--every", min=1, help="Go on, and look again after seconds.")] = None,
    listen: Annotated[str, typer.Option("--listen", help="With --every: where /metrics is served.")] = "0.0.0.0:9464",
    json: Json = False,
    log_level: LogLevel = "info",
    log_format: LogFormat = "auto",
) -> None:
    """
    Look into the sinks for values of declared fields that are no envelopes; exit 1 for one, or a record it can't read.

    It needs the rights to read the sinks, and neither keys nor an identity of the key service.
    """
    settings = load(config, set_, log_level=log_level, log_format=log_format)
    if every is not None:
        _watch(settings, route or [], last, every, listen)
        return
    found = list(look(settings, os.environ, routes=route or [], last=last))
    if json:
        typer.echo(json_.dumps([{"route": s.route, "values": dict(s.outcomes), **_places(s)} for s in found]))
    else:
        for seen in found:
            typer.echo(f"{seen.route}: {', '.join(f'{n} {o}' for o, n in sorted(seen.outcomes.items())) or 'empty'}")
            for what, places in _places(seen).items():
                for place in places:
                    typer.echo(f"  {what}: {place}")
    if not all(seen.is_clean for seen in found):
        raise typer.Exit(1)


def _places(seen: Seen) -> dict[str, list[str]]:
    return {"plaintext": seen.places, "unreadable": seen.unreadable}


def _watch(settings: Settings, routes: list[str], last: int, every_s: float, listen: str) -> None:
    metrics = Metrics(settings.region, catalogue=VERIFIER)
    metrics.expect({r.name: r.source.topics for r in settings.routes if not routes or r.name in routes})
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with HttpServer(application(Surface(registry=metrics.registry, health=list)), listen) as server:
        _log.info("verifying", version=__version__, http_port=server.port, every_s=every_s)
        while not stop.is_set():
            try:
                for seen in look(settings, os.environ, routes=routes, last=last):
                    seen.export(metrics, time.time())
                    _tell(seen)
            except TransientError as exc:
                _log.warning("sink_away", error=str(exc))
            # In short waits, so that the main thread takes its signals.
            until = time.monotonic() + every_s
            while time.monotonic() < until and not stop.wait(0.2):
                pass


def _tell(seen: Seen) -> None:
    told = _log.info if seen.is_clean else _log.error
    event = "plaintext_found" if seen.outcomes["plaintext"] else "sink_verified"
    told(event, route=seen.route, values=dict(seen.outcomes), places=seen.places, unreadable=seen.unreadable)
