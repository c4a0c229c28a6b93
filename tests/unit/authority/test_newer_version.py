"""What a newer version has written is not ignored by this one, and a database that can't serve is told in words."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from tests.authorities import free_port
from worker.authority.head import TamperedStore
from worker.authority.management import new_workspace
from worker.authority.seal import Sealer
from worker.authority.store import Store
from worker.errors import ConfigError, TransientError, WorkerError
from worker.region import Region

EU = Region("eu-central-1")
ROOT = Sealer(bytes(32))
PASSWORD = "pass" + "word"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store's file."""
    place = tmp_path / "authority.sqlite"
    store = Store(place, EU, ROOT)
    new_workspace(store, "first")
    store.close()
    return place


def test_a_store_that_a_newer_version_migrated_is_refused_in_words(place: Path) -> None:
    connection = sqlite3.connect(place)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()

    with pytest.raises(ConfigError, match=r"newer version .*9999.*; start that version"):
        Store(place, EU, ROOT)


def test_a_table_that_this_version_does_not_know_stops_it(place: Path) -> None:
    """It may hold what forbids things: a process of before that serves on beside a newer one may not ignore it."""
    store = Store(place, EU, ROOT)
    head = replace(store.head, version=store.head.version + 1, sums={**store.head.sums, "bans": 1})
    connection = sqlite3.connect(place)
    connection.execute("UPDATE meta SET value = ? WHERE name = 'head'", (head.seal(store.sealer, str(EU)),))
    connection.commit()
    connection.close()

    with pytest.raises(TamperedStore, match="a newer version has written bans: run that version here too"):
        store.refresh()
    store.close()


URLS = {
    "no url": (f"nobody:{PASSWORD}", ConfigError, "none such as postgresql"),
    "no port": (f"postgresql://me:{PASSWORD}@127.0.0.1:port/x", ConfigError, "none such as postgresql"),
    "a file": ("sqlite:////tmp/store.sqlite", ConfigError, "begins with sqlite://"),
    "another driver": (f"postgresql+asyncpg://me:{PASSWORD}@127.0.0.1/x", ConfigError, "begins with postgresql"),
}


@pytest.mark.parametrize("kind", URLS)
def test_an_address_that_replicas_can_t_share_is_refused(kind: str) -> None:
    """Over a file two processes would not see each other's writes; and no message has the password."""
    url, error, words = URLS[kind]

    with pytest.raises(error, match=words) as caught:
        Store(url, EU, ROOT)

    assert PASSWORD not in str(caught.value)


def test_a_database_that_is_away_at_the_start_is_told_in_words() -> None:
    with pytest.raises(TransientError, match=r"127\.0\.0\.1.*can't be used: .*refused") as caught:
        Store(f"postgresql://me:{PASSWORD}@127.0.0.1:{free_port()}/x", EU, ROOT)

    assert isinstance(caught.value, WorkerError)
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None
