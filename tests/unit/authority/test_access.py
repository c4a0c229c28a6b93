"""Who may do what: every scope, every revocation, every malformed request."""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from tests.unit.authority.conftest import party, with_token
from worker.authority.dev import DevAuthority
from worker.authority.endpoints import ENDPOINTS
from worker.authority.seal import Sealer
from worker.authority.store import Store
from worker.errors import ConfigError, KeyAccessDenied, RegionViolation
from worker.http_client import open_client
from worker.region import Region

IV = base64.b64encode(bytes(16)).decode()


def test_a_writer_retrieves_the_canary_alone(dev: DevAuthority, key_with: Callable[..., str]) -> None:
    """A writer's stolen credential opens nothing that was written before but the canary."""
    writer = party(dev, access_key=key_with("writer"))
    kept, _ = writer.generate("a/b")
    canary, key = writer.generate("zk-canary")

    assert writer.retrieve(canary) == key
    with pytest.raises(KeyAccessDenied, match="data_key:retrieve"):
        writer.retrieve(kept)
    with pytest.raises(KeyAccessDenied, match="data_key:retrieve"):
        writer.retrieve({**kept, "descriptor": "zk-canary"} | {"descriptor": "a/b"})
    with pytest.raises(KeyAccessDenied, match="lock requirements"):
        writer.retrieve({**kept, "descriptor": "zk-canary"})


@pytest.mark.parametrize("how", ["delete_client", "revoke", "disable_keyset", "access_key", "subject"])
def test_every_revocation_holds_at_the_next_request(own: DevAuthority, how: str) -> None:
    """Whatever is taken away is refused at once, with the token the client already holds."""
    first = party(own)
    kept, _ = first.generate()
    subject = "CS|" + own.env["CS_CLIENT_ACCESS_KEY"].partition(".")[0]
    acts: dict[str, Callable[[], Any]] = {
        "delete_client": lambda: own.delete_client(first.client_id),
        "revoke": lambda: own.revoke(first.client_id, "default"),
        "disable_keyset": lambda: own.disable_keyset("default"),
        "access_key": lambda: own.admin("api/access-key", {"keyName": "first"}, "DELETE"),
        "subject": lambda: own.admin("api/subjects/block", {"subject": subject}),
    }

    acts[how]()

    with pytest.raises(KeyAccessDenied):
        first.retrieve(kept)
    with pytest.raises(KeyAccessDenied):
        first.generate()


def test_an_enabled_keyset_serves_again(own: DevAuthority) -> None:
    """Disabling loses nothing."""
    kept, key = party(own).generate()
    own.disable_keyset("default")
    own.enable_keyset("default")

    assert party(own).retrieve(kept) == key


def test_a_client_of_another_region_is_refused(own: DevAuthority) -> None:
    """An enrolment for another region is refused by name."""
    with pytest.raises(KeyAccessDenied, match="ap-southeast-2"):
        own.admin("propose-client", {"name": "x", "region": "ap-southeast-2"})


def test_a_store_of_another_region_is_refused(own: DevAuthority) -> None:
    """An authority does not open another region's store."""
    own.stop()

    with pytest.raises(RegionViolation, match="eu-central-1"):
        DevAuthority("ap-southeast-2", own.audit_path.parent)


def test_a_store_opens_with_its_root_key_alone(own: DevAuthority) -> None:
    """Another root key is refused at the start."""
    own.stop()

    with pytest.raises(ConfigError, match="root"):
        Store(own.audit_path.parent / "authority.sqlite", Region("eu-central-1"), Sealer(os.urandom(32)))


def test_two_processes_can_not_share_a_store(own: DevAuthority) -> None:
    """A second opener is refused, so that no revocation can be missed."""
    with pytest.raises(ConfigError, match="another process"):
        Store(own.audit_path.parent / "authority.sqlite", Region("eu-central-1"), Sealer(os.urandom(32)))


