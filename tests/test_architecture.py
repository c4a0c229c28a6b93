"""The rules of the house (docs/architecture.md), held by the code itself."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from tests import reference
from worker import errors
from worker.cli.described import describe
from worker.config import Settings
from worker.config.known import models

ROOT = Path(__file__).resolve().parent.parent
WORKER = ROOT / "worker"
DOCS = ROOT / "docs"

DOORS = {
    "confluent_kafka": (
        "worker/kafka/",
        "worker/source/",
        "worker/sink/kafka/",
        "worker/canary/topic.py",
        "worker/avro/registry",
        "worker/demo/",
        "worker/local/",
        "worker/sdk/serializers.py",
    ),
    "kafka": ("worker/kafka/kafka_python.py", "worker/kafka/departure.py", "worker/kafka/schemas/"),
    "fastavro": ("worker/avro/",),
    "httpx": ("worker/http_client.py", "worker/cli/running.py", "worker/zerokms/", "worker/authority/", "worker/demo"),
    "psycopg": ("worker/sink/", "worker/local/", "worker/demo"),
    "fastapi": ("worker/authority/",),
    "sqlalchemy": ("worker/authority/",),
    "opentelemetry": ("worker/metrics/spans.py",),
}


def modules() -> Iterator[Path]:
    return (path for path in sorted(WORKER.rglob("*.py")) if "migrations" not in path.parts)


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def section(title: str) -> str:
    """The part of docs/architecture.md under the heading that begins so."""
    text = (DOCS / "architecture.md").read_text()
    start = text.index(f"\n## {title}")
    end = text.find("\n## ", start + 1)
    return text[start : end if end > 0 else None]


def defined(path: Path) -> set[str]:
    """Classes and functions of a module, and methods as `Class.method`."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return found


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Run the import rules over the `worker` package of a directory, with the project's own configuration."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", str(ROOT / "pyproject.toml")],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


def test_imports_go_down_only() -> None:
    """The layers, the absence of circles and the authority's isolation hold."""
    result = lint(ROOT)

    assert result.returncode == 0, result.stdout[-4000:]


def test_the_rules_see_what_they_guard(tmp_path: Path) -> None:
    """An arrow up, a type's arrow up, a circle within a package and a module of no layer are each found and named."""
    planted = {
        "worker/metrics/registry.py": "from worker.pipeline import runner",
        "worker/model/plan.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from worker import config",
        "worker/avro/frame.py": "from worker.avro import source",
        "worker/loose.py": "",
    }
    shutil.copytree(WORKER, tmp_path / "worker", ignore=shutil.ignore_patterns("__pycache__"))
    for path, line in planted.items():
        with (tmp_path / path).open("a") as file:
            file.write(f"\n{line}\n")

    found = lint(tmp_path).stdout

    assert "worker.metrics.registry -> worker.pipeline.runner" in found
    assert "worker.model.plan -> worker.config" in found
    assert "No cycles are allowed in worker.avro." in found
    assert "worker.loose" in found


@pytest.mark.parametrize("library", sorted(DOORS))
def test_few_doors_lead_outside(library: str) -> None:
    """A library of the outside world is imported only where its door is."""
    strangers = [
        str(path.relative_to(ROOT))
        for path in modules()
        if library in imported(path) and not str(path.relative_to(ROOT)).startswith(DOORS[library])
    ]

    assert strangers == []


def test_only_the_edge_imports_the_authority() -> None:
    """Nothing of the worker but the command line and the demo imports the authority."""
    users = [
        str(path.relative_to(WORKER))
        for path in modules()
        if "worker.authority" in path.read_text()
        and not str(path.relative_to(WORKER)).startswith(("authority/", "cli/", "demo"))
    ]

    assert users == []


def test_the_loop_alone_catches_everything() -> None:
    """`except Exception` that goes on stands only where a thread, a callback of C or a connection ends."""
    catchers = [
        str(path.relative_to(WORKER))
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and isinstance(node.type, ast.Name)
        and node.type.id == "Exception"
        and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
    ]

    assert set(catchers) <= {
        "pipeline/delivery.py",
        "source/membership.py",
        "app.py",
        "authority/answering.py",
        "authority/audit/trail.py",
    }, catchers


