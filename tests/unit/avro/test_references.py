"""`worker plan --reference`: schemas in several files, as a directory of them or by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.unit.avro.test_declaration import field
from worker.cli.plan import register
from worker.errors import DeclarationError

app = typer.Typer()
register(app)

COUNTRY = {"type": "enum", "name": "Country", "namespace": "n", "symbols": ["DE", "AU"]}
ADDRESS = {"type": "record", "name": "Address", "namespace": "n", "fields": [field("c", "n.Country"), field("street")]}
PERSON = {"type": "record", "name": "Person", "namespace": "n", "fields": [field("home", "n.Address", encrypted=True)]}


def saved(folder: Path, **schemas: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas.items():
        (folder / f"{name}.avsc").write_text(json.dumps(schema))
    return folder


def planned(person: Path, *references: str) -> list[str]:
    options = [part for reference in references for part in ("--reference", reference)]
    result = CliRunner().invoke(app, ["--json", str(person), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [f["identity"] for f in json.loads(result.stdout)["fields"]]


@pytest.mark.parametrize("folder", ["common", "dt=2026-01-02"])
def test_references_are_found_whatever_their_order_and_place(tmp_path: Path, folder: str) -> None:
    """A directory, files, and files by name give the same plan; a folder's name may hold an equals sign."""
    person = saved(tmp_path, person=PERSON) / "person.avsc"
    common = saved(tmp_path / folder, address=ADDRESS, country=COUNTRY)
    files = [str(common / "address.avsc"), str(common / "country.avsc")]

    assert planned(person, str(common)) == ["n.Person/home"]
    assert planned(person, *files) == ["n.Person/home"]
    assert planned(person, *(f"n.{Path(file).stem.title()}={file}" for file in files)) == ["n.Person/home"]


def test_a_missing_reference_is_named_with_its_file(tmp_path: Path) -> None:
    """Which file needs which type."""
    person = saved(tmp_path, person=PERSON) / "person.avsc"
    common = saved(tmp_path / "common", address=ADDRESS)

    with pytest.raises(DeclarationError, match=r"address\.avsc: c: type 'n\.Country' is not defined"):
        planned(person, str(common))
    with pytest.raises(DeclarationError, match=r"person\.avsc: home: type 'n\.Address' is not defined"):
        planned(person)
