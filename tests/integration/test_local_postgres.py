"""The local PostgreSQL is a real one: it keeps what it committed, and asks for a password."""

from __future__ import annotations

from urllib.parse import urlsplit

import psycopg
import pytest

from tests.conftest import DatabaseFactory
from worker.local import LocalPostgres, declare_region

pytestmark = pytest.mark.integration


def region_of(dsn: str) -> str:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT region FROM worker.residency").fetchone()
    assert row is not None
    return str(row[0])


def test_database_declares_the_region_it_was_asked_for(new_database: DatabaseFactory) -> None:
    """A database made with a region has the residency row."""
    assert region_of(new_database(region="eu-central-1")) == "eu-central-1"


def test_declaring_again_changes_the_region(database: str) -> None:
    """The second declaration of one database wins."""
    declare_region(database, "eu-central-1")

    declare_region(database, "us-west-2")

    assert region_of(database) == "us-west-2"


@pytest.mark.fault
def test_killed_server_comes_back_with_what_it_committed() -> None:
    """A row committed before SIGKILL is there after the restart."""
    with LocalPostgres() as local:
        dsn = local.create_database(region="eu-west-1")

        local.kill()
        local.restart()

        assert region_of(dsn) == "eu-west-1"


def test_a_wrong_password_is_refused(postgres: str) -> None:
    """Loopback alone does not let anybody in."""
    parts = urlsplit(postgres)
    wrong = parts._replace(netloc=f"{parts.username}:wrong@{parts.hostname}:{parts.port}").geturl()

    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(wrong)
