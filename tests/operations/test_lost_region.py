"""The runbook of a lost region, walked as it is written, by the program, over a real backup, journal and anchor."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import httpx
import pyrage
import pytest

from tests.docs.walks import WALKS
from tests.operations.prometheus import free_port
from tests.unit.authority.conftest import Party
from tests.unit.authority.test_recovery import LATER, Lost, credentials, lost, lost_once
from worker.authority import schema
from worker.authority.dev import DevAuthority
from worker.authority.keysets import new_keyset
from worker.authority.recovery.backup import write_backup
from worker.authority.recovery.restore import Anchored, Source, drill
from worker.authority.seal import Sealer, root_from_file
from worker.authority.server import AuthorityOptions
from worker.authority.store import Store
from worker.authority.transaction import Transaction
from worker.region import Region
from worker.zerokms.derive import Permutations

__all__ = ["lost", "lost_once"]
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]
_SET = r'([A-Z_]+=("[^"]*"|\S+) ?)+'


def commands() -> list[str]:
    """Return the page's steps; the variables that it sets before them have the test's own values."""
    return [line for line in WALKS["lost region"].script()[1] if not re.fullmatch(_SET, line)]


@pytest.fixture
def environ(lost: Lost, tmp_path: Path) -> dict[str, str]:
    program = tmp_path / "bin" / "worker"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from worker.cli import main; main()" "$@"\n')
    program.chmod(0o755)
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    place = {name: str(lost.place / file) for name, file in FILES.items()}
    set_before = {"REGION": "eu-central-1", "URL": url, "LISTEN": f"127.0.0.1:{port}", "TLS": ""}
    recipient = pyrage.x25519.Identity.generate().to_public()
    path = f"{program.parent}:{os.environ['PATH']}"
    hosts = {"CS_CTS_HOST": url, "CS_ZEROKMS_HOST": url}
    return {**lost.env, **hosts, **place, **set_before, "RECIPIENT": str(recipient), "PATH": path}


FILES = {
    "BACKUP": "backup",
    "IDENTITY": "identity",
    "JOURNAL": "journal",
    "ANCHOR": "anchor",
    "ROOT_KEY": "root.key",
    "DATA": "restored",
}


def test_every_step_does_what_the_page_says(
    lost: Lost,
    environ: dict[str, str],
    tmp_path: Path,
) -> None:
    """Afterwards what was written before and after the backup decrypts, and the page left nothing to guess."""
    serving: subprocess.Popen[bytes] | None = None
    outputs: dict[str, str] = {}
    try:
        for line in commands():
            if line.endswith("&"):
                command = ["bash", "-c", "exec " + line.removesuffix("&")]
                serving = subprocess.Popen(command, env=environ, cwd=tmp_path)
                _answers(environ["URL"])
                continue
            done = subprocess.run(
                ["bash", "-c", line], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            outputs[line] = done.stdout
            if " restore " in line:
                environ["ANN"], environ["BOB"] = credentials(done.stdout)
        for _, item, keyset, key in lost.kept:
            assert _party(lost, environ).retrieve(item, keyset) == key
        assert any(keyset == LATER for _, _, keyset, _ in lost.kept)
    finally:
        if serving is not None:
            serving.send_signal(signal.SIGTERM)
            serving.wait(30)

    told = list(outputs.values())
    assert [text.strip() for line, text in outputs.items() if "$ANN" in line] == ["1 more to present"]
    assert [text.strip() for line, text in outputs.items() if "$BOB" in line] == ["unlocked"]
    assert any("eu-central-1" in text for text in told)
    assert Path(environ["BACKUP"] + ".new").stat().st_size > 0
    assert set(re.findall(r"\$([A-Z_]+)", "\n".join(commands()))) <= environ.keys()


def _answers(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            assert httpx.get(url + "healthz", trust_env=False).status_code == 200
            return
        except httpx.HTTPError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def _party(lost: Lost, environ: dict[str, str]) -> Party:
    return Party(environ["URL"], lost.env["CS_CLIENT_ACCESS_KEY"], lost.env["CS_CLIENT_ID"], lost.env["CS_CLIENT_KEY"])


KEYSETS, CLIENTS = 1_000, 10_000


def test_a_large_store_comes_back_in_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A thousand keysets and ten thousand clients, each with a grant: prints the size of the backup and the times."""
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(f"{identity}\n")
    options = AuthorityOptions(anchor=tmp_path / "anchor")
    with DevAuthority("eu-central-1", tmp_path / "data", options=options) as own:
        _fill(own.authority.store)
        began = time.perf_counter()
        data = write_backup(own.authority.store, [str(identity.to_public())], own.authority.subjects)
        made_s = time.perf_counter() - began
        version = own.authority.store.head.version
    root = Sealer(root_from_file(tmp_path / "data" / "root.key"))

    found = drill(Region("eu-central-1"), root, Source(data, tmp_path / "identity", None, Anchored(1, version)))

    with capsys.disabled():
        print(f"\nbackup {len(data) / 1e6:.1f} MB in {made_s:.1f} s, recovered in {found['recovery_s']:.1f} s")
    assert (found["keysets"], found["clients"], found["wrong"]) == (KEYSETS, CLIENTS, [])
    assert len(data) < 30_000_000


def _fill(store: Store) -> None:
    (workspace,) = store.state.workspaces
    (some,) = (row for row in store.state.clients.values() if row["name"] == "first")
    seal, relation = store.sealer.seal, Permutations.random().to_cbor()

    def change(transaction: Transaction) -> None:
        keysets = [new_keyset(store, workspace, f"k{n}", "x") for n in range(KEYSETS - len(store.state.keysets))]
        for keyset in keysets:
            transaction.insert(schema.keysets, keyset)
        for n in range(CLIENTS - len(store.state.clients)):
            client, keyset = str(uuid4()), keysets[n % len(keysets)]["id"]
            row = {**some, "id": client, "name": f"c{n}", "default_keyset": keyset}
            transaction.insert(schema.clients, {**row, "relation": seal(relation, what=f"relation/{client}")})
            share = seal(relation, what=f"grant/{client}/{keyset}")
            transaction.insert(schema.grants, {"client": client, "keyset": keyset, "share": share})

    store.write(change)
