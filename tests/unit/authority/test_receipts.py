"""What clients keep of the audit: every request's place, and what nobody can take out of the trail unnoticed then."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.authority.conftest import lines
from tests.unit.authority.test_audit_tools import rewritten
from worker.authority.audit.chain import hash_of
from worker.authority.dev import DevAuthority
from worker.cli import authority_audit
from worker.errors import ConfigError, KeyAccessDenied
from worker.sdk import AsyncEncryption, Encryption


def sdk(own: DevAuthority, suffix: str = "") -> dict[str, Any]:
    names = {"workspace_crn": "WORKSPACE_CRN", "cts_host": "CTS_HOST", "zerokms_host": "ZEROKMS_HOST"}
    mine = {"client_id": "CLIENT_ID", "client_key": "CLIENT_KEY", "access_key": "CLIENT_ACCESS_KEY"}
    given = {name: own.env[f"CS_{text}"] for name, text in names.items()}
    host = own.url.split("/")[2]
    return {**given, **{n: own.env[f"CS_{text}{suffix}"] for n, text in mine.items()}, "allow_hosts": [host]}


DERIVED = {"generate", "retrieve", "load"}


def derived_since(own: DevAuthority, number: int) -> list[tuple[str, int, str]]:
    """Where the lines of derivations stand, from a number on."""
    raw = own.audit_path.read_bytes().splitlines()[number:]
    found = zip(raw, map(json.loads, raw), strict=True)
    return [(entry["chain"], entry["seq"], hash_of(line)) for line, entry in found if entry["operation"] in DERIVED]


def test_every_audited_request_has_its_receipt(own: DevAuthority) -> None:
    """Keys made and made again, keysets loaded, and what was refused: each once, with the request's own id."""
    before = len(lines(own))
    with Encryption(**sdk(own), cache=None) as encryption:
        envelope = encryption.encrypt("ann", field="c/name")
        encryption.decrypt(envelope, field="c/name")
        own.disable_keyset("default")
        with pytest.raises(KeyAccessDenied):
            encryption.decrypt(envelope, field="c/name")
        kept, again = encryption.audit_receipts(), encryption.audit_receipts()

    assert [(r["chain"], r["seq"], r["hash"]) for r in kept] == derived_since(own, before)
    said = [
        each["unverified_context"].get("request_id") for each in lines(own)[before:] if each["operation"] in DERIVED
    ]
    assert [r.get("request_id") for r in kept] == said
    assert len(kept) >= 4
    assert again == []


def test_an_event_loop_s_client_keeps_them_too(own: DevAuthority) -> None:
    """Over the asynchronous pool as over the other."""

    async def work() -> list[dict[str, Any]]:
        async with AsyncEncryption(**sdk(own)) as encryption:
            envelope = await encryption.encrypt("ann", field="c/name")
            assert await encryption.decrypt(envelope, field="c/name") == "ann"
            return encryption.audit_receipts()

    before = len(lines(own))
    kept = asyncio.run(work())

    assert [(r["chain"], r["seq"], r["hash"]) for r in kept] == derived_since(own, before)
    assert len(kept) >= 2


def another(lines: list[bytes]) -> None:
    lines[-20] = lines[-20].replace(b'"count":1', b'"count":2')


CHAIN = b'"chain":"'
TAMPERING: dict[str, Callable[[list[bytes]], Any]] = {
    "changed": another,
    "dropped": lambda lines: lines.pop(-20),
    "reordered": lambda lines: lines.insert(-20, lines.pop()),
    "duplicated": lambda lines: lines.insert(-20, lines[-20]),
    "truncated": lambda lines: lines.__delitem__(slice(-20, None)),
    "changed and chained anew": lambda lines: rewritten(lines, another),
    "dropped and chained anew": lambda lines: rewritten(lines, lambda each: each.pop(-20)),
    "another chain": lambda lines: lines.__setitem__(
        slice(None), [each.replace(CHAIN, CHAIN + b"x") for each in lines]
    ),
}


def remembered(own: DevAuthority, path: Path, form: str) -> Path:
    """Make forty requests and write what the client was told, as receipts or as entries of a ledger's topic."""
    with Encryption(**sdk(own)) as encryption:
        for number in range(40):
            encryption.encrypt(f"ann {number}", field="c/name")
        told: list[dict[str, Any]] = list(encryption.audit_receipts())
    if form == "entries":
        texts = [f"{r['chain']} {r['seq']} {r['hash']} {r.get('request_id', '')}".strip() for r in told]
        told = [{"chain": "process", "sequence": 0, "audited": texts[:9]}, {"checkpoint": {}}]
        told += [{"chain": "process", "sequence": 1}, {"chain": "process", "sequence": 2, "audited": texts[9:]}]
    path.write_text("".join(json.dumps(each) + "\n" for each in told))
    return path


@pytest.mark.parametrize("form", ["receipts", "entries"])
def test_what_a_ledger_remembers_can_t_be_rewritten(own: DevAuthority, tmp_path: Path, form: str) -> None:
    """Without an anchor: every kind of tampering with remembered lines is found, those that chain anew included."""
    ledger, path = remembered(own, tmp_path / "ledger", form), own.audit_path
    own.stop()
    whole = path.read_bytes()
    command = ["verify", str(path.parent), "--against", str(ledger), "--json"]
    found = CliRunner().invoke(authority_audit.app, command)
    assert (found.exit_code, json.loads(found.stdout)["anchored"]) == (0, 41)

    for kind, change in TAMPERING.items():
        entries = whole.splitlines()
        change(entries)
        path.write_bytes(b"\n".join(entries) + b"\n")
        found = CliRunner().invoke(authority_audit.app, command)
        assert found.exit_code == 1, kind
        assert json.loads(found.stdout)["findings"], kind


def test_every_process_s_trail_is_looked_at(own: DevAuthority, tmp_path: Path) -> None:
    """Of a data directory with several chains all are read; a directory that was left out is what is said to lack."""
    ledger = remembered(own, tmp_path / "ledger", "receipts")
    own.stop()
    data = tmp_path / "data" / "process-0"
    data.mkdir(parents=True)
    own.audit_path.rename(data / "audit.jsonl")
    (tmp_path / "empty").mkdir()

    whole = CliRunner().invoke(authority_audit.app, ["verify", str(tmp_path / "data"), "--against", str(ledger)])
    lacking = CliRunner().invoke(authority_audit.app, ["verify", str(tmp_path / "empty"), "--against", str(ledger)])

    assert whole.exit_code == 0, whole.output
    assert lacking.exit_code == 1
    assert "is another process's directory missing?" in lacking.output


def test_what_is_no_ledger_is_refused(tmp_path: Path, own: DevAuthority) -> None:
    """A line that has no place in it is named, and not passed over."""
    (tmp_path / "ledger").write_text('{"chain": "c", "seq": 1}\n')

    with pytest.raises(ConfigError, match=r"ledger:1 is neither a receipt"):
        CliRunner().invoke(
            authority_audit.app,
            ["verify", str(own.audit_path.parent), "--against", str(tmp_path / "ledger")],
            catch_exceptions=False,
        )
