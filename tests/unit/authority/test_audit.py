"""The trail: one line a request, chained, whole after a full disk and a kill, durable before the answer."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.unit.authority.conftest import access_key, existing, lines, party, with_token
from worker.authority import material
from worker.authority.audit import Trail, TrailKeys
from worker.authority.audit.chain import ENTRY_BYTES, FIRST
from worker.authority.dev import DevAuthority
from worker.authority.enrol import accept, propose
from worker.authority.refusal import Refusal
from worker.authority.refusals import PER_WINDOW, WINDOW_S, Refusals
from worker.authority.remote import Remote
from worker.errors import KeyAccessDenied, KeyServiceUnavailable

SIGNING = Ed25519PrivateKey.generate()


def trail(path: Path, *, sync: bool = True) -> Trail:
    made = Trail(path, TrailKeys(bytes(32), SIGNING), "eu-central-1", sync=sync)
    made.begin()
    return made


def raw(own: DevAuthority, body: bytes, endpoint: str = "generate-data-key", length: int | None = None) -> None:
    """Send a body as it is, and no more than it."""
    token = party(own).call("api/authorise", {"accessKey": own.env["CS_CLIENT_ACCESS_KEY"]})["accessToken"]
    host, port = "127.0.0.1", int(own.url.rsplit(":", 1)[1].strip("/"))
    head = f"POST /{endpoint} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
    with socket.create_connection((host, port), 10) as connection:
        connection.sendall(head.encode() + f"content-length: {length or len(body)}\r\n\r\n".encode() + body)
        if length is None:
            assert connection.recv(65536).startswith(b"HTTP/1.1 4")


def deep(levels: int) -> Any:
    return {"a": deep(levels - 1)} if levels else 1


def many(own: DevAuthority, count: int) -> bytes:
    item = {"iv": base64.b64encode(bytes(16)).decode(), "descriptor": "a", "context": []}
    keys = [item, *({**item, "context": [{"Tag": str(number)}]} for number in range(1, count))]
    return json.dumps({"client_id": own.env["CS_CLIENT_ID"], "keys": keys, "unverified_context": {}}).encode()


def asked(own: DevAuthority, context: Any) -> bytes:
    item = {"iv": base64.b64encode(bytes(16)).decode(), "descriptor": "a", "context": []}
    body = {"client_id": own.env["CS_CLIENT_ID"], "keys": [item], "unverified_context": context}
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    "body",
    [
        lambda own: asked(own, {"n": 1 << 64}),
        lambda own: asked(own, deep(17)),
        lambda own: asked(own, {"t": "\ud800"}),
        lambda own: asked(own, {}).replace(b'"descriptor": "a"', b'"descriptor": "\\ud800"'),
        lambda own: b"{",
        lambda own: b'{"client_id": 1}',
        lambda own: b"[" * 100_000,
        lambda own: b" " * (5 * 1024 * 1024),
        lambda own: many(own, 1001),
        lambda own: many(own, 1001).replace(b'"context": []', b'"context": [], "decryption_policy": 1', 1),
        lambda own: many(own, 30_000),
    ],
    ids=[
        "integer",
        "depth",
        "half_character",
        "half_descriptor",
        "json",
        "shape",
        "nesting",
        "length",
        "keys",
        "odd_keys",
        "very_many_keys",
    ],
)
def test_a_malformed_request_is_one_line(own: DevAuthority, body: Callable[[DevAuthority], bytes]) -> None:
    """Whatever a caller with a valid token sends, it is refused and it is one line that says who and where."""
    before = len(lines(own))

    raw(own, body(own))

    (line,) = lines(own)[before:]
    assert (line["operation"], line["outcome"], line["address"]) == ("generate", "malformed", "127.0.0.1")
    assert line["subject"] == "CS|" + own.env["CS_CLIENT_ACCESS_KEY"].partition(".")[0]
    assert line["status"] in (400, 413)


def test_a_line_has_its_bound_whatever_it_names(own: DevAuthority) -> None:
    """Deleting thousands at once leaves a line no longer than any, and the next start finds where the chain ends."""
    deleted = [str(UUID(int=number)) for number in range(40_000)]
    own.authority.trail.record({"operation": "delete-client", "outcome": "allowed", "deleted": deleted})

    last = own.audit_path.read_bytes().splitlines()[-1]
    assert len(last) < ENTRY_BYTES
    assert json.loads(last)["deleted"]["items"] == len(deleted)


def test_a_caller_that_goes_away_is_one_line(own: DevAuthority) -> None:
    """A body that ends early is a request like any other."""
    before = len(lines(own))

    raw(own, b"{", length=100)
    party(own).generate()

    told = [(line["operation"], line["outcome"]) for line in lines(own)[before:]]
    assert sorted(told) == [("generate", "allowed"), ("generate", "malformed")]


def test_every_admin_action_is_one_line(own: DevAuthority) -> None:
    """Who did what, refused or not, and no secret."""
    before = len(lines(own))
    own.create_keyset("eu/second")
    own.grant(own.env["CS_CLIENT_ID"], "eu/second")
    own.revoke(own.env["CS_CLIENT_ID"], "eu/second")
    own.admin("modify-keyset", {"keyset_id": {"Name": "eu/second"}, "name": "eu/third"})
    own.disable_keyset("eu/third")
    own.enable_keyset("eu/third")
    secret = access_key(own, None, "monitor", keyName="scraper")
    own.admin("api/access-keys/bind", {"keyName": "scraper", "client": own.env["CS_CLIENT_ID"]})
    own.admin("api/access-key", {"keyName": "scraper"}, "DELETE")
    provider = {"issuer": "https://idp/", "vendor": "okta", "audience": "a", "jwks": {"keys": []}}
    made = own.admin("api/oidc/providers", provider)["id"]
    own.admin(f"api/oidc/providers/{made}", {"default_role": "writer"}, "PATCH")
    member = own.admin("api/memberships", {"subject": "CS|ann", "role": "writer"})["id"]
    own.admin(f"api/memberships/{member}", None, "DELETE")
    own.admin(f"api/oidc/providers/{made}", None, "DELETE")
    own.admin("api/subjects/block", {"subject": "CS|eve"})
    own.admin("api/subjects/unblock", {"subject": "CS|eve"})
    proposal = propose(own.admin, name="third", region="eu-central-1", via=existing(own))
    own.admin("approve-client", {"client_id": str(proposal.client_id)})
    accept(Remote(own.url, access_key(own, str(proposal.client_id))), proposal)
    own.delete_client(str(proposal.client_id))
    with pytest.raises(KeyAccessDenied):
        own.admin("delete-client", {"client_id": str(proposal.client_id)})

    told = [(line["operation"], line["outcome"]) for line in lines(own)[before:]]
    expected = ["create-keyset", "grant-keyset", "revoke-keyset", "modify-keyset", "disable-keyset", "enable-keyset"]
    expected += ["create-access-key", "bind-access-key", "delete-access-key", "create-provider", "set-provider-default"]
    expected += ["create-membership", "delete-membership", "delete-provider", "block-subject", "unblock-subject"]
    expected += ["generate", "propose-client", "approve-client", "create-access-key", "mask-client", "activate-client"]
    assert told == [*((name, "allowed") for name in [*expected, "delete-client"]), ("delete-client", "refused")]
    text = own.audit_path.read_text()
    assert all(
        each["actor"] and each["what"] is not None for each in lines(own)[before:] if each["operation"] != "generate"
    )
    for hidden in (secret.partition(".")[2], proposal.secret):
        assert hidden not in text


def test_a_keyset_is_named_as_it_was_resolved(own: DevAuthority) -> None:
    """By name, by uuid or by default: the line has the uuid and the name."""
    made = own.create_keyset("eu/second")
    own.grant(own.env["CS_CLIENT_ID"], "eu/second")
    for ref in ({"Name": "eu/second"}, {"Uuid": made["id"]}, made["id"], None):
        party(own).generate(keyset=ref)

    found = [(each["keyset"], each["keyset_name"]) for each in lines(own) if each["operation"] == "generate"]
    assert found[-4:-1] == [(made["id"], "eu/second")] * 3
    assert found[-1][1] == "default"


def test_an_admin_action_without_its_line_is_not_done(own: DevAuthority) -> None:
    """Where the trail can't be written the keyset is not made either."""
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, own.authority.trail.descriptor)
    os.close(full)

    with pytest.raises(Exception, match="503"):
        own.create_keyset("unseen")

    assert "unseen" not in {k["name"] for k in own.authority.store.state.keysets.values()}


