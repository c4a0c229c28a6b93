"""The published client, unmodified, against our authority over loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from worker.authority.dev import DevAuthority

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]
PACKAGE = "@cipherstash/protect-ffi@0.32.0"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the published client installed."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("node and npm are not on PATH: install Node 20 or later to run the published client")
    directory = tmp_path_factory.mktemp("npm")
    script = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(directory), PACKAGE]
    installed = subprocess.run(script, capture_output=True, text=True, check=False, timeout=240)
    if installed.returncode:
        pytest.skip(f"{PACKAGE} can't be installed by npm: {installed.stderr[-300:]}")
    return directory


@pytest.fixture
def own(tmp_path: Path) -> Iterator[DevAuthority]:
    """An authority of the test's own."""
    with DevAuthority("eu-central-1", tmp_path / "authority") as running:
        yield running


def credentials(authority: DevAuthority) -> list[dict[str, str]]:
    env = authority.env
    return [
        {
            "workspaceCrn": env["CS_WORKSPACE_CRN"],
            "accessKey": env[f"CS_CLIENT_ACCESS_KEY{suffix}"],
            "clientId": env[f"CS_CLIENT_ID{suffix}"],
            "clientKey": env[f"CS_CLIENT_KEY{suffix}"],
        }
        for suffix in ("", "_2")
    ]


def run(package: Path, authority: DevAuthority, *steps: tuple[str, int | None, dict[str, Any]], **more: str) -> Any:
    """Run steps in one process of the published client; returns their results in order."""
    listed = [{"call": c, "opts": o, **({} if n is None else {"client": n})} for c, n, o in steps]
    clients = [{**c, **more} for c in credentials(authority)]
    hosts = {"CS_CTS_HOST": authority.url, "CS_ZEROKMS_HOST": authority.url}
    done = subprocess.run(
        ["node", str(Path(__file__).with_name("protect.mjs")), str(package)],
        input=json.dumps({"credentials": clients, "steps": listed}),
        env={"PATH": os.environ["PATH"], "HOME": str(package), **hosts},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


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
