"""The bodies on the wire: as a real client writes them, and what is refused in an answer."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from worker.errors import ConfigError, KeyMaterialError, WorkerError
from worker.model import IdentityClaim, KeySpec, PolicyCondition, RetrieveRequest, SpecRuns, Specs, Tag, Value
from worker.native import IS_LOADED
from worker.zerokms import wire
from worker.zerokms.credentials import base_url, is_allowed
from worker.zerokms.fresh import FreshKeys
from worker.zerokms.http import accept

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / "zerokms.json").read_text())["wire_json"]
CLIENT = UUID("00000000-0000-0000-0000-000000001234")
KEYSET = "0f3c1c7e-6f5b-4b9a-9a58-0b6a52d9a001"
CONTEXT = (Tag("t"), Value("k", "v"), IdentityClaim("sub"))
POLICY = (PolicyCondition("sub", "CS|user-1"), PolicyCondition("actor_id"))


def items(of: list[dict[str, object]]) -> bytes:
    return ",".join(map(json.dumps, of)).encode()


def test_writes_a_generate_body_as_a_real_client_does() -> None:
    """Context, policy and keyset reference of a generate request are the vector's."""
    specs = [KeySpec(None, "users/email", CONTEXT), KeySpec(None, "users/email", policy=POLICY)]

    body = wire.keys_body(CLIENT, KEYSET, items([wire.generate_item(s, b"\x01" * 16) for s in specs]), {})

    assert json.loads(body) == VECTORS["generate-data-key"]


@pytest.mark.skipif(not IS_LOADED, reason="without the extension there is the twin alone")
def test_items_written_natively_are_the_twins() -> None:
    """Contexts that are told by their texts, whole specs, policies and what JSON escapes."""
    named = SpecRuns(KeySpec(None, 'users/"émail"'), ("tenant", "n\\"), [("a", "b\n"), ("\u00fc", "")], [2, 1])
    plain = [KeySpec(None, "users/email", CONTEXT), KeySpec(None, "users/email", policy=POLICY), KeySpec(None, "d")]
    specs = Specs.joined([Specs.of_parts([named]), Specs.of(plain)])
    asked = FreshKeys(specs, bytes(range(16 * len(specs))))

    assert json.loads(b"[%b]" % asked.native_items()) == json.loads(b"[%b]" % asked.items())


def test_writes_a_retrieve_body_as_a_real_client_does() -> None:
    """The tag goes as numbers, and a policy makes the tag's version 1."""
    requests = [
        RetrieveRequest(None, b"\x01" * 16, b"\x02\xfa", "users/email", CONTEXT),
        RetrieveRequest(None, b"\x01" * 16, b"\x02\xfa", "users/email", policy=POLICY),
    ]

    body = wire.keys_body(CLIENT, "eu/main", items([wire.retrieve_item(r) for r in requests]), {})

    assert json.loads(body) == VECTORS["retrieve-data-key"]


@pytest.mark.parametrize("name", ["generate-data-key (no keyset)", "retrieve-data-key-fallible"])
def test_writes_an_empty_body_as_a_real_client_does(name: str) -> None:
    """Without a keyset the reference is null."""
    assert json.loads(wire.keys_body(CLIENT, None, b"", {})) == VECTORS[name]


@pytest.mark.parametrize(
    "value",
    [None, 7, "", "####", base64.b64encode(bytes(527)).decode(), base64.b64encode(bytes(529)).decode()],
)
def test_refuses_material_of_another_form(value: object) -> None:
    """Material that is not base64 of 528 bytes is refused."""
    with pytest.raises(KeyMaterialError):
        wire.material(value)


def test_refuses_a_tag_that_no_envelope_has_room_for() -> None:
    """A lease's envelope has a byte for its length."""
    assert wire.tag(base64.b64encode(bytes(255)).decode()) == bytes(255)
    with pytest.raises(KeyMaterialError, match="more than 255 bytes"):
        wire.tag(base64.b64encode(bytes(256)).decode())


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"conditions": 1},
        {"conditions": [1]},
        {"conditions": [{}]},
        {"conditions": [{"claim": 1}]},
        {"conditions": [{"claim": "sub", "value": 1}]},
        "x",
    ],
)
def test_refuses_a_malformed_policy(value: object) -> None:
    """A policy that is not a list of claims is refused."""
    with pytest.raises(KeyMaterialError):
        wire.read_policy(value)


def test_refuses_an_over_long_descriptor() -> None:
    """A descriptor of more than 512 bytes is not sent."""
    with pytest.raises(ConfigError):
        wire.generate_item(KeySpec(None, "é" * 257), bytes(16))


@pytest.mark.parametrize(
    "url",
    ["ftp://h/", "h", "http://", "https://u:p@h/", "https://u@h/", "https://h/?q=1", "https://h/#f", ""],
)
def test_refuses_an_unclean_address(url: str) -> None:
    """User information, a query, a fragment or another scheme is refused."""
    with pytest.raises(ConfigError):
        base_url(url, what="the address")


@pytest.mark.parametrize(("given", "kept"), [("https://h/p", "https://h/p/"), ("http://[::1]:1/", "http://[::1]:1/")])
def test_keeps_a_path_prefix(given: str, kept: str) -> None:
    """A base ends with a slash, so that a path prefix is kept."""
    assert base_url(given, what="the address") == kept


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://own.test/", True),
        ("http://own.test/", False),
        ("https://other.test/", False),
        ("http://127.0.0.1:81/", True),
        ("http://127.0.0.1:82/", False),
        ("https://own.test.evil/", False),
    ],
)
def test_allows_the_regions_own_host_and_listed_ones(url: str, allowed: bool) -> None:
    """Only the region's host over https, or a listed host and port, may be asked."""
    assert is_allowed(url, "https://own.test/", ("127.0.0.1:81",)) is allowed


@pytest.mark.parametrize("status", [204, 302, 418])
def test_an_answer_beyond_the_protocol_is_quoted_nowhere(status: int) -> None:
    """It may be keys that a proxy has put under another status."""
    reply = httpx.Response(status, text="dGhlIGtleQ==", request=httpx.Request("POST", "https://kms.example/x"))

    with pytest.raises(WorkerError) as caught:
        accept("generate-data-key", reply)

    assert "dGhlIGtleQ==" not in str(caught.value)
    assert "proxy" in str(caught.value)
