"""An authority whose epochs' and backups' keys lie behind a command, and an erasable keyset of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.unit.authority.conftest import Party, party
from worker.authority.dev import DevAuthority
from worker.authority.erasure.keyholder import CommandKeys
from worker.authority.server import AuthorityOptions

PEOPLE = {"Name": "people"}
_COMMAND = """#!/bin/sh
[ -e {keys}.away ] && exit 1
case $1 in
create) head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \\n' > {keys}/$2 && cat {keys}/$2 ;;
get) cat {keys}/$2 ;;
destroy) rm -f {keys}/$2 ;;
esac
"""


def value(name: str, text: object) -> dict[str, list[str]]:
    """One value of a context as the wire has it."""
    return {"Value": [name, str(text)]}


@dataclass
class KeyService:
    """A directory that plays the operator's key service, behind a command."""

    place: Path

    @property
    def command(self) -> str:
        return str(self.place.with_suffix(".sh"))

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.place.iterdir())

    def go_away(self, away: bool) -> None:
        mark = self.place.with_name(self.place.name + ".away")
        mark.touch() if away else mark.unlink()


@dataclass
class People:
    """An authority with an erasable keyset, and a client that may use it."""

    own: DevAuthority
    client: Party

    def make(self, **context: object) -> tuple[dict[str, Any], bytes]:
        return self.client.generate(keyset=PEOPLE, context=[value(name, text) for name, text in context.items()])

    def erase(self, *values: tuple[str, object]) -> dict[str, Any]:
        asked = [[name, str(text)] for name, text in values]
        answer: dict[str, Any] = self.own.admin("api/erase", {"keyset_id": PEOPLE, "values": asked})
        return answer

    def erased(self, *values: tuple[str, object]) -> dict[str, Any]:
        asked = [[name, str(text)] for name, text in values]
        answer: dict[str, Any] = self.own.admin("api/erased", {"keyset_id": PEOPLE, "values": asked})
        return answer

    def retrieve_each(self, kept: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        body = {"client_id": self.client.client_id, "keyset_id": PEOPLE, "keys": list(kept)}
        keys: list[dict[str, Any]] = self.client.call("retrieve-data-key-fallible", body)["keys"]
        return keys


def with_people(own: DevAuthority) -> People:
    """Make the keyset and let the first client use it."""
    own.admin("create-keyset", {"name": "people", "description": "people", "erasable": True})
    own.grant(own.env["CS_CLIENT_ID"], "people")
    return People(own, party(own))


def key_service_in(directory: Path) -> KeyService:
    """Make a key service whose keys lie in a directory."""
    service = KeyService(directory / "keys")
    service.place.mkdir()
    command = Path(service.command)
    command.write_text(_COMMAND.format(keys=service.place))
    command.chmod(0o700)
    return service


@pytest.fixture
def key_service(tmp_path: Path) -> KeyService:
    """A key service of the test's own."""
    return key_service_in(tmp_path)


@pytest.fixture
def options(key_service: KeyService, tmp_path: Path) -> AuthorityOptions:
    """What the authority with that key service is started with."""
    return AuthorityOptions(
        keys=CommandKeys(key_service.command), journal=tmp_path / "journal", anchor=tmp_path / "anchor"
    )


@pytest.fixture
def people(options: AuthorityOptions, started_once: Path, tmp_path: Path) -> Iterator[People]:
    """An authority with an erasable keyset under epochs."""
    if options.database is None:
        # A trail of before would have seen more than a new database has.
        shutil.copytree(started_once, tmp_path / "own")
    with DevAuthority("eu-central-1", tmp_path / "own", options=options) as own:
        yield with_people(own)


@pytest.fixture
def own_people(own: DevAuthority) -> People:
    """An authority with an erasable keyset under the store's own key."""
    return with_people(own)
