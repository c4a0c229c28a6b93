"""Grafana dashboards as code; `python -m deploy.dashboards` writes the committed JSON."""
