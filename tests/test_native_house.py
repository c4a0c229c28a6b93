"""The rules of the house for the extension's Rust: small files, and no module that depends on itself through others."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "native" / "src"
Module = tuple[str, ...]
_USES = re.compile(r"\buse\s+((?:crate|super|self)\b[^;]*);")
_INLINE = re.compile(r"\b(?:crate|super)(?:::\w+)+")


def modules(source: Path) -> dict[Module, Path]:
    """The files by the names of their modules, as `("kafka", "batch")`."""
    named = {path: path.relative_to(source).with_suffix("").parts for path in sorted(source.rglob("*.rs"))}
    return {parts[:-1] if parts[-1] in ("mod", "lib") else parts: path for path, parts in named.items()}


def paths(tree: str, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Each path of a `use` tree: `a::{b, c::d}` is `a::b` and `a::c::d`."""
    head, brace, rest = tree.strip().partition("{")
    start = (*before, *(word.strip() for word in re.sub(r"\bas\s+\w+", "", head).split("::") if word.strip()))
    if not brace:
        yield start
        return
    depth, part = 0, ""
    for sign in rest.rpartition("}")[0] + ",":
        depth += (sign == "{") - (sign == "}")
        if sign == "," and not depth:
            yield from paths(part, start) if part.strip() else ()
            part = ""
        else:
            part += sign


def used(module: Module, path: Path, known: dict[Module, Path]) -> set[Module]:
    """The modules that one names, but in its tests."""
    text = re.sub(r"//[^\n]*", "", path.read_text()).partition("#[cfg(test)]")[0]
    named = [each for tree in _USES.findall(text) for each in paths(tree)]
    named += [tuple(each.split("::")) for each in _INLINE.findall(text)]
    found = set()
    for first, *rest in named:
        start: Module = () if first == "crate" else module if first == "self" else module[:-1]
        while rest and rest[0] == "super":
            start, rest = start[:-1], rest[1:]
        whole = (*start, *rest)
        found |= {next((whole[:n] for n in range(len(whole), 0, -1) if whole[:n] in known), module)}
    return found - {module}


def circles(source: Path) -> list[str]:
    """Among the modules and folders of each folder, those that depend on each other in a circle."""
    known = modules(source)
    uses = {module: used(module, path, known) for module, path in known.items()}
    found = []
    for folder in sorted({module[:n] for module in known for n in range(len(module))}):
        graph: dict[str, set[str]] = {}
        for one, others in uses.items():
            inside = [m[len(folder)] for m in (one, *others) if len(m) > len(folder) and m[: len(folder)] == folder]
            if len(one) > len(folder) and one[: len(folder)] == folder:
                graph.setdefault(inside[0], set()).update(set(inside[1:]) - {inside[0]})
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            found.append(f"{'/'.join(folder) or 'src'}: {' <- '.join(error.args[1])}")
    return found


def test_no_module_depends_on_itself_through_others() -> None:
    """In each folder its files and folders stand above each other, as the packages of `worker/` do."""
    assert circles(SOURCE) == []


def test_a_circle_is_seen(tmp_path: Path) -> None:
    """Whether it is closed by a `use`, a list in one, or a path within the code; what tests use is not looked at."""
    shutil.copytree(SOURCE, tmp_path / "src")
    planted = {
        "varint.rs": "use crate::{room, walk::{self, NONE}};",
        "kafka/chunk.rs": "fn planted() { super::batch::planted() }",
        "moment.rs": "#[cfg(test)]\nmod planted {\n    use crate::json::text;\n}",
    }
    for name, line in planted.items():
        path = tmp_path / "src" / name
        path.write_text(f"{line}\n{path.read_text()}" if "cfg" not in line else f"{path.read_text()}\n{line}\n")

    seen = circles(tmp_path / "src")

    assert [line.partition(":")[0] for line in seen] == ["src", "kafka"]
    assert "varint" in seen[0]


def test_every_file_is_small() -> None:
    """No file has 300 lines or more."""
    lines = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in SOURCE.rglob("*.rs")}

    assert {name: count for name, count in lines.items() if count >= 300} == {}
