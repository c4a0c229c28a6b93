"""`worker plan`: what it prints and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.unit.avro.test_declaration import field, schema
from worker.cli.plan import register
from worker.errors import DeclarationError

ROOT = Path(__file__).resolve().parents[3]
app = typer.Typer()
register(app)


def saved(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("path", sorted((ROOT / "schemas").glob("*.avsc")), ids=lambda p: str(p.name))
def test_examples_compile(path: Path) -> None:
    """Each example schema has a plan, as table and as JSON, that says what `record` can't detect."""
    table = CliRunner().invoke(app, [str(path)])
    result = CliRunner().invoke(app, [str(path), "--json"])

    assert table.exit_code == result.exit_code == 0
    assert "can't detect" in table.output
    value = json.loads(result.output)
    assert value["fields"]
    assert json.dumps(value["output_schema"], separators=(",", ":"), ensure_ascii=False) in table.output
    assert all(f["identity"] in table.output for f in value["fields"])


def test_diff_exits_1_where_protection_is_lost(tmp_path: Path) -> None:
    """A declaration that goes, a null that shows and a binding that goes are losses; a new declaration is none."""
    bound = {"format": "leased", "bind": ["b"]}
    clear, hidden = schema(field("a"), field("b")), schema(field("a", encrypted=True), field("b"))
    shown = schema(field("a", ["null", "string"], encrypted=True))
    unseen = schema(field("a", ["null", "string"], encrypted={"null": "encrypt"}))
    tied = schema(field("a", encrypted=bound), field("b"))
    loose = schema(field("a", encrypted={"format": "leased"}), field("b"))
    cases = [(hidden, clear, 1), (clear, hidden, 0), (hidden, hidden, 0), (unseen, shown, 1), (tied, loose, 1)]

    codes = [
        CliRunner().invoke(app, ["--diff", saved(tmp_path, "o", old), saved(tmp_path, "n", new)]).exit_code
        for old, new, _ in cases
    ]

    assert codes == [code for _, _, code in cases]


def test_lint_names_clear_personal_data(tmp_path: Path) -> None:
    """A clear field that looks personal is warned of, unless the schema says that it is meant."""
    text = schema(field("email"), field("phone", encrypted=False), field("iban", encrypted=True), field("n", "int"))

    result = CliRunner().invoke(app, ["--lint", "--json", saved(tmp_path, "s", text)])

    assert result.exit_code == 1
    assert json.loads(result.output)["warnings"] == ["n.A/email"]


def test_key_shows_what_a_pseudonym_replaces(tmp_path: Path) -> None:
    """With --key the schema is a key's: its declared fields, the output schema, and what a pseudonym can't hide."""
    path = saved(tmp_path, "key", schema(field("a", encrypted=True), field("b", "int")))

    text, value = (CliRunner().invoke(app, ["--key", path, *more]) for more in ([], ["--json"]))

    assert text.exit_code == value.exit_code == 0
    assert "n.A/a: pseudonym" in text.output
    found = json.loads(value.output)
    assert [f["identity"] for f in found["fields"]] == ["n.A/a"]
    assert found["output_schema"]["fields"][0]["type"] == "bytes"
    assert "which keys are equal" in found["notes"][0]


def test_key_refuses_what_cannot_be_a_pseudonym(tmp_path: Path) -> None:
    """A bound key field is refused before the first record."""
    path = saved(tmp_path, "key", schema(field("a", encrypted={"format": "leased", "bind": ["b"]}), field("b")))

    assert isinstance(CliRunner().invoke(app, ["--key", path]).exception, DeclarationError)
