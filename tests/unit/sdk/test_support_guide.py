"""docs/how-to/support-elsewhere.md, run as written: its commands by a shell, its program by Python."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from worker import Encryption, errors, output_schema
from worker.authority.dev import DevAuthority, read_env

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "support-elsewhere.md").read_text()
SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "acme.crm.Customer",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "email", "type": "string", "encrypted": {"context": ["id"]}},
        ],
    }
)


def commands(heading: str) -> list[str]:
    part = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [line for block in re.findall(r"```sh\n(.*?)```", part, re.DOTALL) for line in block.splitlines()]


def program() -> str:
    (found,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def shell(command: str, environ: Mapping[str, str], directory: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CS_", "WORKER_"))}
    return subprocess.run(
        ["sh", "-c", command],
        cwd=directory,
        env={**kept, "PATH": path, **environ},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )


def test_the_guide_is_true(authority_ap: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials, a read that says why, a refusal without them, the audit, and the end of it."""
    with DevAuthority("eu-central-1", tmp_path / "eu") as eu:
        with Encryption.from_env(environ=eu.env) as own:
            stored = {"id": 1, "email": own.encrypt("ann@x", field="acme.crm.Customer/email", context={"id": 1})}
        admin = {
            "CS_ADMIN_ACCESS_KEY": eu.env["CS_ADMIN_ACCESS_KEY"],
            **{name: eu.env[name] for name in ("CS_CTS_HOST", "CS_ZEROKMS_HOST")},
            **{name: eu.env[name] for name in ("CS_CLIENT_ID", "CS_CLIENT_KEY", "CS_CLIENT_ACCESS_KEY")},
            "CS_WORKSPACE_CRN": eu.env["CS_WORKSPACE_CRN"],
        }
        create, limit = commands("The EU gives credentials")
        made = shell(create, admin, tmp_path)
        assert made.returncode == 0, made.stderr
        support = read_env(tmp_path / "support.env")
        admin["SUPPORT_CLIENT"] = support["CS_EU_CLIENT_ID"]
        assert (limited := shell(limit, admin, tmp_path)).returncode == 0, limited.stderr

        mine = {f"CS_AP_{n.removeprefix('CS_')}": v for n, v in authority_ap.items() if not n.endswith("_2")}
        hosts = {f"CS_EU_{n}": eu.env[f"CS_{n}"] for n in ("CTS_HOST", "ZEROKMS_HOST")}
        for name, value in {**mine, **hosts, **support}.items():
            monkeypatch.setenv(name, value)
        found: dict[str, Any] = {"output_schema": output_schema(SCHEMA), "stored": stored}
        exec(compile(program(), "support-elsewhere.md", "exec"), found)
        assert found["row"] == {"id": 1, "email": "ann@x"}

        query, delete = commands("The EU looks, and takes it back")
        told = shell(query, admin, tmp_path)
        entries = [json.loads(line) for line in told.stdout.splitlines()]
        assert [e["unverified_context"]["reason"] for e in entries] == ["ticket 4711"], told.stderr
        assert (deleted := shell(delete, admin, tmp_path)).returncode == 0, deleted.stderr
        with pytest.raises(errors.KeyAccessDenied):
            exec(compile(program(), "support-elsewhere.md", "exec"), found)