def test_an_answer_names_its_line(own: DevAuthority) -> None:
    """The headers have the line's place and a head that the authority's published key signed."""
    first = party(own)
    first.generate()

    chain, sequence, digest = first.call.headers["audit-entry"].split()
    line = own.audit_path.read_bytes().splitlines()[int(sequence)]
    assert hashlib.sha256(line).hexdigest() == digest
    assert orjson.loads(line)["chain"] == chain
    *head, signature = first.call.headers["audit-head"].split()
    key = base64.b64decode(with_token(own, "x")(".well-known/audit-key.json", None, "GET")["key"])
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    signed = "\n".join(["authority-audit-head-1", "eu-central-1", *head]).encode()
    Ed25519PublicKey.from_public_bytes(key).verify(base64.b64decode(signature), signed)


@pytest.mark.parametrize("torn", [b'{"half', b"\x00" * 40, b"}"])
def test_a_line_that_was_cut_off_does_not_glue_the_next(tmp_path: Path, torn: bytes) -> None:
    """What a full disk or a crash left of a line is cut off at the next start, and that is said."""
    path = tmp_path / "audit.jsonl"
    first = trail(path)
    first.record({"operation": "generate", "outcome": "allowed"})
    first.close()
    with path.open("ab") as file:
        file.write(torn)

    second = trail(path)
    second.record({"operation": "generate", "outcome": "allowed"})
    second.close()

    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["seq"] for line in written] == [0, 1, 2, 3]
    assert written[2]["cut_bytes"] == len(torn)
    assert len({line["chain"] for line in written}) == 1


