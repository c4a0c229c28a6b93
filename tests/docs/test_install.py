"""README's installation, as a stranger does it: a clone, a wheel, an environment of one's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, run
from tests.docs.walks import WALKS

PROOF = '(cd / && python -c "import worker.native as n; print(n.IS_LOADED, n.__file__)")'


@pytest.mark.heavy
@pytest.mark.timeout(1200)
def test_a_clone_becomes_a_program(tmp_path: Path) -> None:
    """The wheel is built with the native module, and what it installs runs and names its version."""
    if shutil.which("cargo") is None:
        pytest.skip("`cargo` is not on PATH: install Rust (rustup.rs)")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    files, lines = WALKS["install"].script()
    # What was compiled here before need not be again.
    kept = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    environ = {**kept, "PYTHON": sys.executable, "CARGO_TARGET_DIR": str(ROOT / "native" / "target")}

    done = run(files, [*lines, "worker --version", PROOF], clone, environ, 1100)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"True {clone / 'worker-venv'}" in done.stdout
