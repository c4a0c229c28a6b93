"""`worker plan`: what it prints and how it exits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.unit.avro.test_declaration import field, schema
from worker.cli.plan import register
from worker.errors import DeclarationError, RegionViolation

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


def route(name: str) -> str:
    sink = f'{{ kind = "kafka", topic = "{name}.enc" }}'
    return f'[[routes]]\nname = "{name}"\ngroup = "{name}"\nsource = {{ topics = ["{name}"] }}\nsink = {sink}\n'


def configured(folder: Path, *routes: str) -> str:
    head = 'region = "eu-central-1"\nkafka = { bootstrap = "b:1", cluster_id = "c" }\n'
    head += 'schemas = { registry = "mock://r" }\n'
    paths = '[encryption]\npaths = { "n.A/b" = { format = "leased" } }\n'
    return saved(folder, "worker.toml", head + paths + "".join(map(route, routes)))


def test_a_config_gives_the_policies_and_asks_its_registry(tmp_path: Path) -> None:
    """With --config the route's policies count, and the verdict on the output's subject stands in table and JSON."""
    arguments = ["--config", configured(tmp_path, "one"), saved(tmp_path, "s", schema(field("a"), field("b")))]

    table, result = (CliRunner().invoke(app, [*more, *arguments]) for more in ([], ["--json"]))

    value = json.loads(result.output)
    assert [(f["identity"], f["format"]) for f in value["fields"]] == [("n.A/b", "leased")]
    assert value["compatibility"] == {"subject": "one.enc-value", "verdict": "unjudged"}
    assert "under one.enc-value: not judged" in table.output


def test_of_several_routes_one_must_be_named(tmp_path: Path) -> None:
    """A config with two routes needs --route; the message names both."""
    path = saved(tmp_path, "s", schema(field("a"), field("b")))
    config = configured(tmp_path, "one", "two")

    unnamed = CliRunner().invoke(app, ["--config", config, path])
    named = CliRunner().invoke(app, ["--json", "--config", config, "--route", "two", path])

    assert "one, two" in str(unnamed.exception)
    assert json.loads(named.output)["compatibility"]["subject"] == "two.enc-value"


def test_a_registry_of_another_region_is_not_asked(tmp_path: Path) -> None:
    """--config keeps the region's pin: neither a schema nor a credential goes to a registry elsewhere."""
    config = Path(configured(tmp_path, "one"))
    config.write_text(config.read_text().replace("mock://r", "https://registry.ap-southeast-2.example.org"))

    result = CliRunner().invoke(app, ["--config", str(config), saved(tmp_path, "s", schema(field("a"), field("b")))])

    assert isinstance(result.exception, RegionViolation)


def test_a_schema_that_declares_nothing_is_refused(tmp_path: Path) -> None:
    """Nothing of it would be encrypted; whoever means that says so by its name, for a route in its config."""
    path = saved(tmp_path, "s", schema(field("a"), name="H"))
    config = configured(tmp_path, "one")
    listing = config.replace("worker.toml", "clear.toml")
    Path(listing).write_text(Path(config).read_text() + 'clear = ["n.H"]\n')

    refused = [CliRunner().invoke(app, arguments) for arguments in ([path], ["--config", config, path])]
    meant = [
        CliRunner().invoke(app, arguments) for arguments in (["--clear", "n.H", path], ["--config", listing, path])
    ]

    assert all("n.H declares nothing" in str(result.exception) for result in refused)
    assert [result.exit_code for result in meant] == [0, 0]


def test_strict_refuses_a_silent_leaf() -> None:
    """--strict demands a word on every leaf, by its path."""
    result = CliRunner().invoke(app, ["--strict", str(ROOT / "schemas" / "customer.avsc")])

    assert "acme.crm.Customer/id is declared neither encrypted nor clear" in str(result.exception)


def test_the_pre_commit_hook_runs_on_schemas(tmp_path: Path) -> None:
    """The hook's own command passes the examples and fails on a schema that forgets a field."""
    hook = (ROOT / ".pre-commit-hooks.yaml").read_text()
    entry = next(line.partition(":")[2].split() for line in hook.splitlines() if line.strip().startswith("entry:"))
    program = [str(Path(sys.executable).with_name(entry[0])), *entry[1:]]
    forgotten = saved(tmp_path, "s.avsc", schema(field("email")))

    good = subprocess.run(
        [*program, *sorted(map(str, (ROOT / "schemas").glob("*.avsc")))], check=False, capture_output=True
    )
    bad = subprocess.run([*program, forgotten], check=False, capture_output=True)

    assert (good.returncode, bad.returncode) == (0, 1), good.stdout


@pytest.mark.parametrize("form", ["table", "json", "markdown"])
def test_the_clear_fields_stand_beside_the_encrypted_ones(tmp_path: Path, form: str) -> None:
    """A reviewer reads both: every leaf is in the plan once, those within arrays and records by their own identity."""
    inner = {"type": "record", "name": "Line", "fields": [field("sku"), field("price", "int", encrypted=True)]}
    text = schema(field("a", encrypted=True), field("b", "int"), field("lines", {"type": "array", "items": inner}))

    result = CliRunner().invoke(app, ["--format", form, saved(tmp_path, "s", text)])

    assert result.exit_code == 0, result.output
    if form == "json":
        value = json.loads(result.output)
        assert [f["identity"] for f in value["fields"]] == ["n.A/a", "n.A/lines[].price"]
        assert [(f["identity"], f["type"]) for f in value["clear"]] == [("n.A/b", "int"), ("n.A/lines[].sku", "string")]
    else:
        assert all(identity in result.output for identity in ("n.A/a", "n.A/b", "n.A/lines[].price", "n.A/lines[].sku"))
        assert result.output.count("clear") >= 2


def test_a_schema_with_nothing_encrypted_is_a_finding_where_that_is_asked(tmp_path: Path) -> None:
    """--require-encrypted ends with 1 and says so; with --lint alone a clear schema passes."""
    path = saved(tmp_path, "s", schema(field("a"), name="H"))

    asked, passed = (CliRunner().invoke(app, [*more, "--lint", path]) for more in (["--require-encrypted"], []))

    assert (asked.exit_code, passed.exit_code) == (1, 0)
    assert "n.H has nothing that is encrypted" in asked.stderr
