"""The wheel by itself: built as for a release, installed without any extra into an environment of its own, and used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = """
import asyncio, json
from worker import AsyncEncryption, Encryption, Regions, output_schema
from worker.errors import ConfigError
from worker.native import IS_LOADED
from worker.sdk.serializers import EncryptedAvroDeserializer, EncryptedAvroSerializer
import worker

FIELD = "acme.crm.Customer/email"
FIELDS = [{"name": "id", "type": "long"}, {"name": "email", "type": "string", "encrypted": True}]
SCHEMA = json.dumps({"type": "record", "name": "acme.crm.Customer", "fields": FIELDS})

async def later():
    async with AsyncEncryption.from_env() as encryption:
        return await encryption.decrypt(await encryption.encrypt("ann", field=FIELD), field=FIELD)

with Encryption.from_env(reason="ticket 4711") as encryption, Regions.from_env("CS_") as regions:
    for kind in ("leased", "record"):
        sealed = encryption.encrypt_many(["ann", "bob"] * 10, field=FIELD, format=kind)
        assert regions.decrypt_many(sealed, field=FIELD) == ["ann", "bob"] * 10
    datum = encryption.encrypt_record({"id": 1, "email": "ann"}, schema=SCHEMA)
    assert encryption.decrypt_record(datum, schema=output_schema(SCHEMA)) == {"id": 1, "email": "ann"}
    row = {"id": 1, "email": sealed[0]}
    assert encryption.decrypt_row(row, table=output_schema(SCHEMA)) == {"id": 1, "email": "ann"}
    assert len(encryption.query_term(FIELD, "ann")) == 64
    try:
        encryption.decrypt_table(None, columns={})
    except ConfigError as exc:
        assert "[tables]" in str(exc)
    else:
        raise AssertionError("pyarrow is there")
assert asyncio.run(later()) == "ann"
print("native" if IS_LOADED else "plain", worker.__file__)
"""


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_a_wheel_alone_imports_and_works(authority: Mapping[str, str], tmp_path: Path) -> None:
    """Values, records, rows, terms, regions and tasks, and both commands, with the package's own dependencies alone."""
    if shutil.which("cargo") is None:
        pytest.skip("the wheel's native module needs cargo")
    wheels, place = tmp_path / "wheels", tmp_path / "alone"
    build = [str(ROOT / "deploy/image/wheel.sh"), str(wheels)]
    subprocess.run(build, check=True, env={**os.environ, "PYTHON": sys.executable}, timeout=400)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, timeout=100)
    python, program = place / "bin" / "python", tmp_path / "program.py"
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True, timeout=300)
    program.write_text(PROGRAM)
    # Elsewhere than the repository, whose packages would be found instead.
    environ = {"PATH": os.environ["PATH"], "WORKER_REQUIRE_NATIVE": "1", **authority}

    told = subprocess.run(
        [python, str(program)], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=100, check=False
    )
    command = [str(place / "bin" / "worker"), "encrypt", "--field", "acme.crm.Customer/email"]
    sealed = subprocess.run(command, input="ann\n", env=environ, capture_output=True, text=True, timeout=60, check=True)
    command[1:2] = ["decrypt", "-"]
    opened = subprocess.run(
        command, input=sealed.stdout, env=environ, capture_output=True, text=True, timeout=60, check=True
    )

    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(f"native {place}")
    assert '"ann"' in opened.stdout
