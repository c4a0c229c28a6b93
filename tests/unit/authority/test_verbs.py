"""Every admin verb is a request with an access key: what each asks for stands in the docs, and none opens a store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pyrage import x25519
from typer.testing import CliRunner

from tests.unit.authority.erasure.conftest import key_service_in
from worker.authority.access import hash_secret
from worker.authority.dev import DevAuthority, read_env
from worker.authority.endpoints import ENDPOINTS, OPEN
from worker.authority.erasure.keyholder import CommandKeys
from worker.authority.remote import Remote
from worker.authority.server import AuthorityOptions
from worker.authority.store import Store
from worker.cli.root import app, mount

DOCS = Path(__file__).parents[3] / "docs" / "authority.md"
GROUPS = ("authority", "client", "keyset", "access-key")
ROW = "[0-9a-f-]{36}"
CREDENTIAL = "shown at a restore, once"
OFFLINE = {"authority serve", "authority dev", "authority restore", "authority drill", "authority audit verify"}
"""What starts an authority, makes a store where none is, or reads files that an auditor has."""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[DevAuthority]:
    """An authority whose epochs' keys lie behind a command."""
    keys = CommandKeys(key_service_in(tmp_path).command)
    with DevAuthority("eu-central-1", tmp_path / "own", options=AuthorityOptions(keys=keys)) as running:
        yield running


def verbs() -> set[str]:
    """The commands that are an authority's."""
    root: Any = typer.main.get_command(app)

    def below(command: Any, name: str) -> Iterator[str]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name
        for each, one in (inner or {}).items():
            yield from below(one, f"{name} {each}")

    return {verb for group in GROUPS for verb in below(root.commands[group], group)}


def described() -> dict[str, list[str]]:
    """The docs' table: which endpoints each verb asks."""
    rows = re.findall(r"^\| `worker ([a-z -]+)` \| (`.*`) \|$", DOCS.read_text(), re.MULTILINE)
    return {verb: re.findall(r"`([A-Z]+ /[^`]*)`", endpoints) for verb, endpoints in rows}


class Run:
    """Runs verbs with an admin's variables, and notes which endpoints each asked."""

    def __init__(self, own: DevAuthority, monkeypatch: pytest.MonkeyPatch) -> None:
        self._own, self.asked = own, {}
        self._now: list[str] = []
        send = Remote._send

        def noted(remote: Remote, endpoint: str, body: Any, method: str) -> Any:
            if endpoint != "api/authorise":
                self._now.append(f"{method} /{re.sub(ROW, '{row}', endpoint)}")
            return send(remote, endpoint, body, method)

        def refused(*_: Any, **__: Any) -> None:
            raise AssertionError("a verb opens a store")

        monkeypatch.setattr(Remote, "_send", noted)
        monkeypatch.setattr(Store, "__init__", refused)

    asked: dict[str, list[str]]

    def __call__(self, verb: str, *arguments: str, **more: str) -> str:
        self._now.clear()
        ended = CliRunner().invoke(
            app, [*verb.split(), *arguments], env={**self._own.env, **more}, catch_exceptions=False
        )
        assert ended.exit_code == 0, (verb, ended.output)
        self.asked[verb] = list(dict.fromkeys(self._now))
        return ended.stdout


def test_each_verb_asks_what_the_docs_say(own: DevAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an access key and the authority's address alone; what needs more is named here."""
    mount()
    run, first, region = Run(own, monkeypatch), own.env["CS_CLIENT_ID"], ("--region", "eu-central-1")
    run("keyset create", "people", "--erasable")
    run("keyset list")
    run("keyset grant", "people", first)
    run("keyset disable", "people")
    run("keyset enable", "people")
    subject = ("--keyset", "people", "--context", "customer_id=42")
    recipient = str(x25519.Identity.generate().to_public())
    run("authority backup", "--output", str(tmp_path / "backup"), "--recipient", recipient)
    run("authority erase", *subject, "--yes")
    run("authority erased", *subject)
    run("authority end-epoch")
    name = own.admin("api/backups", None, "GET")[0]["name"]
    run("authority backups")
    run("authority expire-backup", name)
    run("keyset revoke", "people", first)
    run("client create", "third", *region, "--via", "--proposal", str(tmp_path / "proposal"))
    third = next(row["id"] for row in own.admin("list-clients", {}) if row["name"] == "third")
    run("client approve", third, "--yes")
    run("client list")
    run("client limit", third, "--generate-per-minute", "7")
    run("client delete", third, "--yes")
    run("client create", "fourth", *region, "--via", "--env-file", str(tmp_path / "fourth"))
    env = read_env(tmp_path / "fourth")
    run("client rotate", "fifth", *region, "--env-file", str(tmp_path / "fifth"), **env)
    run("access-key create", "scraper", "--role", "monitor")
    run("access-key bind", "scraper", first)
    run("access-key list")
    run("access-key delete", "scraper")
    (tmp_path / "jwks").write_text('{"keys": []}')
    provider = ("--issuer", "https://idp/", "--audience", "a", "--jwks", str(tmp_path / "jwks"))
    row = json.loads(run("authority provider add", *provider))["id"]
    run("authority provider default", row, "--default-role", "writer")
    run("authority provider list")
    member = json.loads(run("authority member add", "CS|ann", "--role", "member", "--client", first))["id"]
    run("authority member list")
    run("authority member remove", member)
    run("authority provider remove", row)
    run("authority block", "CS|eve")
    run("authority blocked")
    run("authority unblock", "CS|eve")
    run("authority status")
    run("authority audit tail")
    run("authority audit query")
    run("authority audit export", "--output", str(tmp_path / "audit"))
    own.authority.store.write(lambda _: None, lock=lambda _: (hash_secret(CREDENTIAL).hex(),))
    run("authority unlock", "--credential", CREDENTIAL)

    assert set(run.asked) == verbs() - OFFLINE
    assert run.asked == described()
    endpoints = {f"{e.method} {e.path}" for e in ENDPOINTS} | {f"{method} {path}" for method, path in OPEN}
    assert {name for asked in run.asked.values() for name in asked} <= endpoints
