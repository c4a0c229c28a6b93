"""One credential and a body that nobody would write: a refusal for its sender, and nothing at all for anybody else."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.authority.conftest import access_key, existing, party
from tests.unit.authority.test_audit import SIGNING, asked, trail
from worker.authority import schema
from worker.authority.audit import Trail, TrailKeys
from worker.authority.audit.export import as_csv
from worker.authority.clients import _descendants
from worker.authority.dev import DevAuthority
from worker.authority.enrol import propose
from worker.authority.oidc import claimed
from worker.authority.refusal import Refusal
from worker.authority.state import State
from worker.errors import KeyAccessDenied

HALF = b"\xed\xa0\x80"
"""Half of a character, as no UTF-8 has it."""


@pytest.fixture
def durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DevAuthority]:
    """An authority whose lines are written by a thread of their own, as an operator's are."""
    monkeypatch.setattr(DevAuthority, "audit_sync", True)
    with DevAuthority("eu-central-1", tmp_path / "own") as running:
        yield running


@pytest.mark.parametrize(
    "alter",
    [
        lambda body: body.replace(b"MARK", HALF),
        lambda body: body.replace(b'"MARK"', b'{"' + HALF + b'": 1}'),
        lambda body: body.replace(b"MARK", b"\\ud800").decode().encode("utf-16"),
        lambda body: body.replace(b"MARK", b"\\ud800").decode().encode("utf-32"),
        lambda body: b"\xef\xbb\xbf" + body.replace(b"MARK", b"\\ud800"),
        lambda body: body.replace(b'"MARK"', b"1e400"),
        lambda body: body.replace(b'"MARK"', b"9" * 400),
    ],
    ids=["half", "half_name", "utf_16", "utf_32", "mark", "float", "integer"],
)
def test_what_no_line_can_hold_is_refused_and_stops_nothing(
    durable: DevAuthority, alter: Callable[[bytes], bytes]
) -> None:
    """Such a body is a 400, and the next request, which is anybody's, is answered."""
    first = party(durable)
    token = first.call("api/authorise", {"accessKey": durable.env["CS_CLIENT_ACCESS_KEY"]})["accessToken"]

    answer = httpx.post(
        f"{durable.url}generate-data-key",
        content=alter(asked(durable, {"told": "MARK"})),
        headers={"authorization": f"Bearer {token}"},
        timeout=20,
    )

    assert answer.status_code == 400
    assert first.generate()


def test_a_question_about_the_audit_can_t_stop_it(durable: DevAuthority) -> None:
    """A number that no line can hold is refused, and the audit goes on."""
    auditor = party(durable, access_key=access_key(durable, None, "auditor")).call

    with pytest.raises(KeyAccessDenied, match="400"):
        auditor("api/audit/query", {"after": 1 << 70})

    assert auditor("api/audit/query", {"after": 0})


def test_an_event_that_is_no_json_concerns_its_own_request(tmp_path: Path) -> None:
    """Whatever slips past every check raises where it was asked for, and the next line is written."""
    own = trail(tmp_path / "audit.jsonl")

    with pytest.raises(Refusal, match="failed"):
        own.record({"operation": "odd", "what": "\ud800"})

    own.record({"operation": "next"})
    own.close()
    written = [json.loads(line)["operation"] for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert written == ["chain", "next"]


def test_nobody_waits_for_a_writer_that_failed(tmp_path: Path) -> None:
    """An error that nobody thought of stops the trail: who waits is told, and who comes after too."""

    def failing() -> tuple[int, int]:
        raise RuntimeError("secret")

    own = Trail(tmp_path / "audit.jsonl", TrailKeys(bytes(32), SIGNING), "eu-central-1", store=failing)

    with pytest.raises(Refusal, match="can't be written"):
        own.append({"operation": "first"}).result(10)

    with pytest.raises(Refusal, match="RuntimeError"):
        own.append({"operation": "second"})
    assert "secret" not in str(own.stopped)
    own.close()


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("create-keyset", {"name": "k", "description": "a\0b"}),
        ("modify-keyset", {"keyset_id": {"Name": "default"}, "description": "a\0b"}),
        ("propose-client", {"name": "c", "region": "eu-central-1", "description": "\0"}),
        ("api/access-keys", {"keyName": "a\0", "role": "member"}),
        ("api/memberships", {"subject": "CS|\0", "role": "auditor"}),
        ("api/subjects/block", {"subject": "\0"}),
        ("api/oidc/providers", {"issuer": "i", "audience": "a", "vendor": "other", "jwks": {"keys": [{"kid": "\0"}]}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_one_database_keeps_and_the_other_does_not_is_kept_by_neither(
    dev: DevAuthority, endpoint: str, body: dict[str, Any]
) -> None:
    """A NUL in a file's store would keep its backup from going into PostgreSQL, on the day that it must."""
    if endpoint == "propose-client":
        via = existing(dev)
        with pytest.raises(KeyAccessDenied, match=r"400.*NUL"):
            propose(dev.admin, name="nul", region="eu-central-1", via=via, description="\0")
        return

    with pytest.raises(KeyAccessDenied, match=r"400.*NUL"):
        dev.admin(endpoint, body)


@pytest.mark.parametrize("subject", ["x" * 256, "a\nb", "a\0b", "a\u202eb"])
def test_a_subject_that_no_provider_may_name_is_refused(subject: str) -> None:
    """It would stand on every line of the audit, of any length, and in rows."""
    provider = {"issuer": "i", "audience": "a"}
    claims = {"iss": "i", "aud": "a", "exp": time.time() + 60, "sub": subject}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in ({"alg": "RS256"}, claims)]

    with pytest.raises(Refusal, match="printable"):
        claimed(".".join([*parts, "x"]), provider)


def test_a_long_line_of_clients_is_deleted_whole() -> None:
    """Each enrolled through the one before, as years of rotations leave them."""
    rows = {f"c{n}": {"id": f"c{n}", "via": f"c{n - 1}" if n else None} for n in range(5000)}
    tables: dict[str, dict[Any, Any]] = {str(table.name): {} for table in schema.AUTHORISING}

    found = _descendants(State(tables | {"clients": rows}), "c10")

    assert len(found) == len(set(found)) == 4989


@pytest.mark.parametrize("text", ["=1+1", "+a1", "-a1", "@a", "\t=1", "\r=1"])
def test_no_cell_of_an_export_is_a_formula(text: str) -> None:
    """What a caller named, a spreadsheet shows and does not compute."""
    _, row = as_csv([{"operation": "generate", "subject": text}])

    assert f"'{text}" in row
