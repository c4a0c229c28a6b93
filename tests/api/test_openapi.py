"""The API as its OpenAPI document says it: no 5xx, no violation of the document, every operation reached."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.components import require_module
from worker.authority.dev import DevAuthority
from worker.authority.enrol import Existing, accept, propose
from worker.authority.server import Authority
from worker.region import Region
from worker.zerokms.derive import ClientKey

require_module("schemathesis", "pip install -e '.[heavy]'")

import schemathesis  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1800)]
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]

PROTOCOL_4 = {"generate-data-key", "retrieve-data-key", "retrieve-data-key-fallible", "load-keyset", "load-dataset"}
PROTOCOL_4 |= {f"{verb}-keyset" for verb in ("create", "modify", "enable", "disable", "grant", "revoke")}
PROTOCOL_4 |= {"list-keysets", "create-client", "list-clients", "delete-client"}


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevAuthority]:
    """The authority under test."""
    with DevAuthority("eu-central-1", tmp_path_factory.mktemp("api"), escrow=True) as running:
        yield running


def _operations() -> list[str]:
    """Every path and method of the document, which no store is needed for."""
    with tempfile.TemporaryDirectory() as directory:
        authority = Authority(Region("eu-central-1"), Path(directory), bytes(32), "http://127.0.0.1/")
        paths = authority.app.openapi()["paths"]
        authority.close()
    return [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]


@pytest.mark.parametrize("name", _operations())
def test_no_request_breaks_the_document(name: str, dev: DevAuthority) -> None:
    """Whatever is generated gets an answer that the document has, and never a 5xx."""
    method, path = name.split()
    document = schemathesis.openapi.from_dict(dev.authority.app.openapi())
    document.config.update(base_url=dev.url.rstrip("/"))
    key = dev.env["CS_ADMIN_ACCESS_KEY"]
    token = dev.admin("api/authorise", {"accessKey": key})["accessToken"]

    @given(case=document[path][method].as_strategy())
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def ask(case: schemathesis.Case[Any]) -> None:
        response = case.call(headers={"Authorization": f"Bearer {token}"})
        case.validate_response(response, checks=CHECKS)

    ask()


class Reaching:
    """Sends good requests as cases of the document, checks the answers against it, and remembers what answered 2xx."""

    def __init__(self, own: DevAuthority, reached: set[str] | None = None, access_key: str | None = None) -> None:
        self._document = schemathesis.openapi.from_dict(own.authority.app.openapi())
        self._document.config.update(base_url=own.url.rstrip("/"))
        key = access_key or own.env["CS_ADMIN_ACCESS_KEY"]
        token = own.admin("api/authorise", {"accessKey": key})["accessToken"]
        self._headers = {"Authorization": f"Bearer {token}"}
        self.reached: set[str] = set() if reached is None else reached

    def __call__(self, endpoint: str, body: dict[str, Any]) -> Any:
        """Send one body; returns the answer's JSON."""
        case = self._document[f"/{endpoint}"]["post"].Case(body=body, media_type="application/json")
        response = case.call(headers=self._headers)
        case.validate_response(response, checks=CHECKS)
        assert response.status_code == 200, response.text
        self.reached.add(endpoint)
        return response.json()


def test_every_operation_succeeds_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each operation of protocol 4 answers 2xx to a good request, `create-client` where the operator chose it."""
    with DevAuthority("eu-central-1", tmp_path_factory.mktemp("once"), escrow=True) as own:
        client, admin = own.env["CS_CLIENT_ID"], Reaching(own)
        bound = {"keyName": "bound", "role": "admin", "client": client}
        call = Reaching(own, admin.reached, own.admin("api/access-keys", bound)["accessKey"])
        keyset = {"Uuid": admin("create-keyset", {"name": "other", "description": "x"})["id"]}
        iv = base64.b64encode(os.urandom(16)).decode()
        item = {"iv": iv, "descriptor": "a", "context": []}
        made = call("generate-data-key", {"client_id": client, "keys": [item]})["keys"][0]
        again = {**item, "tag": list(base64.b64decode(made["tag"]))}
        call("retrieve-data-key", {"client_id": client, "keys": [again]})
        call("retrieve-data-key-fallible", {"client_id": client, "keys": [again]})
        call("load-keyset", {"client_id": client})
        call("load-dataset", {"client_id": client})
        call("list-keysets", {"show_disabled": True})
        call("modify-keyset", {"keyset_id": keyset, "name": "renamed", "description": None})
        admin("grant-keyset", {"client_id": client, "keyset_id": keyset})
        call("revoke-keyset", {"client_id": client, "keyset_id": keyset})
        call("disable-keyset", {"keyset_id": keyset})
        call("enable-keyset", {"keyset_id": keyset})
        call("list-clients", {})
        via = Existing(UUID(client), ClientKey.parse(own.env["CS_CLIENT_KEY"]), call)
        proposal = propose(admin, name="third", region="eu-central-1", via=via)
        admin("approve-client", {"client_id": str(proposal.client_id)})
        made = {"keyName": "third", "role": "member", "client": str(proposal.client_id)}
        accept(Reaching(own, call.reached, own.admin("api/access-keys", made)["accessKey"]), proposal)
        admin("delete-client", {"client_id": str(proposal.client_id)})
        assert admin("create-client", {"name": "x"})["client_key"]
        beside = {"name": "beside", "description": "x", "client": {"client_type": "device", "name": "y"}}
        assert admin("create-keyset", beside)["client"]["client_key"]

    assert call.reached >= PROTOCOL_4
