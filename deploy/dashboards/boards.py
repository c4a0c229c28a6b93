"""Every dashboard, and where its JSON lies."""

from __future__ import annotations

from pathlib import Path

from deploy.dashboards import authority, fleet, keys, residency, worker

BOARDS = (fleet.BOARD, worker.BOARD, keys.BOARD, authority.BOARD, residency.BOARD)
FILES = Path(__file__).resolve().parent.parent / "helm" / "residency" / "files" / "dashboards"
"""Within the chart, which can install only what lies in it; the compose file mounts them from there."""
