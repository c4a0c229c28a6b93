"""The table of endpoints, scopes and roles, tested against the router, the docs and every identity; and the lattice."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from starlette.routing import Route

from worker.authority import wire
from worker.authority.access import Caller
from worker.authority.dev import DevAuthority
from worker.authority.endpoints import ENDPOINTS, OPEN
from worker.authority.management import Management, Narrowing, make_access_key
from worker.authority.people import People, rights_of_subject
from worker.authority.refusal import Refusal
from worker.authority.rights import CANARY_SCOPE, ROLES, SCOPES, Rights

DOCS = Path(__file__).parents[3] / "docs" / "authority.md"
NOBODY = "00000000-0000-0000-0000-000000000000"
DEFAULT = {"Name": "default"}
CLIENT = {"client_id": NOBODY}
RELATION = {"p1": list(range(16)), "p3": list(range(33))}
STEP = {**CLIENT, "enrolment_secret": "x"}
BODIES: dict[str, dict[str, Any]] = {
    "/generate-data-key": {**CLIENT, "keys": []},
    "/retrieve-data-key": {**CLIENT, "keys": []},
    "/retrieve-data-key-fallible": {**CLIENT, "keys": []},
    "/load-keyset": CLIENT,
    "/load-dataset": CLIENT,
    "/create-keyset": {"name": "x", "description": "x"},
    "/list-keysets": {},
    "/modify-keyset": {"keyset_id": DEFAULT},
    "/enable-keyset": {"keyset_id": DEFAULT},
    "/disable-keyset": {"keyset_id": DEFAULT},
    "/grant-keyset": {**CLIENT, "keyset_id": DEFAULT},
    "/revoke-keyset": {**CLIENT, "keyset_id": DEFAULT},
    "/create-client": {"name": "x"},
    "/list-clients": {},
    "/delete-client": CLIENT,
    "/api/clients/limits": CLIENT,
    "/propose-client": {"name": "x", "region": "eu-west-1"},
    "/approve-client": CLIENT,
    "/mask-client": {**STEP, "relation": RELATION, "p2": list(range(16))},
    "/activate-client": STEP,
    "/api/access-keys": {"keyName": "x", "role": "monitor"},
    "/api/access-keys/bind": {"keyName": "none", "client": NOBODY},
    "/api/access-key": {"keyName": "none"},
    "/api/oidc/providers": {"issuer": "x", "vendor": "okta", "audience": "x"},
    "/api/oidc/providers/{row}": {},
    "/api/memberships": {"subject": "x", "role": "none"},
    "/api/audit/query": {"limit": 1},
    "/api/backup": {"recipients": ["none"]},
    "/api/subjects/block": {"subject": "x"},
    "/api/subjects/unblock": {"subject": "x"},
}


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevAuthority]:
    """An authority for the whole table."""
    with DevAuthority("eu-central-1", tmp_path_factory.mktemp("rights")) as running:
        yield running


def table() -> list[str]:
    """The docs' rows as the code has them."""
    rows = []
    for e in ENDPOINTS:
        scopes = ", ".join(f"`{s}`" for s in e.scopes) or "a token"
        roles = ", ".join(role for role, held in ROLES.items() if set(e.scopes) <= held)
        rows.append(f"| `{e.method} {e.path}` | {scopes} | {roles} | {e.bound} |")
    return rows


def test_the_docs_have_the_table() -> None:
    """Every endpoint's row stands in docs/authority.md, and no other."""
    written = re.findall(r"^\| `(?:GET|POST|PATCH|DELETE) /.*\|$", DOCS.read_text(), re.MULTILINE)

    assert written == table()


def test_every_endpoint_of_the_router_has_a_row(stand: DevAuthority) -> None:
    """A new endpoint without a row is found here; what takes no token is named."""
    routed = {
        (method, route.path)
        for route in stand.authority.app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
    }

    heads = {("HEAD", path) for method, path in {*OPEN, ("GET", "/metrics")} if method == "GET"}
    assert routed == {(e.method, e.path) for e in ENDPOINTS} | OPEN | heads


