"""A request that takes its time: what was taken back before its body was whole holds for it too."""

from __future__ import annotations

import base64
import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import time_machine

from tests.unit.authority.conftest import lines, with_token
from worker.authority import schema
from worker.authority.answering import _SOON_S
from worker.authority.dev import DevAuthority
from worker.authority.remote import Remote
from worker.authority.rights import ROLES
from worker.authority.tokens import LIFETIME_S
from worker.errors import KeyAccessDenied
from worker.model import Audit, KeySpec
from worker.zerokms.factory import client_from_environment


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevAuthority]:
    """One for all of them; each takes away from an identity of its own."""
    with DevAuthority("eu-central-1", tmp_path_factory.mktemp("own")) as running:
        yield running


class Slow:
    """A request whose caller has been let in, and whose body has not come."""

    def __init__(self, url: str, caller: Remote, path: str, body: dict[str, Any]) -> None:
        caller.workspace()
        place = urlsplit(url)
        self._body = json.dumps(body).encode()
        self._socket = socket.create_connection((place.hostname, place.port), 20)
        head = f"POST {path} HTTP/1.1\r\nhost: {place.netloc}\r\nauthorization: Bearer {caller._token}\r\n"
        head += f"content-length: {len(self._body)}\r\nconnection: close\r\nexpect: 100-continue\r\n\r\n"
        self._socket.sendall(head.encode())
        # It is asked for once the caller has been looked at.
        assert b"100 Continue" in self._socket.recv(4096)

    def end(self) -> int:
        """Send the body and return the answer's status."""
        self._socket.sendall(self._body)
        answer = b""
        while part := self._socket.recv(65536):
            answer += part
        self._socket.close()
        return int(answer.split()[1])


TAKEN_BACK = {
    "the access key": lambda own, name, key: own.admin("api/access-key", {"keyName": name}, "DELETE"),
    "the subject": lambda own, name, key: own.admin("api/subjects/block", {"subject": f"CS|{key.partition('.')[0]}"}),
}


def named(own: DevAuthority, name: str, role: str, client: str | None) -> str:
    """An access key of a name."""
    body = {"keyName": name, "role": role, **({"client": client} if client else {})}
    made: str = own.admin("api/access-keys", body)["accessKey"]
    return made


@pytest.mark.parametrize("kind", TAKEN_BACK)
def test_nobody_writes_by_rights_that_were_taken_back_meanwhile(own: DevAuthority, kind: str) -> None:
    """A stolen admin's key that was deleted makes no other one with a request that had begun before."""
    stolen = named(own, f"admin: {kind}", "admin", None)
    slow = Slow(own.url, Remote(own.url, stolen), "/api/access-keys", {"keyName": "hidden", "role": "admin"})

    TAKEN_BACK[kind](own, f"admin: {kind}", stolen)

    assert slow.end() == 401
    assert "hidden" not in {row["keyName"] for row in own.admin("api/access-keys", None, "GET")}
    assert [e for e in lines(own) if e["operation"] == "create-access-key"][-1]["outcome"] == "refused"


@pytest.mark.parametrize("kind", TAKEN_BACK)
def test_no_key_goes_to_whom_it_was_taken_from_while_the_body_came(own: DevAuthority, kind: str) -> None:
    """The bound on an honest worker holds for who sends slowly, too."""
    client = own.env["CS_CLIENT_ID"]
    stolen = named(own, f"member: {kind}", "member", client)
    item = {"iv": base64.b64encode(os.urandom(16)).decode(), "descriptor": "a/b"}
    body = {"client_id": client, "keyset_id": None, "keys": [item]}
    slow = Slow(own.url, Remote(own.url, stolen), "/generate-data-key", body)

    TAKEN_BACK[kind](own, f"member: {kind}", stolen)
    # What is told to be soon, and nothing that is waited for.
    time.sleep(_SOON_S)

    assert slow.end() == 401
    assert [e for e in lines(own) if e["operation"] == "generate"][-1]["outcome"] == "refused"


def test_a_role_that_was_narrowed_meanwhile_writes_nothing(own: DevAuthority) -> None:
    """Rights that are others than those it was let in with: it asks again."""
    store = own.authority.store
    key = named(own, "narrowed", "admin", None)
    slow = Slow(own.url, Remote(own.url, key), "/create-keyset", {"name": "late", "description": "late"})
    place = key.removeprefix("CSAK").partition(".")[0]
    store.write(lambda t: t.update(schema.access_keys, place, {"scopes": sorted(ROLES["monitor"])}))

    assert slow.end() == 401
    assert "late" not in {row["name"] for row in own.admin("list-keysets", {})}


def test_a_command_that_outlives_its_token_goes_on(own: DevAuthority) -> None:
    """An export of more than a quarter of an hour exchanges its access key anew."""
    call = Remote(own.url, own.env["CS_ADMIN_ACCESS_KEY"])
    with time_machine.travel(time.time() - 2 * LIFETIME_S):
        call("list-keysets", {})

    assert call("list-keysets", {})


def test_a_clock_that_was_put_back_costs_a_client_one_exchange(own: DevAuthority) -> None:
    """A token of what is the future now is refused, and says why; whoever asks with another one goes on."""
    client = client_from_environment(own.env, allow_hosts=(urlsplit(own.url).netloc,))
    admin = Remote(own.url, own.env["CS_ADMIN_ACCESS_KEY"])
    with client:
        with time_machine.travel(time.time() + 7200):
            client.generate([KeySpec(None, "a/b")], Audit("test"))
            admin("list-keysets", {})
            ahead = admin._token

        assert len(client.generate([KeySpec(None, "a/b")], Audit("test"))) == 1
    assert admin("list-keysets", {})
    with pytest.raises(KeyAccessDenied, match="ahead of this clock"):
        with_token(own, ahead)("list-keysets", {})
    used = {row["keyName"]: row["lastUsedAt"] for row in own.admin("api/access-keys", None, "GET")}
    assert used["first"] < time.time() + 60
