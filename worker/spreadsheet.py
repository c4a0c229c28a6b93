"""Cells of CSV files, which people open in spreadsheets."""

from __future__ import annotations

import re

# What makes a formula of a cell, in the wide forms of some editions too; a control before it is passed over.
_BEGINS = re.compile(r"[=@+\-\t\r\n＝＠＋－]")
# Signed numbers and telephone numbers compute nothing: no name, no quote.
_NUMBER = re.compile(r"[+-][0-9 .,()/-]*")


def cell(text: str) -> str:
    """Return a text that a spreadsheet shows and does not compute; what others wrote is not ours to run."""
    return f"'{text}" if _BEGINS.match(text) and not _NUMBER.fullmatch(text) else text
