"""`worker authority`: the self-hosted ZeroKMS and CTS of one region."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The self-hosted ZeroKMS and CTS of one region.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """The self-hosted ZeroKMS and CTS of one region."""


@app.command()
def dev(
    region: Annotated[str, typer.Option(help="The region to serve, as eu-central-1.")],
    port: Annotated[int, typer.Option(help="0 takes a free port.")] = 0,
    env_file: Annotated[Path | None, typer.Option(help="Where to write a client's variables.")] = None,
    data: Annotated[Path | None, typer.Option(help="Directory that keeps its state; else a temporary one.")] = None,
) -> None:
    """Run a throw-away authority on loopback until SIGTERM, and print one line when it is ready."""
    from worker.authority.dev import DevAuthority, as_shell

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with (
        tempfile.TemporaryDirectory(prefix="authority-") as temporary,
        DevAuthority(region, data or Path(temporary), port) as authority,
    ):
        if env_file is not None:
            with os.fdopen(os.open(env_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(as_shell(authority.env))
        typer.echo(f"authority ready: region {region} at {authority.url}")
        stop.wait()