def _token(dev: DevAuthority) -> str:
    answer: str = dev.admin("api/authorise", {"accessKey": dev.env["CS_CLIENT_ACCESS_KEY"]})["accessToken"]
    return answer


def _claims(dev: DevAuthority, **more: Any) -> dict[str, Any]:
    payload = _token(dev).split(".")[1]
    return {**json.loads(base64.urlsafe_b64decode(payload + "==")), **more}


@pytest.mark.parametrize("forgery", ["none", "hs256", "other_key", "expired", "other_region"])
def test_a_forged_token_is_refused(dev: DevAuthority, forgery: str) -> None:
    """No algorithm but RS256 under our own key counts, nor a token of another time or region."""
    ours = dev.authority.tokens
    public = json.dumps(ours.jwks()["keys"][0]).encode()
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode() + "." + _token(dev).split(".")[1] + "."
    key = ours.signing_key
    head = {"alg": "RS256", "kid": key.kid}
    past = _claims(dev, iat=int(time.time()) - 2000, exp=int(time.time()) - 1000)
    forged = {
        "none": lambda: none,
        "hs256": lambda: jwt.encode({**head, "alg": "HS256"}, _claims(dev), OctKey.import_key(public)),
        "other_key": lambda: jwt.encode(head, _claims(dev), RSAKey.generate_key(2048), algorithms=["RS256"]),
        "expired": lambda: jwt.encode(head, past, key, algorithms=["RS256"]),
        "other_region": lambda: jwt.encode(head, _claims(dev, region="ap-southeast-2"), key, algorithms=["RS256"]),
    }[forgery]()

    with pytest.raises(KeyAccessDenied, match="401"):
        with_token(dev, forged)("list-keysets", {})


def test_another_workspaces_token_sees_nothing_of_this_one(own: DevAuthority) -> None:
    """A client of one workspace does not exist for a token of another."""
    from worker.authority.management import Narrowing, make_access_key, new_workspace

    other = new_workspace(own.authority.store, "other")
    key = make_access_key(own.authority.store, other, "admin", "admin", Narrowing(client=own.env["CS_CLIENT_ID"]))
    stranger = party(own, access_key=key)

    with pytest.raises(KeyAccessDenied, match="404"):
        stranger.generate()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "not JSON"),
        (b'{"show_disabled": true, "show_disabled": false}', "repeats a name"),
        (b'{"show_disabled": NaN}', "not JSON"),
        (b'{"unknown": 1}', "extra_forbidden"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b" " * (5 * 1024 * 1024), "longer than"),
    ],
    ids=["broken", "repeated", "nan", "unknown", "deep", "not-utf8", "huge"],
)
def test_a_malformed_body_is_a_4xx_with_a_reason(dev: DevAuthority, body: bytes, reason: str) -> None:
    """Whatever arrives, the answer is a reason, and its type is exactly application/json."""
    headers = {"authorization": f"Bearer {_token(dev)}", "content-type": "application/json"}
    request = urllib.request.Request(dev.url + "list-keysets", data=body, headers=headers)

    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)

    with caught.value as answer:
        assert 400 <= answer.code < 500
        assert reason in answer.read().decode()
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "item",
    [
        {"iv": "!", "descriptor": "a"},
        {"iv": "AAAA", "descriptor": "a"},
        {"iv": IV, "descriptor": "x" * 513},
        {"iv": IV, "descriptor": "a", "context": [{}]},
        {"iv": IV, "descriptor": "a", "context": [{"Tag": "a", "IdentityClaim": "sub"}]},
        {
            "iv": IV,
            "descriptor": "a",
            "context": [{"Tag": "a"}],
            "decryption_policy": {"conditions": [{"claim": "sub"}]},
        },
    ],
)
def test_a_malformed_item_is_a_400(dev: DevAuthority, item: dict[str, Any]) -> None:
    """Wrong base64, wrong lengths and ambiguous contexts are refused."""
    with pytest.raises(KeyAccessDenied, match="400"):
        party(dev).call("generate-data-key", {"client_id": dev.env["CS_CLIENT_ID"], "keys": [item]})


