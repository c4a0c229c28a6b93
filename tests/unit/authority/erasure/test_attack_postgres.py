"""The attack on a store in PostgreSQL: its raw files, dead rows and chunks of wide ones and the log included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.unit.authority.erasure import pages
from tests.unit.authority.erasure.conftest import KeyService, People
from tests.unit.authority.erasure.thief import ANN, Thief
from worker.authority.server import AuthorityOptions
from worker.local import LocalPostgres

pytestmark = [pytest.mark.integration, pytest.mark.heavy]
BEN = ("customer_id", 43)
Raw = Callable[[Path], list[bytes]]


@pytest.fixture
def server() -> Iterator[LocalPostgres]:
    """A server of the test's own, whose files can be read."""
    with LocalPostgres() as running:
        yield running


@pytest.fixture
def options(options: AuthorityOptions, server: LocalPostgres) -> AuthorityOptions:
    """The authority's store is a database of it."""
    dsn = server.create_database()
    return replace(options, database=dsn.replace("postgresql://", "postgresql+psycopg://", 1))


@pytest.fixture
def thief(people: People, key_service: KeyService, tmp_path: Path, server: LocalPostgres) -> Callable[..., Thief]:
    """Take what there is now: of the server's files all, or some."""

    def take(*parts: Raw) -> Thief:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        copies = [pages.copy_of(part(server.data)) for part in parts or (everything,)]
        return Thief.of(people, tmp_path, key_service, copies, [ANN, BEN])

    return take


def everything(data: Path) -> list[bytes]:
    """All of the server's files."""
    return pages.tables(data) + pages.log(data)


def test_raw_files_open_it_before_the_epochs_key_is_destroyed_and_not_after(
    people: People, thief: Callable[..., Thief]
) -> None:
    """Also dead rows alone and the log alone do before; a living value opens before and after."""
    (ann, ann_key), (ben, ben_key), (living, living_key) = (people.make(customer_id=n) for n in (42, 43, 44))
    people.erase(ANN)
    before = thief()
    for taken in (before, thief(pages.tables), thief(pages.log)):
        # The journal, which opens her value as well, is not asked.
        assert ann_key in replace(taken, raw=taken.raw[:-1]).opens(ann)
    assert living_key in before.opens(living)

    people.own.admin("api/epoch")

    after = thief()
    after.raw.extend(before.raw)
    assert ann_key not in after.opens(ann)
    assert living_key in after.opens(living)

    people.erase(BEN)

    # The tree without Ann, from which he opens now, is wide: what is left of it is chunks of a dead row.
    second = thief()
    assert ben_key in replace(second, raw=second.raw[:-1]).opens(ben)
    second.raw.extend(after.raw)
    assert ann_key not in second.opens(ann)

    people.own.admin("api/epoch")

    last = thief()
    last.raw.extend(second.raw)
    assert not {ann_key, ben_key} & (last.opens(ann) | last.opens(ben))
    assert living_key in last.opens(living)