def test_a_full_disk_is_mended_by_the_next_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of which only a part could be written is taken back whole; the next one follows the last whole one."""
    path = tmp_path / "audit.jsonl"
    own, write = trail(path), os.write
    own.record({"operation": "one"})
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:20]))
    with pytest.raises(Refusal, match="audit"):
        own.record({"operation": "lost"})
    monkeypatch.setattr(os, "write", write)
    own.record({"operation": "two"})
    own.close()

    assert [json.loads(line)["operation"] for line in path.read_text().splitlines()] == ["chain", "one", "two"]


def test_a_flush_that_failed_stops_the_trail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not tried again, even where the next would succeed: what was dropped once is not known."""
    own, flush = trail(tmp_path / "audit.jsonl"), os.fdatasync

    def failing(_fd: int) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "fdatasync", failing)
    with pytest.raises(Refusal, match="audit"):
        own.record({"operation": "lost"})
    monkeypatch.setattr(os, "fdatasync", flush)

    with pytest.raises(Refusal, match="flushed"):
        own.record({"operation": "never"})
    assert own.stopped is not None
    own.close()


def test_many_lines_wait_for_one_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that come while a flush is under way go with the next one, together, and each has its own place."""
    own, flush = trail(tmp_path / "audit.jsonl"), os.fdatasync
    begun, go_on, flushes = threading.Event(), threading.Event(), []

    def slow(fd: int) -> None:
        flushes.append(fd)
        begun.set()
        assert go_on.wait(10)
        flush(fd)

    monkeypatch.setattr(os, "fdatasync", slow)
    first = own.append({"operation": "first"})
    assert begun.wait(10)
    rest = [own.append({"operation": "rest"}) for _ in range(50)]
    assert not first.done()
    go_on.set()
    places = [each.result(10).place.sequence for each in (first, *rest)]
    own.close()

    assert places == list(range(1, 52))
    assert len(flushes) == 2


def test_keys_are_computed_while_their_line_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flush waits here until the keys are there, and the answer has not left before the flush has ended."""
    flush, compute = os.fdatasync, material.materials
    flushing, computed, answered = threading.Event(), threading.Event(), threading.Event()
    early: list[bool] = []

    def slow(fd: int) -> None:
        flushing.set()
        assert computed.wait(30)
        early.append(answered.is_set())
        flush(fd)

    def told(*arguments: Any) -> bytes:
        made = compute(*arguments)
        assert flushing.wait(30)
        computed.set()
        return made

    monkeypatch.setattr(DevAuthority, "audit_sync", True)
    with DevAuthority("eu-central-1", tmp_path) as own:
        asking = party(own)
        asking.generate()
        monkeypatch.setattr(os, "fdatasync", slow)
        monkeypatch.setattr(material, "materials", told)
        asking.generate()
        answered.set()

    assert early[0] is False


