"""One authority for the tests that only ask; those that revoke make one of their own."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from worker.authority.dev import DevAuthority
from worker.authority.enrol import Existing
from worker.authority.remote import Remote
from worker.zerokms.derive import ClientKey, check_material, derive


class Party:
    """A client with its key, asking an authority by hand."""

    def __init__(self, url: str, access_key: str, client_id: str, client_key: str) -> None:
        self.call = Remote(url, access_key)
        self.client_id = client_id
        self.key = ClientKey.parse(client_key)

    def generate(self, descriptor: str = "a/b", **more: Any) -> tuple[dict[str, Any], bytes]:
        """Make one key; return what an envelope would keep, and the key."""
        item = {"iv": base64.b64encode(os.urandom(16)).decode(), "descriptor": descriptor, **more}
        keyset = item.pop("keyset", None)
        body = {"client_id": self.client_id, "keyset_id": keyset, "keys": [item]}
        answer = self.call("generate-data-key", body)["keys"][0]
        kept = {**item, "tag": list(base64.b64decode(answer["tag"]))}
        if "decryption_policy" in answer:
            kept |= {"decryption_policy": answer["decryption_policy"], "tag_version": 1}
        return kept, self.derive(item["iv"], answer["key_material"])

    def retrieve(self, kept: dict[str, Any], keyset: Any = None) -> bytes:
        """Make a key again."""
        body = {"client_id": self.client_id, "keyset_id": keyset, "keys": [kept]}
        return self.derive(kept["iv"], self.call("retrieve-data-key", body)["keys"][0]["key_material"])

    def derive(self, iv: str, text: str) -> bytes:
        """Derive the data key of one answer."""
        ivs, material = base64.b64decode(iv), base64.b64decode(text)
        check_material(self.key, ivs, material)
        return bytes(derive(self.key, ivs, material))


def party(authority: DevAuthority, suffix: str = "", access_key: str | None = None) -> Party:
    """One of an authority's two clients."""
    env = authority.env
    key = access_key or env[f"CS_CLIENT_ACCESS_KEY{suffix}"]
    return Party(authority.url, key, env[f"CS_CLIENT_ID{suffix}"], env[f"CS_CLIENT_KEY{suffix}"])


def existing(authority: DevAuthority) -> Existing:
    """An authority's first client, to enrol another through."""
    env = authority.env
    own = Remote(authority.url, env["CS_CLIENT_ACCESS_KEY"])
    return Existing(UUID(env["CS_CLIENT_ID"]), ClientKey.parse(env["CS_CLIENT_KEY"]), own)


def access_key(authority: DevAuthority, client: str | None, role: str = "member", **more: Any) -> str:
    """Make an access key that is bound to a client."""
    body = {"keyName": os.urandom(8).hex(), "role": role, "client": client, **more}
    made: str = authority.admin("api/access-keys", body)["accessKey"]
    return made


def with_token(authority: DevAuthority, token: str) -> Remote:
    """A caller with a service token of choice."""
    call = Remote(authority.url, "unused")
    call._token = token
    return call


def lines(authority: DevAuthority) -> list[dict[str, Any]]:
    """The audit trail."""
    return [json.loads(line) for line in authority.audit_path.read_text().splitlines()]


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevAuthority]:
    """An authority that no test changes in a way another would notice."""
    with DevAuthority("eu-central-1", tmp_path_factory.mktemp("dev")) as running:
        yield running


@pytest.fixture
def own(started_once: Path, tmp_path: Path) -> Iterator[DevAuthority]:
    """An authority of the test's own."""
    with DevAuthority("eu-central-1", shutil.copytree(started_once, tmp_path / "own")) as running:
        yield running


@pytest.fixture
def key_with(dev: DevAuthority) -> Callable[..., str]:
    """Make access keys with a role and scopes of choice, bound to the first client."""
    return lambda role="admin", **more: access_key(dev, **{"client": dev.env["CS_CLIENT_ID"], "role": role, **more})
