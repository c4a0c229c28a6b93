"""`python -m worker.local`: fetch what the local Kafka needs, unless containers will be used."""

from __future__ import annotations

import shutil
import subprocess
import sys

from worker.errors import WorkerError
from worker.local.java import find_java
from worker.local.provision import kafka_jars


def main() -> int:
    """Fetch and verify the jars; without Maven that is an error only where no Docker daemon answers either."""
    try:
        print(f"Kafka: {kafka_jars()} under {find_java()}")
    except WorkerError as exc:
        docker = shutil.which("docker")
        if docker and not subprocess.run([docker, "info"], capture_output=True, check=False).returncode:  # noqa: S603
            return 0
        print(exc, file=sys.stderr)
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