def identities() -> dict[str, Rights]:
    """Every role, every scope by itself, and an admin who lacks just one."""
    roles = {role: Rights(held) for role, held in ROLES.items()}
    alone = {f"only {s}": Rights.of("admin", [s], None) for s in SCOPES}
    # Whoever may retrieve anything may retrieve the canary's key.
    both = {CANARY_SCOPE, "data_key:retrieve"}
    less = {f"all but {s}": Rights(SCOPES - (both if s == CANARY_SCOPE else {s})) for s in SCOPES}
    return {**roles, **alone, **less}


def test_every_identity_gets_what_the_table_says(stand: DevAuthority, tokens: dict[str, str]) -> None:
    """An identity is refused for a missing scope exactly where its scopes do not include the endpoint's."""
    # More than a thousand requests: within the process, for the network would take most of the time.
    got = asyncio.run(_all(stand, tokens))

    for endpoint in ENDPOINTS:
        answers = got[endpoint.method, endpoint.path]
        assert answers == {name: set(endpoint.scopes) <= identities()[name].scopes for name in answers}, endpoint
        assert len(answers) == len(ROLES) + len(SCOPES) + len(endpoint.scopes)


async def _all(stand: DevAuthority, tokens: dict[str, str]) -> dict[tuple[str, str], dict[str, bool]]:
    got: dict[tuple[str, str], dict[str, bool]] = {}
    transport = httpx.ASGITransport(stand.authority.app)
    async with httpx.AsyncClient(transport=transport, base_url=stand.url) as client:
        for endpoint, (name, token) in itertools.product(ENDPOINTS, tokens.items()):
            if name.startswith("all but ") and name.removeprefix("all but ") not in endpoint.scopes:
                continue
            headers = {"authorization": f"Bearer {token}"}
            path, body = endpoint.path.replace("{row}", "x"), BODIES.get(endpoint.path)
            reply = await client.request(endpoint.method, path, json=body, headers=headers)
            assert reply.status_code < 500, reply.text
            allowed = not (reply.status_code == 403 and "is missing" in reply.text)
            got.setdefault((endpoint.method, endpoint.path), {})[name] = allowed
    return got


@pytest.fixture(scope="module")
def tokens(stand: DevAuthority) -> dict[str, str]:
    """A service token of each identity."""
    store, workspace = stand.authority.store, stand.env["CS_WORKSPACE_CRN"].rpartition(":")[2]
    made = {}
    for name, rights in identities().items():
        role = name if name in ROLES else "admin"
        key = make_access_key(store, workspace, os.urandom(8).hex(), role, Narrowing(sorted(rights.scopes)))
        made[name] = stand.authority.tokens.for_access_key(key)["accessToken"]
    return made


def test_roles_form_a_lattice() -> None:
    """With "nobody" below, any two roles have one least role above both and one greatest below both."""
    roles = {"nobody": frozenset[str](), **ROLES}

    for one, other in itertools.combinations(roles.values(), 2):
        above = [r for r in roles.values() if one <= r and other <= r]
        below = [r for r in roles.values() if r <= one and r <= other]
        assert sum(all(r <= x for x in above) for r in above) == 1
        assert sum(all(x <= r for x in below) for r in below) == 1
    assert CANARY_SCOPE in Rights.of("member", ["data_key:retrieve"], None).scopes


CLIENTS = (None, "a", "b")
KEYSETS: tuple[frozenset[str] | None, ...] = (None, frozenset({"k"}))


@pytest.fixture(scope="module")
def world(stand: DevAuthority) -> dict[str | None, str | None]:
    """Two clients and a keyset by short names."""
    state = stand.authority.store.state
    return {
        None: None,
        "a": stand.env["CS_CLIENT_ID"],
        "b": stand.env["CS_CLIENT_ID_2"],
        "k": next(iter(state.keysets)),
    }


def rights_of(world: dict[str | None, str | None], role: str, client: str | None, keysets: Any) -> Rights:
    return Rights.of(role, None, world[client], None if keysets is None else [str(world[k]) for k in keysets])


