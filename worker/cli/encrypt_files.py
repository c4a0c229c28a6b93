"""`worker encrypt-files`: Avro object container files, encrypted as a route's records are."""

from __future__ import annotations

import glob
import os
import signal
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from worker.assembly.graph import Graph
from worker.checks.findings import enforce
from worker.checks.start import verify
from worker.cli import summary
from worker.cli.options import ConfigFile, LogFormat, LogLevel, Set, load
from worker.config import RouteSettings, Settings
from worker.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("encrypt-files")(encrypt_files)


def encrypt_files(
    files: Annotated[list[str], typer.Argument(help="Container files, directories (their *.avro) or patterns.")],
    config: ConfigFile,
    out: Annotated[Path, typer.Option("--out", help="Directory for the encrypted files, of the same names.")],
    route: Annotated[str | None, typer.Option("--route", help="Whose declaration counts")] = None,
    set_: Set = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "auto",
) -> None:
    """
    Encrypt container files' declared fields, with the plan, schema and envelopes of a route's stream.

    A run that was interrupted is continued by calling it again; files that are done are skipped. Records that can't be
    processed are sealed beside their file, in <name>.dead, within the limits that the config sets.
    """
    found = expanded(files)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {str(out)!r} is a file; name the directory that the encrypted files go into")
    settings = load(config, set_, log_level=log_level, log_format=log_format)
    chosen = _route(settings, route)
    stopped = Stopped()
    signal.signal(signal.SIGTERM, stopped)
    signal.signal(signal.SIGINT, stopped)
    watch, parts = summary.Stopwatch(), []
    with Graph(settings, os.environ) as graph, summary.bars(shown=True) as move:
        enforce(verify(graph, routes=[chosen]))
        encryptor = graph.routes.files(chosen)
        for name, source in found.items():
            target = out / name
            if target.resolve() == source.resolve():
                raise ConfigError(f"--out {str(out)!r} would write {name} over itself; choose another directory")
            if stopped.is_set:
                parts.append({"file": str(source), **summary.counts({}, 0.0), "state": "not begun"})
                continue
            done = encryptor.encrypt(
                source,
                name,
                target,
                stopping=lambda: stopped.is_set,
                observe=partial(_move, move, name),
            )
            state = "skipped" if done.skipped else "done" if done.complete else "interrupted"
            parts.append({"file": str(source), **summary.counts(done.counts, watch.seconds), "state": state})
    _tell(parts, watch.seconds, json=json)


def _move(move: summary.Bars, name: str, done: int, total: int) -> None:
    move({name: (done, total)})


class Stopped:
    """A signal handler that remembers; the file at hand is left whole up to its last batch."""

    is_set = False

    def __call__(self, *_: object) -> None:
        """Remember."""
        self.is_set = True


def _route(settings: Settings, name: str | None) -> RouteSettings:
    names = [route.name for route in settings.routes]
    if name is None and len(names) > 1:
        raise ConfigError(f"--route: the file has the routes {', '.join(names)}; say whose declaration counts")
    for route in settings.routes:
        if name in (None, route.name):
            return route
    raise ConfigError(f"--route {name!r} is none of {', '.join(names)}")


def expanded(arguments: Sequence[str]) -> dict[str, Path]:
    """Return each file by the name of its output, in a stable order."""
    found: dict[str, Path] = {}
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            pairs = [(str(p.relative_to(path)), p) for p in sorted(path.rglob("*.avro")) if p.is_file()]
        elif path.is_file():
            pairs = [(path.name, path)]
        else:
            pairs = [(Path(p).name, Path(p)) for p in sorted(glob.glob(argument, recursive=True)) if Path(p).is_file()]
        if not pairs:
            raise ConfigError(f"{argument}: no such file, no file of that pattern, or a directory without *.avro")
        for name, file in pairs:
            other = found.setdefault(name, file)
            if other.resolve() != file.resolve():
                raise ConfigError(f"{other} and {file} would both become {name}; encrypt them into two directories")
    return found


def _tell(parts: Sequence[dict[str, object]], seconds: float, *, json: bool) -> None:
    total: Counter[str] = Counter()
    for part in parts:
        for outcome, count in (("encrypted", part["encrypted"]), ("dead", part["dead"])):
            total[outcome] += int(str(count))
    complete = all(part["state"] in ("done", "skipped") for part in parts)
    if json:
        whole = {**summary.counts(total, seconds), "seconds": round(seconds, 3), "complete": complete, "files": parts}
        summary.print_json(whole)
        return
    title = f"{sum(total.values())} records in {seconds:.1f} s" + ("" if complete else ", interrupted: run it again")
    summary.print_table(parts, ("file", "state", "records", "encrypted", "dead"), title=title)
