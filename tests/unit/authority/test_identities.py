"""Subjects of an identity provider: who they are without a membership, whose keys they derive, their names."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.unit.authority.conftest import Party, party, with_token
from worker.authority.dev import DevAuthority
from worker.errors import KeyAccessDenied

ISSUER = "https://idp.example/"
Exchange = Callable[..., str]


@pytest.fixture
def exchange(own: DevAuthority) -> Exchange:
    """Exchange a token of the workspace's provider, whose subjects are members with the first client by default."""
    key = RSAKey.generate_key(2048, auto_kid=True)
    provider = {"issuer": ISSUER, "vendor": "okta", "audience": "app", "jwks": {"keys": [key.as_dict(private=False)]}}
    default = {"default_role": "member", "default_client": own.env["CS_CLIENT_ID"]}
    own.admin("api/oidc/providers", {**provider, **default})
    workspace = own.env["CS_WORKSPACE_CRN"].rpartition(":")[2]

    def made(subject: str = "ann", **claims: Any) -> str:
        body = {"iss": ISSUER, "aud": "app", "sub": subject, "exp": int(time.time()) + 60, **claims}
        text = jwt.encode({"alg": "RS256", "kid": key.kid}, body, key, algorithms=["RS256"])
        token: str = own.admin("api/authorise", {"oidcToken": text, "workspaceId": workspace})["accessToken"]
        return token

    return made


def as_subject(own: DevAuthority, token: str, suffix: str = "") -> Party:
    """An application that asks with an end user's token and its own client key."""
    made = party(own, suffix)
    made.call = with_token(own, token)
    return made


def test_an_end_user_s_lock_opens_for_that_user_alone(own: DevAuthority, exchange: Exchange) -> None:
    """The default of the provider lets an application's users derive for its client, each under their own lock."""
    ann, bob = (as_subject(own, exchange(name)) for name in ("ann", "bob"))
    kept, key = ann.generate(context=[{"IdentityClaim": "sub"}])

    assert ann.retrieve(kept) == key
    with pytest.raises(KeyAccessDenied, match="lock requirements"):
        bob.retrieve(kept)


def test_an_end_user_derives_for_the_default_s_client_alone(own: DevAuthority, exchange: Exchange) -> None:
    """Another client of the keyset has no answers through that token."""
    with pytest.raises(KeyAccessDenied, match="another client"):
        as_subject(own, exchange(), "_2").generate()


def test_a_provider_whose_keys_are_nowhere_is_not_trusted(own: DevAuthority) -> None:
    """An address that no request can be made for is refused when it is given, not at each token."""
    provider = {"issuer": ISSUER, "vendor": "okta", "audience": "app", "jwks_uri": "https://[::1"}

    with pytest.raises(KeyAccessDenied, match="400 jwks_uri is no address"):
        own.admin("api/oidc/providers", provider)


def test_without_a_default_an_unknown_subject_is_nobody(own: DevAuthority, exchange: Exchange) -> None:
    """A subject is let in by its membership or by a default that an admin stated."""
    (provider,) = own.admin("api/oidc/providers", None, "GET")
    own.admin(f"api/oidc/providers/{provider['id']}", {}, "PATCH")

    with pytest.raises(KeyAccessDenied, match="403"):
        exchange("ann")
    own.admin("api/memberships", {"subject": "CS|ann", "role": "member", "client": own.env["CS_CLIENT_ID"]})
    as_subject(own, exchange("ann")).generate()


def test_a_token_derives_for_the_client_that_it_was_issued_for(own: DevAuthority, exchange: Exchange) -> None:
    """A subject that gets another client exchanges anew: the old token has no answers for either."""
    old = exchange("ann")
    member = {"subject": "CS|ann", "role": "member", "client": own.env["CS_CLIENT_ID_2"]}
    own.admin("api/memberships", member)

    for suffix in ("", "_2"):
        with pytest.raises(KeyAccessDenied, match="exchange it again"):
            as_subject(own, old, suffix).generate()
    as_subject(own, exchange("ann"), "_2").generate()


def test_a_role_taken_back_holds_at_the_next_request(own: DevAuthority, exchange: Exchange) -> None:
    """What a token said when it was issued does not count."""
    own.admin("api/memberships", {"subject": "CS|ann", "role": "admin", "client": own.env["CS_CLIENT_ID"]})
    call = with_token(own, exchange("ann"))
    (member,) = call("api/memberships", None, "GET")

    own.admin(f"api/memberships/{member['id']}", None, "DELETE")

    with pytest.raises(KeyAccessDenied, match="membership:list"):
        call("api/memberships", None, "GET")


def test_nobody_is_called_like_an_access_key(own: DevAuthority, exchange: Exchange) -> None:
    """A subject `CSAK<id>` would satisfy the locks of that access key; neither a token nor a membership has it."""
    first = party(own)
    kept, _ = first.generate(context=[{"IdentityClaim": "sub"}])
    impostor = own.env["CS_CLIENT_ACCESS_KEY"].partition(".")[0]

    with pytest.raises(KeyAccessDenied, match="401"):
        as_subject(own, exchange(impostor)).retrieve(kept)
    with pytest.raises(KeyAccessDenied, match="400"):
        own.admin("api/memberships", {"subject": f"CS|{impostor}", "role": "member"})
