"""The published client, run by Node, and an authority for it."""

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

PACKAGE = "@cipherstash/protect-ffi@0.32.0"


@pytest.fixture(scope="session")
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


@pytest.fixture(params=[False, True], ids=["born_split", "made_by_authority"])
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DevAuthority]:
    """An authority of the test's own, its first client's key made by either side."""
    with DevAuthority("eu-central-1", tmp_path / "authority", escrow=request.param) as running:
        yield running


def credentials(authority: DevAuthority) -> list[dict[str, str]]:
    """What the client is told of each of the authority's two clients."""
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


def run(
    package: Path,
    authority: DevAuthority,
    *steps: tuple[str, int | None, dict[str, Any]],
    eql_version: str = "2",
    **more: str,
) -> Any:
    """Run steps in one process of the published client; returns their results in order."""
    listed = [{"call": c, "opts": o, **({} if n is None else {"client": n})} for c, n, o in steps]
    clients = [{**c, **more} for c in credentials(authority)]
    hosts = {"CS_CTS_HOST": authority.url, "CS_ZEROKMS_HOST": authority.url}
    done = subprocess.run(
        ["node", str(Path(__file__).with_name("protect.mjs")), str(package)],
        input=json.dumps({"credentials": clients, "steps": listed, "eqlVersion": int(eql_version)}),
        env={"PATH": os.environ["PATH"], "HOME": str(package), **hosts},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
