"""The OpenAPI document is served, and what the authority really answers is what it says."""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import jsonschema
import pytest
from pyrage import x25519

from tests.unit.authority.erasure.conftest import PEOPLE, key_service_in, value
from worker.authority.access import hash_secret
from worker.authority.dev import DevAuthority
from worker.authority.endpoints import ENDPOINTS, OPEN
from worker.authority.enrol import Existing, accept, propose
from worker.authority.erasure.keyholder import CommandKeys
from worker.authority.server import AuthorityOptions
from worker.zerokms.derive import ClientKey

METHODS = ("get", "post", "patch", "delete")
CREDENTIAL = "shown at a restore, once"


class Held:
    """
    Holds each answer of an authority against the document that it serves, and counts what it answered.

    Args:
        http: asks the authority.
        counted: by operation and status.
        access_key: whose token is shown; None shows none.
    """

    def __init__(self, http: httpx.Client, counted: Counter[tuple[str, int]], access_key: str | None = None) -> None:
        self._http, self._headers = http, {}
        self.document: dict[str, Any] = http.get("/openapi.json").json()
        self.counted = counted
        if access_key is not None:
            token = self("api/authorise", {"accessKey": access_key})["accessToken"]
            self._headers = {"authorization": f"Bearer {token}"}

    def __call__(
        self, path: str, body: Any = None, method: str = "POST", *, status: int = 200, row: str | None = None
    ) -> Any:
        """Ask; returns the answer, of the status and the form that the document says."""
        named = "/" + path
        reply = self._http.request(method, named.replace("{row}", row or ""), json=body, headers=self._headers)
        assert reply.status_code == status, reply.text
        described = self.document["paths"][named][method.lower()]["responses"][str(status)]
        kind = reply.headers["content-type"].partition(";")[0]
        assert kind in described["content"]
        assert all(name in reply.headers for name in described.get("headers", ()))
        answer = reply.json() if kind == "application/json" else reply.text if kind == "text/plain" else "bytes"
        schema = {**described["content"][kind]["schema"], "components": self.document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer)
        self.counted[f"{method} {named}", status] += 1
        return answer


@pytest.fixture
def full(tmp_path: Path) -> Iterator[DevAuthority]:
    """An authority of which the operator chose everything."""
    keys = CommandKeys(key_service_in(tmp_path).command)
    with DevAuthority("eu-central-1", tmp_path / "own", escrow=True, options=AuthorityOptions(keys=keys)) as own:
        yield own


@pytest.fixture
def http(full: DevAuthority) -> Iterator[httpx.Client]:
    """Asks that authority."""
    with httpx.Client(base_url=full.url) as client:
        yield client


def keysets(own: DevAuthority, admin: Held, bound: Held) -> None:
    """Keysets made, changed and used; what is erased in one."""
    client = own.env["CS_CLIENT_ID"]
    made = admin("create-keyset", {"name": "other", "description": "x"})
    other = {"Uuid": made["id"]}
    assert admin("create-keyset", {"name": "beside", "description": "x", "client": {"name": "b"}})["client"]
    admin("create-keyset", {"name": "people", "description": "people", "erasable": True})
    for keyset in (other, PEOPLE):
        admin("grant-keyset", {"client_id": client, "keyset_id": keyset})
    admin("modify-keyset", {"keyset_id": other, "description": "y"})
    admin("disable-keyset", {"keyset_id": other})
    bound("load-keyset", {"client_id": client, "keyset_id": other}, status=403)
    admin("enable-keyset", {"keyset_id": other})
    assert {k["name"]: k.get("erasable") for k in admin("list-keysets", {})}["people"] is True
    context = [value("customer_id", 42)]
    policy = {"conditions": [{"claim": "sub"}]}
    item: dict[str, Any] = {"iv": base64.b64encode(os.urandom(16)).decode(), "descriptor": "a"}
    items = [{**item, "context": context}, {**item, "decryption_policy": policy}]
    kept = []
    for each, keyset in zip(items, (PEOPLE, other), strict=True):
        body = {"client_id": client, "keyset_id": keyset, "keys": [each]}
        (key,) = bound("generate-data-key", body)["keys"]
        again = {**each, "tag": list(base64.b64decode(key["tag"]))}
        again |= {"decryption_policy": key["decryption_policy"], "tag_version": 1} if "decryption_policy" in key else {}
        kept.append((keyset, again))
        bound("retrieve-data-key", {**body, "keys": [again]})
        wrong = {**again, "descriptor": "b"}
        answers = bound("retrieve-data-key-fallible", {**body, "keys": [again, wrong]})["keys"]
        assert [list(answer) for answer in answers] == [["Ok"], ["Err"]]
    bound("load-dataset", {"client_id": client})
    bound("load-keyset", {"client_id": client, "keyset_id": PEOPLE})
    erasing = {"keyset_id": PEOPLE, "values": [["customer_id", "42"], ["customer_id", "43"]]}
    admin("api/backup", {"recipients": [str(x25519.Identity.generate().to_public())]})
    admin("api/erased", erasing)
    assert admin("api/erase", erasing)["backups"]
    keyset, again = kept[0]
    bound("retrieve-data-key", {"client_id": client, "keyset_id": keyset, "keys": [again]}, status=403)
    admin("api/epoch")
    assert {each["state"] for each in admin("api/erased", erasing)["values"]} == {"gone"}
    (backup,) = admin("api/backups", None, "GET")
    admin("api/backups/expire", {"name": backup["name"]})
    admin("revoke-keyset", {"client_id": client, "keyset_id": other})


