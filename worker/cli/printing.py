"""What was read, as lines: JSON, CSV, or a table for people."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum

from rich.table import Table

from worker import jsonform, spreadsheet
from worker.cli.consoles import PlainConsole, shown

_PLACE = ("topic", "partition", "offset", "timestamp_ms", "key", "key_base64", "file", "block", "index", "row", "line")
_FAULT = ("error", "code", "path")


class Form(StrEnum):
    """How lines are written."""

    JSONL = "jsonl"
    CSV = "csv"
    TABLE = "table"


def print_lines(lines: Iterator[dict[str, object]], form: Form) -> int:
    """Write lines to standard output as they come; returns how many of them are errors."""
    return {Form.JSONL: _print_json, Form.CSV: _print_csv, Form.TABLE: _print_table}[form](lines)


def json_line(line: Mapping[str, object]) -> bytes:
    """Return a line as JSON Lines have it."""
    return jsonform.written(jsonform.marked(line), newline=True)


def print_text(texts: Iterator[tuple[bytes, int]]) -> int:
    """Write lines that are text already to standard output as they come; the same of how many each part counts."""
    failed, out = 0, sys.stdout.buffer
    for text, errors in texts:
        failed += errors
        out.write(text)
    out.flush()
    return failed


def _print_json(lines: Iterator[dict[str, object]]) -> int:
    return print_text((json_line(line), int("error" in line)) for line in lines)


def _flat(line: Mapping[str, object]) -> dict[str, str]:
    """A line's cells: its place, the fields of its value, and what is wrong with it."""
    cells = {name: _text(line[name]) for name in _PLACE if name in line}
    value = line.get("value")
    fields = value if isinstance(value, Mapping) else {} if value is None else {"value": value}
    cells |= {str(name): _text(each) for name, each in fields.items()}
    return cells | {name: _text(line[name]) for name in _FAULT if name in line}


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else jsonform.dumps(value).decode().strip('"')


def _print_csv(lines: Iterator[dict[str, object]]) -> int:
    """The first line's fields are the columns; what a later one has besides is named on standard error."""
    failed, columns, dropped = 0, list[str](), set[str]()
    writer = csv.writer(sys.stdout, lineterminator="\n")
    seen = shown if sys.stdout.isatty() else str
    for line in lines:
        failed += "error" in line
        cells = {name: seen(spreadsheet.cell(text)) for name, text in _flat(line).items()}
        if not columns:
            columns = [*(name for name in cells if name not in _FAULT), *_FAULT]
            writer.writerow(columns)
        dropped |= cells.keys() - set(columns)
        writer.writerow([cells.get(name, "") for name in columns])
    sys.stdout.flush()
    if dropped:
        print(f"fields that the first line has not, left out: {', '.join(sorted(dropped))}", file=sys.stderr)
    return failed


def _print_table(lines: Iterator[dict[str, object]]) -> int:
    every = list(lines)
    cells = [_flat(line) for line in every]
    columns = list(dict.fromkeys(name for line in cells for name in line))
    table = Table(*columns)
    for line in cells:
        table.add_row(*(line.get(name, "") for name in columns))
    width = None if sys.stdout.isatty() else max(80, 24 * len(columns))
    PlainConsole(file=sys.stdout, width=width, markup=False, highlight=False).print(table)
    return sum("error" in line for line in every)
