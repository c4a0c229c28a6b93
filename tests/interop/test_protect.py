"""The published client, unmodified, against our authority over loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.interop.conftest import run
from worker.authority.dev import DevAuthority

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]


def _email(text: str, **more: Any) -> dict[str, Any]:
    return {"plaintext": text, "table": "users", "column": "email", **more}


def test_it_encrypts_and_both_clients_read(package: Path, own: DevAuthority) -> None:
    """What the first client encrypted, both decrypt, and their index terms are equal."""
    first, second = run(package, own, ("encrypt", 0, _email("ann@x")), ("encrypt", 1, _email("ann@x")))

    read = run(
        package,
        own,
        ("decrypt", 0, {"ciphertext": first["ok"]}),
        ("decrypt", 1, {"ciphertext": first["ok"]}),
        ("decrypt", 0, {"ciphertext": second["ok"]}),
    )

    assert read == [{"ok": "ann@x"}] * 3
    assert first["ok"]["hm"] == second["ok"]["hm"]


def test_terms_survive_a_restart(package: Path, own: DevAuthority) -> None:
    """Index terms and ciphertexts are the same authority's after it has been stopped and started."""
    (before,) = run(package, own, ("encrypt", 0, _email("ann@x")))
    own.stop()

    with DevAuthority("eu-central-1", own.audit_path.parent) as again:
        after, read = run(package, again, ("encrypt", 1, _email("ann@x")), ("decrypt", 1, {"ciphertext": before["ok"]}))

    assert read == {"ok": "ann@x"}
    assert before["ok"]["hm"] == after["ok"]["hm"]


def test_a_bulk_of_a_thousand(package: Path, own: DevAuthority) -> None:
    """A thousand values go and come back in order."""
    values = [f"value {i}" for i in range(1000)]
    (sealed,) = run(package, own, ("encryptBulk", 0, {"plaintexts": [_email(v) for v in values]}))

    (read,) = run(package, own, ("decryptBulk", 1, {"ciphertexts": [{"ciphertext": c} for c in sealed["ok"]]}))

    assert read == {"ok": values}


def test_a_lock_context_opens_for_its_identity_alone(package: Path, own: DevAuthority) -> None:
    """A value locked to the caller's subject is refused to another subject."""
    lock = {"lockContext": {"identityClaim": ["sub"]}}
    (sealed,) = run(package, own, ("encrypt", 0, _email("locked", **lock)))

    mine, other, without = run(
        package,
        own,
        ("decrypt", 0, {"ciphertext": sealed["ok"], **lock}),
        ("decrypt", 1, {"ciphertext": sealed["ok"], **lock}),
        ("decrypt", 0, {"ciphertext": sealed["ok"]}),
    )

    assert mine == {"ok": "locked"}
    assert "error" in other
    assert "error" in without


def test_a_keyset_is_made_granted_and_revoked(package: Path, own: DevAuthority) -> None:
    """A second keyset works for a granted client and is refused after its revocation."""
    own.create_keyset("eu-second")
    own.grant(own.env["CS_CLIENT_ID"], "eu-second")
    own.grant(own.env["CS_CLIENT_ID_2"], "eu-second")
    more = {"keyset": {"Name": "eu-second"}}
    (sealed,) = run(package, own, ("encrypt", 0, _email("apart")), **more)  # type: ignore[arg-type]
    (read,) = run(package, own, ("decrypt", 1, {"ciphertext": sealed["ok"]}))
    own.revoke(own.env["CS_CLIENT_ID_2"], "eu-second")
    (refused,) = run(package, own, ("decrypt", 1, {"ciphertext": sealed["ok"]}))

    assert read == {"ok": "apart"}
    assert "error" in refused