def clients(own: DevAuthority, admin: Held, bound: Held, held: Callable[[str], Held]) -> None:
    """Clients enrolled, held to limits, listed and deleted; one that the authority makes."""
    admin("create-client", {"name": "made"})
    via = Existing(UUID(own.env["CS_CLIENT_ID"]), ClientKey.parse(own.env["CS_CLIENT_KEY"]), bound)
    proposal = propose(admin, name="third", region="eu-central-1", via=via)
    client = str(proposal.client_id)
    admin("approve-client", {"client_id": client})
    key = admin("api/access-keys", {"keyName": "third", "role": "member"})["accessKey"]
    admin("api/access-keys/bind", {"keyName": "third", "client": client})
    accept(held(key), proposal)
    admin("api/clients/limits", {"client_id": client, "generate_per_minute": 7, "needs_reason": True})
    assert any(each["generate_per_minute"] == 7 for each in admin("list-clients", {}))
    admin("delete-client", {"client_id": client})
    admin("delete-client", {"client_id": client}, status=404)
    assert admin("api/access-keys", None, "GET")
    admin("api/access-key", {"keyName": "third"}, "DELETE")


def people(admin: Held) -> None:
    """Identity providers, memberships and blocked subjects."""
    provider = {"issuer": "https://idp/", "vendor": "okta", "audience": "a", "jwks": {"keys": []}}
    row = admin("api/oidc/providers", provider)["id"]
    admin("api/oidc/providers", provider, status=409)
    admin("api/oidc/providers/{row}", {"default_role": "writer"}, "PATCH", row=row)
    assert admin("api/oidc/providers", None, "GET")
    member = admin("api/memberships", {"subject": "CS|ann", "role": "writer"})["id"]
    assert admin("api/memberships", None, "GET")
    admin("api/memberships/{row}", None, "DELETE", row=member)
    admin("api/oidc/providers/{row}", None, "DELETE", row=row)
    admin("api/subjects/block", {"subject": "CS|eve"})
    assert admin("api/subjects/blocked", None, "GET")
    admin("api/subjects/unblock", {"subject": "CS|eve"})
    admin("api/workspaces", None, "GET")


def test_every_answer_is_as_the_document_says(full: DevAuthority, http: httpx.Client) -> None:
    """Each operation once with success, and refused without a token: status, kind, headers and form as served."""
    counted: Counter[tuple[str, int]] = Counter()
    held = partial(Held, http, counted)
    admin, bound, nobody = held(full.env["CS_ADMIN_ACCESS_KEY"]), held(full.env["CS_CLIENT_ACCESS_KEY"]), held()
    keysets(full, admin, bound)
    clients(full, admin, bound, held)
    people(admin)
    assert admin("api/audit/query", {"limit": 5000})
    admin("api/audit/query", {"limit": 0}, status=400)
    for path in ("api/status", "metrics"):
        admin(path, None, "GET")
    for path in (".well-known/jwks.json", ".well-known/audit-key.json", "healthz", "readyz", "openapi.json"):
        nobody(path, None, "GET")
    nobody("api/authorize", {"accessKey": full.env["CS_ADMIN_ACCESS_KEY"]})
    for endpoint in ENDPOINTS:
        nobody(endpoint.path[1:], None, endpoint.method, status=401, row="x")
    nobody("api/authorise", {"accessKey": "x"}, status=401)
    full.authority.store.write(lambda _: None, lock=lambda _: (hash_secret(CREDENTIAL).hex(),))
    nobody("readyz", None, "GET", status=503)
    admin("list-keysets", {}, status=503)
    assert nobody("api/unlock", {"credential": CREDENTIAL}) == {"missing": 0}

    described = {f"{m.upper()} {path}" for path, each in admin.document["paths"].items() for m in each}
    assert described == {f"{e.method} {e.path}" for e in ENDPOINTS} | {f"{method} {path}" for method, path in OPEN}
    assert {name for name, status in counted if status == 200} == described


def test_each_operation_says_what_it_does(http: httpx.Client) -> None:
    """A summary and scopes for each, no two of one id, and a body wherever one is read."""
    document = Held(http, Counter()).document
    operations = [(path, m, each[m]) for path, each in document["paths"].items() for m in METHODS if m in each]

    assert all(operation["summary"].endswith(".") for _, _, operation in operations)
    assert len({operation["operationId"] for _, _, operation in operations}) == len(operations)
    bodiless = {path for path, method, operation in operations if method != "get" and "requestBody" not in operation}
    assert bodiless == {"/api/epoch", "/api/memberships/{row}", "/api/oidc/providers/{row}"}
    shown = {path for path, _, operation in operations if "security" not in operation}
    assert shown == {path for _, path in OPEN}
