"""What several processes need before the first of them begins."""

from __future__ import annotations

import sys

import pytest

from worker.assembly.run import RunOptions
from worker.config import Settings
from worker.errors import ConfigError
from worker.supervisor.supervisor import Supervisor


def test_processes_begin_only_where_a_killed_one_can_be_taken_out_of_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library for it is not found missing by a thread, at the first kill."""
    monkeypatch.setitem(sys.modules, "kafka.net.compat", None)

    with pytest.raises(ConfigError, match=r"--processes needs kafka-python.* pip install"):
        Supervisor(Settings.model_construct(), {}, RunOptions(), processes=2).run()
