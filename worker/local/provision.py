"""The broker's jars: fetched once by Maven, each checked against the digest that is locked in this package."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path

from worker.errors import ConfigError, TransientError

KAFKA_VERSION = "4.4.0"
# The bridge's version is that of the log4j which kafka_2.13 resolves; without a bridge the broker logs nothing.
SLF4J_BRIDGE_VERSION = "2.25.5"

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>{SLF4J_BRIDGE_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


def cache_directory() -> Path:
    """Return where downloads are kept between runs: `residency-worker` under the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "residency-worker"


def locked_digests() -> dict[str, str]:
    """Return the SHA-256 of every jar by its file name."""
    locked = json.loads(files("worker.local").joinpath("kafka_jars.json").read_text())
    return {str(name): str(digest) for name, digest in locked.items()}


def kafka_jars() -> Path:
    """
    Return the directory that holds exactly the locked jars, fetching them when they are not there yet.

    Raises:
        ConfigError: there is no Maven to fetch them with, or a jar is not the locked one.
        TransientError: the download failed.
    """
    target = cache_directory() / f"kafka-{KAFKA_VERSION}"
    if not target.exists():
        _fetch(target)
    verify(target)
    return target


def verify(directory: Path) -> None:
    """Raise `ConfigError` unless `directory` holds exactly the jars of the lock, each with its digest."""
    found = {path.name: _digest(path) for path in directory.glob("*.jar")}
    wrong = sorted({name for name, _ in found.items() ^ locked_digests().items()})
    if wrong:
        raise ConfigError(
            f"{directory} differs from the locked jars of Kafka {KAFKA_VERSION}: {', '.join(wrong)}; "
            "delete the directory to fetch them again"
        )


def _fetch(target: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ConfigError(
            f"Kafka {KAFKA_VERSION} is not in {target}: install Maven (`mvn`), which fetches it once (43 MB), "
            f"or copy the {len(locked_digests())} jars there"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        work = Path(name)
        (work / "pom.xml").write_text(_POM)
        command = [maven, "-B", "-ntp", "-q", "-f", str(work / "pom.xml"), "dependency:copy-dependencies"]
        command += [f"-DoutputDirectory={work / 'jars'}", "-DincludeScope=runtime"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)  # noqa: S603
        if result.returncode:
            raise TransientError(f"Maven could not fetch Kafka {KAFKA_VERSION}:\n{result.stdout[-2000:]}")
        verify(work / "jars")
        with contextlib.suppress(OSError):  # another process was first; its directory is checked like ours
            (work / "jars").rename(target)


def _digest(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
