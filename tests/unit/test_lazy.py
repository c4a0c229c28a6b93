"""What short commands do without: libraries that take longer to import than the command takes to run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from worker import lazy

SCHEMA = Path(__file__).parents[2] / "schemas" / "customer.avsc"
SLOW = {"authlib", "confluent_kafka.schema_registry", "fastapi", "numpy", "psycopg", "sqlalchemy"}


@pytest.mark.parametrize("arguments", [["--help"], ["plan", str(SCHEMA)], ["config", "template"]])
def test_short_commands_import_no_slow_library(arguments: list[str]) -> None:
    """Neither the registry's client nor a sink's nor the key cache's library is imported by what needs none of them."""
    script = (
        "import sys\n"
        "from worker.cli import main\n"
        f"sys.argv = ['worker', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('imported:', *sorted({SLOW!r} & sys.modules.keys()))"
    )

    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert said.splitlines()[-1].strip() == "imported:"


def test_a_part_that_is_not_there_is_an_attribute_error() -> None:
    """A package with lazy parts refuses other names as any module does."""
    part = lazy.parts("package", {"Path": "pathlib"})

    assert part("Path") is Path
    with pytest.raises(AttributeError, match="package"):
        part("path")
