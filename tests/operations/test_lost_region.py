"""The runbook of a lost region, walked as it is written, by the program, over a real backup, journal and anchor."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pyrage
import pytest

from tests.operations.prometheus import free_port
from tests.unit.authority.conftest import Party
from tests.unit.authority.test_recovery import LATER, Lost, credentials, lost

__all__ = ["lost"]
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "lost-region.md"


def commands() -> list[str]:
    return re.findall(r"^ +\$ (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


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
