"""A route's positions, reached without the route: neither keys nor schemas are asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from worker import environment
from worker.assembly.graph import Graph
from worker.config import RouteSettings
from worker.sink.postgres import PostgresSinkOptions
from worker.sink.postgres.connection import Database
from worker.sink.postgres.moving import TablePositions
from worker.sink.postgres.residency import DeclaredRegion
from worker.source.moving import GroupPositions
from worker.source.properties import GroupMember


@dataclass(frozen=True, slots=True)
class RoutePositions:
    """
    Where a route reads on.

    Args:
        group: its consumer group's offsets.
        table: where the sink owns the positions, and the group's are a report; else None.
    """

    group: GroupPositions
    table: TablePositions | None


@contextlib.contextmanager
def route_positions(graph: Graph, route: RouteSettings) -> Iterator[RoutePositions]:
    """Open a route's positions for the length of a block."""
    settings, context = graph.settings, graph.context
    with contextlib.ExitStack() as closing:
        group = GroupPositions(
            route.source,
            GroupMember(route.group, context.instance),
            graph.connection,
            cluster_id=settings.kafka.cluster_id,
        )
        closing.callback(group.close)
        table = None
        if route.sink.kind == "postgres":
            table = _table(graph, route, route.sink, group)
            closing.callback(table.close)
        yield RoutePositions(group, table)


def _table(graph: Graph, route: RouteSettings, options: PostgresSinkOptions, group: GroupPositions) -> TablePositions:
    settings, context = graph.settings, graph.context
    database = Database(
        environment.require(context.environ, options.dsn_env, f"route {route.name}: the database"),
        options,
        context.sink_route(route),
        residency=DeclaredRegion(settings.region, options.residency_key),
        metrics=context.metrics,
    )
    return TablePositions(
        database,
        group=route.group,
        cluster_id=settings.kafka.cluster_id,
        topic_ids=group.topic_id,
        owner=context.instance,
        tables=options.table_of if options.mode == "append" else lambda _topic: None,
    )
