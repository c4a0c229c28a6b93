"""A database under running replicas that another version, or a restore, has written to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyrage
import pytest
from sqlalchemy import text

from tests.conftest import DatabaseFactory
from tests.integration.test_replicas import ROOT
from tests.integration.test_replicas_unasked import EU, url_of
from worker.authority.erasure.epochs import Epochs
from worker.authority.erasure.subjects import Subjects
from worker.authority.head import TamperedStore
from worker.authority.management import new_workspace
from worker.authority.recovery.backup import write_backup
from worker.authority.recovery.restore import Anchored, Source, restore
from worker.authority.seal import Sealer
from worker.authority.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture
def dsn(new_database: DatabaseFactory) -> str:
    return new_database()


@pytest.fixture
def store(dsn: str) -> Iterator[Store]:
    """A running replica's, with a workspace."""
    store = Store(url_of(dsn), EU, Sealer(ROOT))
    new_workspace(store, "first")
    yield store
    store.close()


def test_a_replica_that_runs_over_a_store_that_was_restored_stops(store: Store, dsn: str, tmp_path: Path) -> None:
    """It would sign the audit's heads with the key of the incarnation before, which no restore would believe."""
    identity, path = pyrage.x25519.Identity.generate(), tmp_path / "identity"
    path.write_text(str(identity))
    data = write_backup(store, [str(identity.to_public())], Subjects(store, Epochs(store, None)))
    with psycopg.connect(dsn) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")

    restore(url_of(dsn), EU, Sealer(ROOT), Source(data, path, None, Anchored(1, 1)), ["ann"])

    with pytest.raises(TamperedStore, match="restored meanwhile: start this process anew"):
        store.refresh()


@pytest.mark.parametrize(
    ("schema", "said"), [("9999", ", or a newer version .schema 9999."), (None, "; the authority")]
)
def test_rows_of_a_newer_version_are_told_from_altered_ones(
    store: Store, dsn: str, schema: str | None, said: str
) -> None:
    """Both stop a replica; the one is mended by running that version."""
    other = Store(url_of(dsn), EU, Sealer(ROOT))
    new_workspace(other, "second")
    other.close()
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE workspaces SET name = 'else' WHERE name = 'second'")
        if schema is not None:
            connection.execute("UPDATE alembic_version SET version_num = %s", (schema,))

    with pytest.raises(TamperedStore, match=f"not those that the authority wrote{said}"):
        store.refresh()


def test_a_write_is_on_the_disk_whatever_the_database_is_set_to(dsn: str) -> None:
    """A crash of the server would take a revocation back, or an epoch's end whose former key has been destroyed."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    store = Store(url_of(dsn), EU, Sealer(ROOT))

    with store._engine.connect() as own:
        assert own.execute(text("SHOW synchronous_commit")).scalar() == "on"
    store.close()
