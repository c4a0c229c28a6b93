"""`worker residency`: a database declares its region, once, by its administrator."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from worker import environment
from worker.region import Region
from worker.sink.postgres.declare import declaration, declare_region

app = typer.Typer(help="A database's declaration of its region, made once by its administrator.", no_args_is_help=True)

Named = Annotated[str, typer.Option("--region", help="The region to declare.", show_default=False)]


@app.command()
def sql(region: Named) -> None:
    """Print the SQL that declares a region; run it as the database's administrator."""
    typer.echo(declaration(Region(region).name), nl=False)


@app.command()
def declare(
    region: Named,
    dsn_env: Annotated[str, typer.Option(help="Variable with the administrator's connection string.")] = "DATABASE_URL",
) -> None:
    """Declare a database's region as its administrator; a database that declares another one is left as it is."""
    dsn = environment.require(os.environ, dsn_env, "the administrator's connection string")
    typer.echo(f"the database declares region {declare_region(dsn, Region(region).name)}")
