"""Forged, replayed, swapped and expired tokens, and ids of others, on every endpoint."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from tests.unit.authority.conftest import access_key, party
from tests.unit.authority.test_rights import BODIES
from worker.authority.dev import DevAuthority
from worker.authority.endpoints import ENDPOINTS, Endpoint
from worker.authority.management import make_access_key, new_workspace
from worker.authority.remote import Remote

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]
SIGNED_BY_US = {"algorithms": ["RS256"]}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevAuthority]:
    """The authority that is attacked."""
    with DevAuthority("eu-central-1", tmp_path_factory.mktemp("own")) as running:
        yield running


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevAuthority]:
    """Another authority of the same region, whose tokens are good there."""
    with DevAuthority("eu-central-1", tmp_path_factory.mktemp("other")) as running:
        yield running


def token(authority: DevAuthority, key: str | None = None) -> str:
    made = authority.admin("api/authorise", {"accessKey": key or authority.env["CS_ADMIN_ACCESS_KEY"]})
    return str(made["accessToken"])


def claims(text: str, **more: Any) -> dict[str, Any]:
    return {**json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "==")), **more}


def b64(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def forgeries(own: DevAuthority, other: DevAuthority) -> dict[str, str]:
    """Tokens that are none."""
    good, member, key = token(own), token(own, own.env["CS_CLIENT_ACCESS_KEY"]), own.authority.tokens.signing_key
    head, now = {"alg": "RS256", "kid": key.kid}, int(time.time())
    public = json.dumps(own.authority.tokens.jwks()["keys"][0])
    deleted = access_key(own, None, "admin", keyName="deleted")
    replayed = token(own, deleted)
    own.admin("api/access-key", {"keyName": "deleted"}, "DELETE")
    first, payload, signature = good.split(".")

    def signed(changed: dict[str, Any], by: Any = key, header: dict[str, Any] | None = None) -> str:
        return jwt.encode(header or head, changed, by, algorithms=["RS256", "HS256"])

    return {
        "empty": ".",
        "no algorithm": f"{b64({'alg': 'none'})}.{payload}.",
        "public key as a secret": signed(claims(good), OctKey.import_key(public), {**head, "alg": "HS256"}),
        "another key": signed(claims(good), RSAKey.generate_key(2048)),
        "another authority's": token(other),
        "key in the header": signed(
            claims(good), RSAKey.generate_key(2048), {**head, "jwk": RSAKey.generate_key(2048).as_dict(private=False)}
        ),
        "swapped payload": f"{first}.{payload}.{member.split('.')[2]}",
        "raised payload": f"{first}.{b64(claims(member, sub=claims(good)['sub']))}.{member.split('.')[2]}",
        "cut signature": f"{first}.{payload}.{signature[:-8]}",
        "expired": signed(claims(good, iat=now - 2000, exp=now - 1000)),
        "not yet": signed(claims(good, iat=now + 1000, exp=now + 2000)),
        "another region's": signed(claims(good, region="ap-southeast-2")),
        "deleted access key": replayed,
        "unknown workspace": signed(claims(good, workspace="A" * 16)),
        "nobody's access key": signed(claims(good, sub="CS|CSAKNOBODY")),
        "removed provider": signed(claims(good, sub="CS|ann", azp="OIDC|gone", client=None)),
        "access key by a provider": signed(claims(good, azp="OIDC|gone")),
        "access key itself": own.env["CS_ADMIN_ACCESS_KEY"],
    }


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.method} {e.path}")
def test_no_forgery_is_let_in(own: DevAuthority, forgeries: dict[str, str], endpoint: Endpoint) -> None:
    """Every endpoint answers 401, and nothing of the store moves."""
    before = own.authority.store.head.version
    answers = {}
    with httpx.Client(base_url=own.url, trust_env=False, timeout=30) as client:
        for name, text in forgeries.items():
            if name == "access key itself" and endpoint.path == "/metrics":
                continue
            headers = {"authorization": f"Bearer {text}"}
            path = endpoint.path.replace("{row}", "x")
            answers[name] = client.request(
                endpoint.method, path, json=BODIES.get(endpoint.path), headers=headers
            ).status_code

    assert answers == dict.fromkeys(answers, 401)
    assert own.authority.store.head.version == before


def _named(own: DevAuthority) -> Callable[[Any], Any]:
    """Replace the harmless ids of a body by those of the attacked workspace."""
    state, store = own.env, own.authority.store.state
    keyset = next(iter(store.keysets))

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: ({"Uuid": keyset} if k == "keyset_id" else named(v)) for k, v in value.items()}
        return state["CS_CLIENT_ID"] if value == "00000000-0000-0000-0000-000000000000" else value

    return named


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.method} {e.path}")
def test_another_workspace_s_admin_reaches_nothing(own: DevAuthority, endpoint: Endpoint, tmp_path: Path) -> None:
    """With this workspace's ids in its requests, an admin of another sees and changes nothing of it."""
    store = own.authority.store
    workspace = new_workspace(store, "stranger")
    call = Remote(own.url, make_access_key(store, workspace, "admin", "admin"))
    mine = own.env["CS_WORKSPACE_CRN"].rpartition(":")[2]

    def rows() -> list[Any]:
        return [
            row
            for table in ("keysets", "clients", "access_keys", "memberships", "oidc_providers")
            for row in store.state.tables[table].values()
            if row["workspace"] == mine
        ]

    before, grants = rows(), dict(store.state.grants)
    body = _named(own)(BODIES.get(endpoint.path))
    token = call("api/authorise", {"accessKey": call._access_key})["accessToken"]
    headers = {"authorization": f"Bearer {token}"}
    path = endpoint.path.replace("{row}", next(iter(store.state.clients)))
    reply = httpx.request(endpoint.method, own.url + path[1:], json=body, headers=headers, trust_env=False, timeout=30)

    assert reply.status_code < 500
    assert (rows(), dict(store.state.grants)) == (before, grants)
    for secret in (own.env["CS_CLIENT_ID"], own.env["CS_CLIENT_ID_2"], mine):
        assert secret not in reply.text


def test_a_client_s_token_gets_nothing_of_another_client(own: DevAuthority) -> None:
    """Every derivation endpoint refuses the other client's id, and says the same of one that is nobody's."""
    first, second = party(own), party(own, "_2")
    for endpoint in (e for e in ENDPOINTS if e.kind == "derive"):
        answers = set()
        for client in (second.client_id, "00000000-0000-0000-0000-000000000000"):
            body = {**BODIES[endpoint.path], "client_id": client}
            reply = httpx.post(
                own.url + endpoint.path[1:],
                json=body,
                headers={"authorization": f"Bearer {token(own, own.env['CS_CLIENT_ACCESS_KEY'])}"},
                trust_env=False,
            )
            answers.add((reply.status_code, reply.text))
        assert len(answers) == 1
        assert next(iter(answers))[0] == 403
    assert first.generate()