def test_too_many_keys_are_refused(dev: DevAuthority) -> None:
    """A request has a bounded number of keys."""
    item = {"iv": IV, "descriptor": "a"}

    with pytest.raises(KeyAccessDenied, match="413"):
        party(dev).call("generate-data-key", {"client_id": dev.env["CS_CLIENT_ID"], "keys": [item] * 1001})


def test_only_health_and_keys_are_open(dev: DevAuthority) -> None:
    """Every other endpoint refuses a caller without a token."""
    for endpoint in ENDPOINTS:
        with pytest.raises(KeyAccessDenied, match="401"):
            with_token(dev, "x")(endpoint.path.strip("/").replace("{row}", "x"), {}, endpoint.method)


@pytest.mark.parametrize("path", ["healthz", "readyz", ".well-known/jwks.json"])
def test_a_balancer_may_ask_for_the_head_alone(dev: DevAuthority, path: str) -> None:
    """It is told what a GET is, without the body."""
    with open_client(timeout_s=30) as client:
        whole, head = client.get(dev.url + path), client.head(dev.url + path)

    assert (head.status_code, head.content) == (whole.status_code, b"") == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))


def test_every_derivation_is_audited(own: DevAuthority) -> None:
    """Allowed and refused requests leave a line each, without ivs, materials or context values."""
    first = party(own)
    first.generate("a/b", context=[{"Value": ["tenant", "very-secret-tenant"]}])
    own.disable_keyset("default")
    with pytest.raises(KeyAccessDenied):
        first.generate("a/b")

    text = own.audit_path.read_text()
    lines = [each for each in map(json.loads, text.splitlines()) if each["operation"] == "generate"][-2:]

    assert [line["outcome"] for line in lines] == ["allowed", "refused"]
    assert lines[0]["descriptors"] == {"a/b": 1}
    assert lines[0]["contexts"]
    assert "very-secret-tenant" not in text


def test_a_trail_that_can_not_be_written_stops_the_answer(own: DevAuthority) -> None:
    """Without an audit there is no key."""
    from worker.errors import KeyServiceUnavailable

    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, own.authority.trail.descriptor)
    os.close(full)

    with pytest.raises(KeyServiceUnavailable, match="503"):
        party(own).generate()


def test_an_identity_provider_s_user_is_let_in(own: DevAuthority) -> None:
    """A token of the trusted provider is exchanged; one for another audience, or expired, is not."""
    key = RSAKey.generate_key(2048, auto_kid=True)
    jwks = {"keys": [key.as_dict(private=False)]}
    issuer = "https://idp.example/"
    provider = {"issuer": issuer, "vendor": "okta", "audience": "worker", "jwks": jwks, "default_role": "member"}
    own.admin("api/oidc/providers", provider)
    workspace = own.env["CS_WORKSPACE_CRN"].rpartition(":")[2]
    now = int(time.time())

    def exchange(**claims: Any) -> str:
        all_claims = {"iss": issuer, "aud": "worker", "sub": "ann", "exp": now + 60, **claims}
        text = jwt.encode({"alg": "RS256", "kid": key.kid}, all_claims, key, algorithms=["RS256"])
        token: str = own.admin("api/authorise", {"oidcToken": text, "workspaceId": workspace})["accessToken"]
        return token

    assert with_token(own, exchange())("list-keysets", {})
    for wrong in ({"aud": "other"}, {"iss": "https://other/"}, {"exp": now - 1}, {"sub": ""}, {"nbf": now + 60}):
        with pytest.raises(KeyAccessDenied, match="401"):
            exchange(**wrong)


def test_the_store_s_files_are_their_owner_s_alone(own: DevAuthority) -> None:
    """Nobody else may look into the directory, or at anything in it."""
    directory: Path = own.audit_path.parent

    assert directory.stat().st_mode & 0o077 == 0
    assert {path.name for path in directory.iterdir() if path.stat().st_mode & 0o077} <= {"authority.lock"}
