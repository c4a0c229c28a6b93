"""A board in Grafana's words, through its foundation SDK."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import common as common_build
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard

from deploy.dashboards.model import Board, Mark, Panel, Variable

RUNBOOKS = "https://runbooks.example.com/residency-worker"
"""Stands for where an installation keeps the pages of docs/runbooks; chart and compose file put their own there."""

_SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="$datasource")
_BUILDERS: dict[str, Any] = {
    "graph": timeseries.Panel,
    "stat": stat.Panel,
    "table": table.Panel,
    "states": statetimeline.Panel,
}


def as_json(board: Board) -> str:
    """Return the dashboard's JSON, the same bytes for the same board."""
    return JSONEncoder(sort_keys=True, indent=2).encode(_dashboard(board).build()) + "\n"


def _dashboard(board: Board) -> build.Dashboard:
    made = (
        build.Dashboard(board.title)
        .uid(board.uid)
        .description(board.help)
        .tags(["residency-worker"])
        .readonly()
        .timezone("utc")
        .time("now-3h", "now")
        .refresh("30s")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(
            build.DashboardLink("Dashboards")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags(["residency-worker"])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(build.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for variable in board.variables:
        made = made.with_variable(_variable(variable))
    for mark in board.marks:
        made = made.annotation(_annotation(mark))
    for row in board.rows:
        made = made.with_row(build.Row(row.title))
        for panel in row.panels:
            made = made.with_panel(_panel(panel))
    return made


def _variable(variable: Variable) -> build.QueryVariable:
    made = (
        build.QueryVariable(variable.name)
        .label(variable.label)
        .query(variable.query)
        .datasource(_SOURCE)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(variable.multi)
        .include_all(variable.multi)
    )
    return made.all_value(".*") if variable.multi else made


def _annotation(mark: Mark) -> build.AnnotationQuery:
    made = build.AnnotationQuery().name(mark.name).datasource(_SOURCE).enable(True).icon_color(mark.colour)
    return made.expr(mark.expr)


def _panel(panel: Panel) -> Any:
    made = (
        _BUILDERS[panel.kind]()
        .title(panel.title)
        .description(panel.help)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(panel.height)
        .thresholds(_thresholds(panel))
    )
    for number, query in enumerate(panel.queries):
        target = prometheus.Dataquery().ref_id(chr(ord("A") + number)).datasource(_SOURCE).expr(query.expr)
        target = target.legend_format(query.legend or "__auto")
        instant = panel.kind in ("stat", "table")
        made = made.with_target(target.instant() if instant else target.range())
    if panel.words:
        made = made.mappings([_words(panel)])
    if panel.runbook:
        page = build.DashboardLink("Runbook").url(f"{RUNBOOKS}/{panel.runbook}.md").target_blank(True)
        made = made.links([page.type(dashboard.DashboardLinkType.LINK)])
    return _drawn(made, panel)


def _drawn(made: Any, panel: Panel) -> Any:
    if panel.kind == "graph":
        made = (
            made.min(0)
            .line_width(1)
            .fill_opacity(25 if panel.stacked else 5)
            .show_points(common.VisibilityMode.NEVER)
            .legend(
                common_build.VizLegendOptions()
                .display_mode(common.LegendDisplayMode.LIST)
                .placement(common.LegendPlacement.BOTTOM)
                .show_legend(True)
            )
            .tooltip(
                common_build.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
            )
        )
        if panel.stacked:
            made = made.stacking(common_build.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
        if len(panel.steps) > 1:
            style = common_build.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
            made = made.thresholds_style(style)
    elif panel.kind == "stat":
        made = made.color_mode(common.BigValueColorMode.BACKGROUND).reduce_options(
            common_build.ReduceDataOptions().calcs(["lastNotNull"])
        )
    return made


def _thresholds(panel: Panel) -> build.ThresholdsConfig:
    steps = [dashboard.Threshold(value=value, color=colour) for value, colour in panel.steps]
    return build.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def _words(panel: Panel) -> dashboard.ValueMap:
    options = {
        value: dashboard.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, text, colour) in enumerate(panel.words)
    }
    return dashboard.ValueMap(options=options)