def callers(stand: DevAuthority, world: dict[str | None, str | None]) -> Iterator[Caller]:
    """Callers of every role, narrowed to a client, a keyset or a scope, or not."""
    workspace = stand.env["CS_WORKSPACE_CRN"].rpartition(":")[2]
    for role, client, keysets in itertools.product(ROLES, CLIENTS, KEYSETS):
        yield Caller(workspace, "CS|x", rights_of(world, role, client, keysets), None, {})
    for scope in SCOPES:
        yield Caller(workspace, "CS|x", Rights.of("admin", [scope], None), None, {})


def wanted(world: dict[str | None, str | None]) -> Iterator[tuple[dict[str, Any], Rights]]:
    """Every identity that could be asked for."""
    for role, client, keysets in itertools.product(ROLES, CLIENTS, KEYSETS):
        rights = rights_of(world, role, client, keysets)
        more = {"client": rights.client, "keysets": None if keysets is None else sorted(rights.keysets or ())}
        yield {"role": role, **more}, rights


def succeeds(act: Callable[[], Any]) -> bool:
    try:
        act()
    except Refusal:
        return False
    return True


def test_no_access_key_or_membership_has_more_rights_than_its_maker(
    stand: DevAuthority, world: dict[str | None, str | None]
) -> None:
    """Every caller against every identity: it is made exactly where the caller's rights cover it."""
    store = stand.authority.store
    management, people = Management(store), People(store)
    wrong = []
    before = store.write
    # Nothing is kept: thousands of identities are asked for, and only the judgement counts.
    store.write = lambda *_given, **_named: None  # type: ignore[method-assign]
    try:
        for caller, (body, rights) in itertools.product(callers(stand, world), list(wanted(world))):
            covered = caller.rights.covers(rights)
            key = wire.CreateAccessKey(keyName="n", **body)
            member = wire.CreateMembership(subject="CS|n", **body)
            for act in (
                partial(management.create_access_key, caller, key),
                partial(people.create_membership, caller, member),
            ):
                if succeeds(act) != covered:
                    wrong.append((caller.rights, body))
    finally:
        store.write = before  # type: ignore[method-assign]

    assert wrong == []


def test_no_change_of_a_provider_or_membership_gives_more_than_the_caller_has(
    own: DevAuthority,
) -> None:
    """A default, a membership taken back and a subject let in again are refused to who has less than they give."""
    store = own.authority.store
    workspace, client = own.env["CS_WORKSPACE_CRN"].rpartition(":")[2], own.env["CS_CLIENT_ID"]
    people = People(store)
    admin = Caller(workspace, "CS|x", Rights(SCOPES), None, {})
    body = {"issuer": "https://idp/", "vendor": "okta", "audience": "a", "jwks": {"keys": []}}
    provider = people.create_provider(admin, wire.CreateProvider(**body, default_role="member", default_client=client))
    joined = people.create_membership(admin, wire.CreateMembership(subject="CS|eve", role="control"))
    people.block(admin, wire.Subject(subject="CS|eve"))

    for scopes in (["membership:delete"], ["provider:update"], ["subject:block"], ["provider:create"]):
        weak = Caller(workspace, "CS|x", Rights.of("admin", scopes, None), None, {})
        default = wire.ProviderDefault(default_role="control")
        assert not succeeds(partial(people.delete_membership, weak, joined["id"]))
        assert not succeeds(partial(people.set_default, weak, provider["id"], default))
        assert not succeeds(partial(people.unblock, weak, wire.Subject(subject="CS|eve")))
    people.delete_provider(admin, provider["id"])
    assert not succeeds(lambda: people.create_provider(weak, wire.CreateProvider(**body)))


