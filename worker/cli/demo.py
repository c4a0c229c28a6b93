"""`worker demo`: two regions on real components, and every claim looked at."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    records: Annotated[int, typer.Option("--records", min=10, help="Customers in each region.")] = 20_000,
) -> None:
    """Encrypt two regions' customers on real Kafka and PostgreSQL, read them back, and show who may not."""
    from worker.demo.claims import ClaimFailedError
    from worker.demo.story import run

    console = Console(soft_wrap=True)
    try:
        run(records, console)
    except ClaimFailedError as exc:
        console.print(str(exc), style="bold red", highlight=False, markup=False)
        sys.exit(1)
