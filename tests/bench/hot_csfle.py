"""Confluent's CSFLE client in an environment of its own, for `make bench`: it takes about sixty packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import confluent_kafka

from tests.bench.hot_worker import FEW, Figures, Stand
from tests.bench.loop import PARTITIONS, SCHEMA

_HOME = Path(".run/csfle")


def interpreter() -> Path | None:
    """Return a Python that has the client, installed at the first call; None where it can't be."""
    python, done = _HOME / "bin/python", _HOME / "installed"
    if done.exists():
        return python
    wanted = f"confluent-kafka[avro,schemaregistry,rules]=={confluent_kafka.__version__}"
    steps = ([sys.executable, "-m", "venv", str(_HOME)], [str(python), "-m", "pip", "install", "--quiet", wanted])
    for step in steps:
        if subprocess.run(step, check=False).returncode:
            print("CSFLE is left out: its client can't be installed here", flush=True)
            return None
    done.touch()
    return python


def encrypted(stand: Stand, python: Path, turn: int) -> Figures:
    """Let the client's own serializer encrypt the few records."""
    target = stand.kafka.create_topic(f"csfle-{turn}", partitions=PARTITIONS)
    program = Path(__file__).with_name("csfle.py")
    command = [str(python), str(program), stand.kafka.bootstrap, FEW, target, str(PARTITIONS), str(SCHEMA)]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return Figures(told["seconds"], told["cpu_s"])