def test_a_membership_taken_back_leaves_the_stated_default(own: DevAuthority) -> None:
    """Without one the subject is nobody; it never becomes what no admin said."""
    store, workspace = own.authority.store, own.env["CS_WORKSPACE_CRN"].rpartition(":")[2]
    people = People(store)
    admin = Caller(workspace, "CS|x", Rights(SCOPES), None, {})
    body = {"issuer": "https://idp/", "vendor": "okta", "audience": "a", "jwks": {"keys": []}}
    made = people.create_provider(admin, wire.CreateProvider(**body))
    joined = people.create_membership(admin, wire.CreateMembership(subject="CS|eve", role="control"))
    people.delete_membership(admin, joined["id"])
    (provider,) = store.state.providers.values()

    assert rights_of_subject(store.state, provider, "CS|eve") is None
    bound = wire.ProviderDefault(default_role="member", default_client=UUID(own.env["CS_CLIENT_ID"]))
    people.set_default(admin, made["id"], bound)
    (provider,) = store.state.providers.values()
    assert rights_of_subject(store.state, provider, "CS|eve") == Rights.of("member", None, own.env["CS_CLIENT_ID"])


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("grant-keyset", {"keyset_id": {"Name": "eu/second"}, "client_id": "CLIENT"}),
        ("delete-client", {"client_id": "OTHER"}),
        ("delete-client", {"client_id": "CLIENT", "cascade": True}),
        ("revoke-keyset", {"keyset_id": DEFAULT, "client_id": "OTHER"}),
        ("approve-client", {"client_id": "OTHER"}),
        ("create-client", {"name": "x"}),
        ("propose-client", {"name": "x", "region": "eu-central-1"}),
        ("api/access-keys", {"keyName": "x", "role": "admin"}),
        ("api/access-keys", {"keyName": "x", "role": "admin", "client": "OTHER"}),
        ("DELETE api/access-key", {"keyName": "second"}),
        ("DELETE api/access-key", {"keyName": "admin"}),
        ("api/memberships", {"subject": "CS|me", "role": "admin"}),
    ],
)
def test_a_bound_admin_reaches_no_other_client(own: DevAuthority, endpoint: str, body: dict[str, Any]) -> None:
    """A bound identity neither touches other clients nor makes one that does, nor gives itself another keyset."""
    from tests.unit.authority.conftest import access_key
    from worker.authority.remote import Remote
    from worker.errors import KeyAccessDenied

    own.create_keyset("eu/second")
    names = {"CLIENT": own.env["CS_CLIENT_ID"], "OTHER": own.env["CS_CLIENT_ID_2"]}
    call = Remote(own.url, access_key(own, own.env["CS_CLIENT_ID"], "admin"))
    method, _, path = endpoint.rpartition(" ")

    with pytest.raises(KeyAccessDenied, match=r"403|lock|client keys are made"):
        call(path, {k: names.get(v, v) if isinstance(v, str) else v for k, v in body.items()}, method or "POST")


def test_an_identity_narrowed_to_keysets_reaches_no_other(own: DevAuthority) -> None:
    """A key narrowed to one keyset derives in it alone, lists it alone, and touches no client that has others."""
    from tests.unit.authority.conftest import access_key, existing, party
    from worker.authority.enrol import propose
    from worker.authority.remote import Remote
    from worker.errors import KeyAccessDenied

    client = own.env["CS_CLIENT_ID"]
    second = own.create_keyset("eu/second")
    own.grant(client, "eu/second")
    narrow = party(own, access_key=access_key(own, client, keysets=[second["id"]]))
    admin = Remote(own.url, access_key(own, None, "admin", keysets=[second["id"]]))

    proposed = str(propose(own.admin, name="third", region="eu-central-1", via=existing(own)).client_id)

    narrow.generate(keyset={"Name": "eu/second"})
    assert [k["name"] for k in narrow.call("list-keysets", {})] == ["eu/second"]
    for act in (
        lambda: narrow.generate(),
        lambda: admin("disable-keyset", {"keyset_id": DEFAULT}),
        lambda: admin("create-keyset", {"name": "x", "description": "x"}),
        lambda: admin("api/access-keys", {"keyName": "wide", "role": "member", "client": client}),
        lambda: admin("approve-client", {"client_id": proposed}),
        lambda: admin("api/clients/limits", {"client_id": client, "needs_reason": True}),
        lambda: admin("delete-client", {"client_id": client}),
        lambda: admin("delete-client", {"client_id": proposed, "cascade": True}),
    ):
        with pytest.raises(KeyAccessDenied, match=r"narrowed|more rights"):
            act()
