"""`worker positions`: where routes read on, shown; and moved, while nobody reads."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import orjson
import structlog
import typer
from pydantic import TypeAdapter, ValidationError
from rich.table import Table

from worker.assembly.context import instance_name
from worker.assembly.graph import Graph
from worker.assembly.positions import RoutePositions, route_positions
from worker.cli.consoles import PlainConsole
from worker.cli.options import ConfigFile, Json, LogLevel, Set, load
from worker.config import RouteSettings, Settings
from worker.errors import ConfigError
from worker.model import TopicPartition
from worker.source.moving import in_use
from worker.source.options import Start

app = typer.Typer(help="Where routes read on: show it, and move it while nobody reads.", no_args_is_help=True)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """One partition: what it holds, where the route reads on, and where it would after a move."""

    route: str
    topic: str
    partition: int
    start: int
    position: int | None
    end: int
    to: int | None = None

    @property
    def moves(self) -> int | None:
        """Records between the position and where it is to be; negative where they are read again."""
        return None if self.to is None else self.to - (self.start if self.position is None else self.position)


@app.command()
def show(
    config: ConfigFile,
    route: Annotated[str | None, typer.Option("--route", help="Only this route's.")] = None,
    set_: Set = None,
    json: Json = False,
    log_level: LogLevel = "warning",
) -> None:
    """Show each partition's first offset, the stored position and the end; a route may be running meanwhile."""
    settings = load(config, set_, log_level=log_level)
    chosen = settings.routes if route is None else [_route(settings, route)]
    places: list[Place] = []
    with Graph(settings, _environ()) as graph:
        for each in chosen:
            with route_positions(graph, each) as positions:
                places += _places(each, positions, positions.group.partitions(), "earliest")
    _tell([_without_target(place) for place in places], json=json)


@app.command()
def move(
    config: ConfigFile,
    route: Annotated[str, typer.Argument(help="The route's name.")],
    to: Annotated[
        str, typer.Option("--to", help="earliest, latest, a time with its zone (2026-05-01T12:00:00Z) or an offset.")
    ],
    partition: Annotated[
        list[str] | None, typer.Option("--partition", help="Only this one: topic/partition. Repeatable.")
    ] = None,
    execute: Annotated[bool, typer.Option("--execute", help="Do it; without this, only show what would be.")] = False,
    delete_rows: Annotated[
        bool,
        typer.Option("--delete-rows", help="Delete, with the move, a table's rows of the records to be read again."),
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; stands in the log.")] = "",
    set_: Set = None,
    json: Json = False,
) -> None:
    """Move a route's positions, of its group and its table; refused while anybody is in the group."""
    # Not to be made quieter: what is moved stands in the log.
    settings = load(config, set_, log_level="warning")
    chosen, target = _route(settings, route), parse_target(to)
    with Graph(settings, _environ()) as graph, route_positions(graph, chosen) as positions:
        partitions = _wanted(positions.group.partitions(), partition or [])
        members = positions.group.members()
        if members and execute:
            raise in_use(chosen.group, members)
        places = _places(chosen, positions, partitions, target)
        if execute:
            _move(chosen, positions, places, delete_rows=delete_rows, reason=reason)
    _tell(places, json=json)
    if not execute and not json:
        busy = f" Group {chosen.group} is in use now: {', '.join(sorted(members))}." if members else ""
        typer.echo(f"Nothing was moved.{busy} Stop the route's workers and give --execute.")


def parse_target(text: str) -> Start | int:
    """Return what `--to` says; raises `ConfigError`."""
    if re.fullmatch(r"[0-9]+", text):
        return int(text)
    try:
        start: Start = TypeAdapter[Start](Start).validate_python(text)
    except ValidationError:
        wanted = "earliest, latest, a time with its zone such as 2026-05-01T12:00:00Z, or an offset"
        raise ConfigError(f"--to {text!r} is none of: {wanted}") from None
    return start


def _places(
    route: RouteSettings, positions: RoutePositions, partitions: Collection[TopicPartition], target: Start | int
) -> list[Place]:
    truth = positions.group if positions.table is None else positions.table
    stored = truth.stored(partitions)
    extents = positions.group.extents(partitions, "earliest" if isinstance(target, int) else target)
    places = []
    for at in sorted(partitions):
        log = extents[at]
        if isinstance(target, int) and not log.start <= target <= log.end:
            raise ConfigError(f"{at} holds offsets {log.start} to {log.end}; {target} is outside. Name a --partition")
        to = target if isinstance(target, int) else log.at
        places.append(Place(route.name, at.topic, at.partition, log.start, stored[at], log.end, to))
    return places


def _move(
    route: RouteSettings, positions: RoutePositions, places: Collection[Place], *, delete_rows: bool, reason: str
) -> None:
    offsets = {TopicPartition(p.topic, p.partition): p.to for p in places if p.to is not None}
    # The brokers refuse where somebody is in the group; a table's positions then stay where they are too.
    table = nullcontext(0) if positions.table is None else positions.table.moving(offsets, delete_rows=delete_rows)
    with table as deleted:
        positions.group.move(offsets)
    by = getpass.getuser()
    for place in places:
        _log.warning(
            "position_moved",
            route=route.name,
            group=route.group,
            partition=f"{place.topic}[{place.partition}]",
            before=place.position,
            after=place.to,
            by=by,
            reason=reason,
        )
    if deleted:
        _log.warning("rows_deleted", route=route.name, rows=deleted, by=by, reason=reason)


def _wanted(all_: frozenset[TopicPartition], named: Collection[str]) -> Collection[TopicPartition]:
    found = set()
    for name in named:
        topic, _, number = name.rpartition("/")
        if not number.isdigit() or TopicPartition(topic, int(number)) not in all_:
            raise ConfigError(f"--partition {name!r} is no topic/partition of the route's topics")
        found.add(TopicPartition(topic, int(number)))
    return found or all_


def _route(settings: Settings, name: str) -> RouteSettings:
    found = next((route for route in settings.routes if route.name == name), None)
    if found is None:
        raise ConfigError(f"there is no route {name!r}; {', '.join(route.name for route in settings.routes)}")
    return found


def _without_target(place: Place) -> Place:
    return Place(place.route, place.topic, place.partition, place.start, place.position, place.end)


def _tell(places: Collection[Place], *, json: bool) -> None:
    if json:
        typer.echo(orjson.dumps([{**asdict(place), "moves": place.moves} for place in places]))
        return
    headings = ["route", "partition", "first", "position", "end", "lag"]
    moved = any(place.to is not None for place in places)
    table = Table(*headings, *(["to", "moves"] if moved else []), box=None, pad_edge=False)
    for place in places:
        lag = place.end - (place.start if place.position is None else place.position)
        row: list[Any] = [place.route, f"{place.topic}/{place.partition}", place.start, _or_none(place.position)]
        row += [place.end, lag, *([place.to, _signed(place.moves)] if moved else [])]
        table.add_row(*map(str, row))
    PlainConsole(width=None if PlainConsole().is_terminal else 200).print(table)


def _or_none(position: int | None) -> str:
    return "none" if position is None else str(position)


def _signed(moves: int | None) -> str:
    return "" if moves is None else f"{moves:+d}"


def _environ() -> dict[str, str]:
    # A name of its own, by which brokers and database tell it from the worker.
    return {**os.environ, "WORKER_INSTANCE": f"{instance_name(os.environ)}.positions"}