def test_keys_that_fail_after_their_line_have_a_second_one(own: DevAuthority, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first says what was let through, the second that nothing left."""

    def failing(*_: Any) -> bytes:
        raise RuntimeError("no")

    monkeypatch.setattr(material, "materials", failing)
    with pytest.raises(KeyServiceUnavailable, match="500"):
        party(own).generate()

    assert [(line["operation"], line["outcome"]) for line in lines(own)[-2:]] == [
        ("generate", "allowed"),
        ("generate", "failed"),
    ]


def test_a_line_is_bounded(tmp_path: Path) -> None:
    """What a caller sends does not make a line longer than 16 KiB; the rest stands as its hash."""
    path = tmp_path / "audit.jsonl"
    own = trail(path)
    many = {str(i) * 100: 1 for i in range(1000)}
    own.record({"operation": "x", "unverified_context": {"a": "x" * 100_000}, "descriptors": many})
    own.record({"operation": "x", "unverified_context": {"reason": "\x1b" * 100_000}, "descriptors": many})
    own.close()

    line, other = path.read_bytes().splitlines()[1:3]
    assert max(len(line), len(other)) <= ENTRY_BYTES
    assert json.loads(line)["unverified_context"].keys() == {"sha256", "items"}
    assert json.loads(other)["unverified_context"]["reason"] == "\x1b" * 512


def test_each_line_names_the_one_before(own: DevAuthority) -> None:
    """The chain is unbroken from its first line, over a restart too."""
    party(own).generate()
    own.stop()
    with DevAuthority("eu-central-1", own.audit_path.parent) as again:
        party(again).generate()

    before = FIRST
    for number, line in enumerate(own.audit_path.read_bytes().splitlines()):
        entry = orjson.loads(line)
        assert (entry["seq"], entry["prev"]) == (number, before)
        before = hashlib.sha256(line).hexdigest()


def test_refusals_beyond_a_rate_are_one_line(own: DevAuthority) -> None:
    """A stolen credential that is refused again and again fills no disk; others' lines are their own."""
    one, begun = party(own), len(lines(own))
    refused: dict[str, Any] = {"client_id": own.env["CS_CLIENT_ID_2"], "keyset_id": None, "keys": []}
    for _ in range(PER_WINDOW + 5):
        with pytest.raises(KeyAccessDenied):
            one.call("generate-data-key", refused)
    one.generate()
    with pytest.raises(KeyAccessDenied):
        party(own, "_2").call("generate-data-key", {**refused, "client_id": own.env["CS_CLIENT_ID"]})
    own.stop()

    told = [line for line in lines(own)[begun:] if line["operation"] == "generate"]
    by_one = [line for line in told if line["actor"] == told[0]["actor"]]
    assert [line["outcome"] for line in by_one].count("allowed") == 1
    assert sum("aggregated" not in line for line in by_one) == PER_WINDOW + 1
    assert [line["aggregated"] for line in by_one if "aggregated" in line] == [5]
    assert [line["outcome"] for line in told if line not in by_one] == ["refused"]


def test_a_window_that_ends_is_told_and_begins_anew() -> None:
    """The count is written once, and the next refusals have lines of their own again."""
    told: list[dict[str, Any]] = []
    now = [0.0]

    async def refuse() -> list[bool]:
        refusals = Refusals(told.append, clock=lambda: now[0])
        entry = {"operation": "generate", "subject": "CS|x", "status": 403, "secret": "not kept"}
        before = [refusals.has_line(entry) for _ in range(PER_WINDOW + 2)]
        refusals.flush()
        assert told == []
        now[0] += WINDOW_S
        refusals.flush()
        return [*before, refusals.has_line(entry)]

    assert asyncio.run(refuse()) == [True] * PER_WINDOW + [False, False, True]
    assert [(line["aggregated"], line["operation"]) for line in told] == [(2, "generate")]
    assert "secret" not in told[0]


def test_a_provider_s_keys_are_named_in_the_line(own: DevAuthority) -> None:
    """Whoever names the keys can be every subject: two sets of keys have two names, and one has one."""
    provider: dict[str, Any] = {"issuer": "https://idp/", "vendor": "okta", "audience": "a"}
    for key in ({"kty": "oct", "k": "one"}, {"k": "one", "kty": "oct"}, {"kty": "oct", "k": "two"}):
        made = own.admin("api/oidc/providers", {**provider, "jwks": {"keys": [key]}})
        own.admin(f"api/oidc/providers/{made['id']}", None, "DELETE")

    said = [line["what"]["jwks"] for line in lines(own) if line["operation"] == "create-provider"]
    assert said[0] == said[1] != said[2]
    assert all(name.startswith("sha256:") for name in said)
