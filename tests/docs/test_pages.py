"""What the pages say is there: links lead somewhere, commands and options exist, every event of the logs is told."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from tests.docs.pages import PAGES, ROOT, SHELLS, blocks
from tests.docs.walks import WALKS, Walk, all_commands, elsewhere
from worker.cli.root import app, mount
from worker.config import Settings
from worker.config.known import names_at

_LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)")
_INLINE = re.compile(r"`(worker (?:[a-z][a-z-]*)[^`]*)`")
_ENDS = re.compile(r"\s(?:\||&&|\|\||;|>|2>|&$|#)")
_LEVELS = ("debug", "info", "warning", "error", "critical")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link is a file that is there, and its anchor a heading in it."""
    dead = []
    for target in _LINK.findall(page.read_text()):
        path, _, anchor = target.partition("#")
        if path.startswith(("http:", "https:", "mailto:")):
            continue
        to = page if not path else (page.parent / path).resolve()
        if not to.exists() or (anchor and to.suffix == ".md" and anchor not in anchors(to)):
            dead.append(target)

    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_block_says_what_it_is(page: Path) -> None:
    """A block with commands is of a shell, and a console's begin with a dollar: nothing else is found and run."""
    assert page.read_text().count("```") == 2 * len(list(blocks(page)))
    for block in blocks(page):
        assert block.language in {*SHELLS, "", "python", "json", "toml", "sql"}
        assert block.language or not re.search(r"^(\$ |worker )", block.text, re.MULTILINE), block.text
        assert block.language != "console" or block.text.startswith("$ ")


def test_every_command_runs_in_a_test() -> None:
    """Each block of commands is part of a walk, each walk of a test; what an engine must run is told apart."""
    pages = dict.fromkeys(page for walk in WALKS.values() for page in walk.pages)
    walked = [line for page in pages for block in Walk("", (page,)).blocks() for line in block.commands]

    assert sorted(walked) == sorted(line for _, line in all_commands()), "add its page to tests/docs/walks.py"
    for name, walk in WALKS.items():
        assert f'WALKS["{name}"]' in (ROOT / walk.test).read_text(), f"{walk.test} does not run the walk {name!r}"


def test_only_operations_names_commands_that_need_an_engine() -> None:
    """They are few, and none of the first pages'."""
    pages = {page for page, line in all_commands() if elsewhere(line)}

    assert pages == {"README.md", "docs/operations.md"}
    assert [line for page, line in all_commands() if elsewhere(line) and page == "README.md"] == [
        "docker build -f deploy/image/Dockerfile .                 # or the image"
    ]


def said(page: Path) -> Iterator[list[str]]:
    """Every call of the program that a page shows, in shells and within sentences, as words."""
    shown = [command for block in blocks(page) for command in block.commands]
    for command in (*shown, *_INLINE.findall(page.read_text())):
        for call in re.findall(r"(?:^|[\s(!{/])(worker [^\n]*)", command):
            words = _ENDS.split(call, maxsplit=1)[0].rstrip(") ")
            try:
                yield shlex.split(words)
            except ValueError:
                yield words.split()


@cache
def program() -> TyperGroup:
    mount()
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    return command


def _narrow(command: object) -> TyperGroup | TyperCommand:
    assert isinstance(command, TyperGroup | TyperCommand)
    return command


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_and_options_exist(page: Path) -> None:
    """A command that a page names is one, and so is each of its options."""
    unknown = []
    for words in said(page):
        command: TyperGroup | TyperCommand = program()
        rest = words[1:]
        while isinstance(command, TyperGroup) and rest and rest[0] in command.commands:
            command = _narrow(command.commands[rest.pop(0)])
        if isinstance(command, TyperGroup):
            if rest and re.fullmatch(r"[a-z-]+", rest[0]):
                unknown.append(" ".join(words))
            continue
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        options = [re.split("[=,.;:]", word)[0] for word in rest if re.match(r"--?[a-z]", word)]
        unknown += [f"{' '.join(words)}: {option}" for option in options if option not in {*known, "--help", "-h"}]

    assert unknown == []


_LEAST: dict[str, Any] = {
    "region": "eu-central-1",
    "kafka": {"bootstrap": "kafka:9092", "cluster_id": "abc"},
    "schemas": {"registry": "https://registry"},
}
_ROUTE = {
    "name": "customers",
    "group": "g",
    "source": {"topics": ["customers"]},
    "sink": {"kind": "kafka", "topic": "customers.enc"},
}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_settings_that_a_page_shows_are_settings(page: Path) -> None:
    """A block of settings is TOML and, in a file that is otherwise whole, taken; so is each name in a sentence."""
    for block in blocks(page):
        if block.language == "toml":
            shown = tomllib.loads(block.text)
            routes = shown.pop("routes", {})
            routes = routes if isinstance(routes, list) else [routes]
            Settings.model_validate({**_LEAST, **shown, "routes": [{**_ROUTE, **route} for route in routes]})
    named = re.findall(r"`\[([a-z_.]+)\] ([a-z_]+)", page.read_text())

    assert [f"[{s}] {name}" for s, name in named if name not in names_at(s.split("."))] == []


def logged() -> set[str]:
    """Every event of the worker: the first argument of a call of a logger, where it is a word."""
    found = set()
    for path in (ROOT / "worker").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
                continue
            owner = ast.unparse(node.func.value)
            at = 1 if node.func.attr == "log" and len(node.args) > 1 else 0
            word = node.args[at]
            called = node.func.attr in (*_LEVELS, "log") and (owner.endswith("log") or "get_logger" in owner)
            if called and isinstance(word, ast.Constant) and re.fullmatch(r"[a-z]+(_[a-z]+)*", str(word.value)):
                found.add(str(word.value))
    return found


def test_every_event_is_told() -> None:
    """The events of the code and those of the page are the same."""
    rows = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", (ROOT / "docs" / "logs.md").read_text(), re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    fields = {"event", "level", "timestamp", "region", "route", "process", "left_out"}

    # Words that a call chooses among.
    of_rebalances, of_two = {"assigned", "revoked", "lost"}, {"route_paused", "route_resumed", "plaintext_found"}
    of_watches = {"partitions_unowned", "assignment_unheard"}
    chosen = {
        *of_rebalances,
        *of_two,
        *of_watches,
        "process_ended",
        "sink_verified",
        "position_moved",
        "schema_warning",
    }
    assert logged() - told == set(), "tell it in docs/logs.md"
    assert told - logged() - fields - chosen == set()


def test_the_first_page_is_short() -> None:
    """README is read in a few minutes."""
    assert len((ROOT / "README.md").read_text().splitlines()) < 200
