"""A database's declaration of its region, as its administrator makes it."""

from __future__ import annotations

import psycopg

from worker.errors import ConfigError, RegionViolation
from worker.sink.postgres.errors import connection_verdict, place
from worker.sink.postgres.schema import WORKER_SCHEMA

_DECLARE = "INSERT INTO worker.residency (region) VALUES ('{region}') ON CONFLICT (one) DO NOTHING;\n"


def declaration(region: str) -> str:
    """Return the SQL: the worker's own tables, where they are missing, and the region's row, where there is none."""
    return WORKER_SCHEMA.lstrip() + _DECLARE.format(region=region)


def declare_region(dsn: str, region: str) -> str:
    """
    Declare the region and return what the database declares now.

    Raises:
        RegionViolation: it declares another one already; only its administrator may know why, and change it by hand.
        ConfigError: this role may not, or the server refuses it.
        SinkUnavailable: no connection.
    """
    where = f"declaring a region at {place(dsn)}"
    try:
        with psycopg.connect(dsn) as connection:
            # The name is of a region's pattern, which has no quotes.
            connection.execute(declaration(region))  # type: ignore[arg-type,unused-ignore]
            row = connection.execute("SELECT region FROM worker.residency").fetchone()
    except psycopg.errors.InsufficientPrivilege as exc:
        raise ConfigError(f"{where}: this role may not; use the database's owner (SQLSTATE {exc.sqlstate})") from None
    except psycopg.Error as exc:
        raise connection_verdict(exc, where) from None
    found = str(row[0]) if row is not None else ""
    if found != region:
        raise RegionViolation(
            f"{where}: the database declares region {found!r} already, not {region!r}; is that wrong, delete the row "
            "of worker.residency and declare again"
        )
    return found