def test_no_module_hands_an_exception_to_a_log() -> None:
    """How it is written is the embedding program's choice, and many write messages and local variables."""
    handed = [
        f"{path.relative_to(WORKER)}:{node.lineno}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (ast.unparse(node.func) == "_log.exception" or any(word.arg == "exc_info" for word in node.keywords))
    ]

    assert handed == []


def test_every_error_has_a_test() -> None:
    """Each error class is expected by name somewhere in the tests."""
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    names = [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.WorkerError) and value is not errors.WorkerError
    ]

    assert [name for name in names if name not in tests] == []


def test_the_reference_says_what_the_code_says() -> None:
    """Options, commands, metrics and errors stand in the reference as they are; `make docs` writes them."""
    texts = [page.read_text() for page in reference.PAGES]

    assert [reference.written(text) for text in texts] == texts


def test_every_option_has_a_sentence() -> None:
    """No option of the settings lacks its description."""
    describe(Settings)
    seen, waiting, bare = set[type[BaseModel]](), list[type[BaseModel]]([Settings]), list[str]()
    while waiting:
        model = waiting.pop()
        seen.add(model)
        for name, field in model.model_fields.items():
            bare += [] if field.description else [f"{model.__name__}.{name}"]
            waiting += [found for found in models(field.annotation) if found not in seen]

    assert bare == []


def test_the_documents_name_only_commands_that_there_are() -> None:
    """`worker x y` in a document is a command."""
    known = set(re.findall(r"^\| `(worker(?: [a-z-]+)+)", (DOCS / "contracts.md").read_text(), re.MULTILINE))
    heads = {" ".join(command.split()[:2]) for command in known}
    said = {
        (path.name, command)
        for path in (ROOT / "README.md", *DOCS.rglob("*.md"))
        for command in re.findall(r"(?:`|^\$ )(worker [a-z][a-z-]+)(?=[ `\n])", path.read_text(), re.MULTILINE)
    }

    assert {each for each in said if each[1] not in heads} == set()


def test_the_map_names_every_room() -> None:
    """The rooms of docs/architecture.md are the packages and modules of `worker/`, no more and no fewer."""
    named = {name.rstrip("/") for name in re.findall(r"`([a-z_]+(?:/|\.py))`", section("The rooms"))}

    standing = {path.name for path in WORKER.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert named == {name for name in standing if not name.startswith("__")}


@pytest.mark.parametrize("way", ["a record", "a key", "an SDK decrypt", "a config value"])
def test_the_ways_are_true(way: str) -> None:
    """Each step names a file that is there and, in it, a class, function or method that is there."""
    steps = re.findall(r"`(worker/[a-z_/]+\.py)`(?: `([A-Za-z_.]+)`)?", section(f"The way of {way}"))

    assert steps
    assert [step for step in steps if step[1] and step[1] not in defined(ROOT / step[0])] == []


def test_every_file_is_small() -> None:
    """No module has 300 lines or more."""
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules()}

    assert {name: lines for name, lines in long.items() if lines >= 300} == {}


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_every_module_imports_alone() -> None:
    """No module depends on another having been imported before it."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in modules()
        if path.name != "env.py"
    ]
    script = (
        "import os, sys, importlib\n"
        # Libraries are imported once, before the forks; what is tested is each module of ours.
        "import alembic, confluent_kafka.schema_registry, cryptography.hazmat.primitives.ciphers.aead\n"
        "import fastapi, fastavro\n"
        "import faker, httpx, joserfc.jwt, numpy, orjson, psycopg, pydantic_settings, rich.console, rich.progress\n"
        "import sqlalchemy, stamina, starlette.applications, structlog, typer, uvicorn\n"
        "for name in sys.argv[1:]:\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        try:\n"
        "            importlib.import_module(name); os._exit(0)\n"
        "        except BaseException as exc:\n"
        "            print(name, repr(exc), flush=True); os._exit(1)\n"
        "    if os.waitpid(pid, 0)[1]: sys.exit(name)\n"
    )

    command = [sys.executable, "-c", script, *names]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr
