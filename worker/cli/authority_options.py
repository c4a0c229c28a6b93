"""Options that the commands share which call an authority."""

from __future__ import annotations

from typing import Annotated

import typer

Url = Annotated[str, typer.Option(envvar="CS_ZEROKMS_HOST", help="The authority's address.")]
AdminKey = Annotated[str, typer.Option(envvar="CS_ADMIN_ACCESS_KEY", help="An admin's access key.")]
AccessKey = Annotated[
    str,
    typer.Option(envvar=["CS_ADMIN_ACCESS_KEY", "CS_CLIENT_ACCESS_KEY"], help="An access key that may do this."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON value on standard output.")]
