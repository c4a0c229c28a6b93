"""Entries in others' forms: JSON Lines, CSV, and OCSF's API Activity for a SIEM."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import orjson

from worker import spreadsheet

Entry = dict[str, Any]
_COLUMNS = (
    "time", "region", "workspace", "operation", "outcome", "status", "reason", "subject", "actor", "address", "client",
    "keyset", "keyset_name", "count", "descriptors", "unverified_context", "what", "chain", "seq",
)  # fmt: skip
_ACTIVITIES = {"create": 1, "generate": 1, "retrieve": 2, "load": 2, "list": 2, "delete": 4, "revoke": 4}
_UNMAPPED = ("count", "descriptors", "contexts", "unverified_context", "what")
_OTHER, _UPDATE = 99, 3


def as_jsonl(entries: Iterable[Entry]) -> Iterator[str]:
    """One JSON object a line."""
    for entry in entries:
        yield orjson.dumps(entry).decode() + "\n"


def as_csv(entries: Iterable[Entry]) -> Iterator[str]:
    """A header, and a row an entry; what is an object stands as JSON."""
    yield _row(_COLUMNS)
    for entry in entries:
        yield _row([_cell(entry.get(name)) for name in _COLUMNS])


def as_ocsf(entries: Iterable[Entry]) -> Iterator[str]:
    """OCSF 1.3, class 6003 (API Activity), one JSON object a line."""
    for entry in entries:
        yield orjson.dumps(ocsf(entry)).decode() + "\n"


def ocsf(entry: Entry) -> Entry:
    """Return an entry as an API Activity event."""
    operation = str(entry["operation"])
    activity = _ACTIVITIES.get(operation.partition("-")[0], _UPDATE if "-" in operation else _OTHER)
    allowed = entry.get("outcome") == "allowed"
    resources = [
        {"type": kind, "uid": entry[name], **({"name": entry["keyset_name"]} if name == "keyset" else {})}
        for kind, name in (("keyset", "keyset"), ("client", "client"))
        if entry.get(name)
    ]
    return {
        "class_uid": 6003,
        "category_uid": 6,
        "activity_id": activity,
        "type_uid": 600300 + activity,
        "severity_id": 1 if allowed else 3,
        "status_id": 1 if allowed else 2,
        "status_code": str(entry.get("status", 200)),
        "status_detail": entry.get("reason"),
        "time": int(datetime.fromisoformat(entry["time"]).timestamp() * 1000),
        "metadata": {"version": "1.3.0", "product": {"name": "authority", "vendor_name": "residency-worker"},
                     "uid": f"{entry['chain']}/{entry['seq']}"},
        "actor": {"user": {"uid": entry.get("subject"), "account": {"uid": entry.get("workspace")}}},
        "src_endpoint": {"ip": entry.get("address")},
        "cloud": {"provider": "self-hosted", "region": entry["region"]},
        "api": {"operation": operation, "request": {"uid": _request(entry)}},
        "resources": resources,
        "unmapped": {k: entry[k] for k in _UNMAPPED if k in entry},
    }  # fmt: skip


def _request(entry: Entry) -> str:
    context = entry.get("unverified_context") or {}
    return str(context.get("request_id") or f"{entry['chain']}/{entry['seq']}")


def _cell(value: Any) -> Any:
    text = orjson.dumps(value).decode() if isinstance(value, (dict, list)) else value
    return spreadsheet.cell(text) if isinstance(text, str) else text


def _row(values: Iterable[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(values)
    return buffer.getvalue()


FORMS: dict[str, Callable[[Iterable[Entry]], Iterator[str]]] = {"jsonl": as_jsonl, "csv": as_csv, "ocsf": as_ocsf}
