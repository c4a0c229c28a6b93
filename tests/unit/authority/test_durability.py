"""What was acknowledged is there after a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from worker.authority.dev import DevAuthority, read_env
from worker.authority.remote import Remote
from worker.errors import KeyServiceUnavailable

_SCRIPT = """
import sys, threading
from pathlib import Path
from worker.authority.dev import DevAuthority
authority = DevAuthority("eu-central-1", Path(sys.argv[1]))
print(authority.url, flush=True)
threading.Event().wait()
"""


def test_a_kill_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Every keyset whose creation was answered exists after SIGKILL in the middle of more creations."""
    process = subprocess.Popen([sys.executable, "-c", _SCRIPT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        url = process.stdout.readline().strip()
        call = Remote(url, read_env(tmp_path / "credentials.env")["CS_ADMIN_ACCESS_KEY"])
        acknowledged: list[str] = []
        try:
            for i in range(1000):
                if i == 12:
                    process.send_signal(signal.SIGKILL)
                acknowledged.append(call("create-keyset", {"name": f"k{i}", "description": "x"})["id"])
        except KeyServiceUnavailable:
            process.wait()

    with DevAuthority("eu-central-1", tmp_path) as again:
        found = {row["id"] for row in again.admin("list-keysets", {})}

    assert len(acknowledged) >= 12
    assert set(acknowledged) <= found
