"""Variables, marks and shortened expressions that several boards have."""

from __future__ import annotations

from deploy.dashboards.model import Mark, Variable

REGIONS = Variable("region", "Region", "label_values(worker_build_info, region)")
REGION = Variable("region", "Region", "label_values(worker_build_info, region)", multi=False)
ROUTES = Variable("route", "Route", 'label_values(worker_assigned_partitions{region=~"$region"}, route)')
INSTANCES = Variable("instance", "Instance", 'label_values(worker_build_info{region=~"$region"}, instance)')
AUTHORITIES = Variable("region", "Region", "label_values(authority_requests_total, region)")
AUTHORITY_INSTANCES = Variable(
    "instance", "Instance", 'label_values(authority_requests_total{region=~"$region"}, instance)'
)

OF_REGION = '{region=~"$region"}'
OF_INSTANCE = '{region=~"$region",instance=~"$instance"}'
OF_ROUTE = '{region=~"$region",route=~"$route",instance=~"$instance"}'

MARKS = (
    Mark(
        "Rebalances",
        'sum by (region, route) (increase(worker_rebalances_total{region=~"$region",change="assigned"}[1m])) > 0',
        "blue",
        "partitions assigned",
    ),
    Mark(
        "Key rotations",
        'sum by (region) (increase(worker_key_rotations_total{region=~"$region"}[1m])) > 0',
        "purple",
        "all keys dropped",
    ),
    Mark(
        "Deploys",
        'count by (region, version) (worker_build_info{region=~"$region"})'
        ' unless count by (region, version) (worker_build_info{region=~"$region"} offset 5m)',
        "orange",
        "a version begins",
    ),
)


def of(labels: str, **more: str) -> str:
    """Return a selector with more equal-matchers: `of(OF_ROUTE, outcome="dead")`."""
    return labels.removesuffix("}") + "".join(f',{name}="{value}"' for name, value in more.items()) + "}"


def rate(metric: str, labels: str, *by: str, **more: str) -> str:
    """Return a counter's rate by labels."""
    return f"sum by ({', '.join(by)}) (rate({metric}{of(labels, **more)}[$__rate_interval]))"


def some(metric: str, labels: str, *by: str) -> str:
    """Return a counter's rates by region and more labels, those that are not 0; where all are, one 0 a region."""
    return f"{rate(metric, labels, 'region', *by)} > 0 or 0 * {rate(metric, labels, 'region')}"


def quantile(share: float, metric: str, labels: str, *by: str) -> str:
    """Return a histogram's quantile by labels."""
    buckets = f"sum by ({', '.join((*by, 'le'))}) (rate({metric}_bucket{labels}[$__rate_interval]))"
    return f"histogram_quantile({share}, {buckets})"
