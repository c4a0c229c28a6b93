"""Consoles for people: what stands in a text is shown, and never obeyed by the terminal."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console
from rich.text import Text

# Controls but tab and line feed, those of eight bits too, and what turns the direction of what follows.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def shown(text: str) -> str:
    """Return a text in which whatever a terminal would obey is written out, such as the escape."""
    return _OBEYED.sub(lambda found: repr(found[0])[1:-1], text)


class PlainConsole(Console):
    """A console that takes texts from others: fields that a producer wrote, what a service answered."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return what a text, a table's cell too, is shown as."""
        return super().render_str(shown(text), **options)
