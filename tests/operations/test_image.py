"""
The image's steps, run without an engine: the wheel built, installed into an empty prefix, started as another user.

What only an engine can do is not done here: pulling the base, copying between stages, `useradd`, the health check's own
schedule. `docker build -f deploy/image/Dockerfile .` does them where there is one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components import docker_answers

ROOT = Path(__file__).resolve().parents[2]
IMAGE = ROOT / "deploy" / "image"
DOCKERFILE = IMAGE / "Dockerfile"
USER = 10001

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]


def instructions() -> list[str]:
    """Return the Dockerfile's instructions, continued lines joined, comments left out."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.M)
    return [line for line in re.sub(r"\\\n\s*", " ", text).splitlines() if line]


def argument(name: str) -> str:
    return next(line.removeprefix(f"ARG {name}=") for line in instructions() if line.startswith(f"ARG {name}="))


def everybodys_python() -> str:
    """Return an interpreter that another user can start too, as the image's: not one in somebody's home."""
    for found in (sys.executable, "/usr/bin/python3"):
        way = Path(found).resolve()
        if way.exists() and all(part.stat().st_mode & stat.S_IXOTH for part in (way, *way.parents)):
            return found
    pytest.skip("no Python that another user may start: apt-get install -y python3-venv")


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the image's /opt/worker holds, made by the Dockerfile's own scripts."""
    # Where another user may go too.
    directory = Path(os.environ.get("TMPDIR", "/var/tmp")) / f"image-{os.getpid()}"
    directory.mkdir(mode=0o755)
    try:
        for python, step in (
            (sys.executable, ["wheel.sh", str(directory / "wheels")]),
            (everybodys_python(), ["install.sh", str(directory / "wheels"), str(directory / "opt")]),
        ):
            subprocess.run([str(IMAGE / step[0]), *step[1:]], env={**os.environ, "PYTHON": python}, check=True)
        yield directory / "opt"
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(directory)], check=False)
        shutil.rmtree(directory)


def run(prefix: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the prefix as the image's user, in an empty environment."""
    user: int | None = USER if os.geteuid() == 0 else None
    return subprocess.run(
        [str(prefix / "bin" / command[0]), *command[1:]],
        cwd="/",
        env={"PATH": f"{prefix}/bin", "PYTHONDONTWRITEBYTECODE": "1", **environ},
        capture_output=True,
        text=True,
        check=False,
        user=user,
        group=user,
    )


def test_the_dockerfile_is_linted() -> None:
    """hadolint finds nothing."""
    found = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip("`hadolint` is missing: pip install -e '.[operations]'")

    linted = subprocess.run([found, str(DOCKERFILE)], capture_output=True, text=True, check=False)

    assert (linted.returncode, linted.stdout) == (0, "")


def test_every_base_is_pinned_by_its_digest() -> None:
    """A tag moves."""
    for name in ("PYTHON", "RUST"):
        assert re.fullmatch(r"[a-z0-9/.:-]+@sha256:[0-9a-f]{64}", argument(name))
    named = [line.split()[1] for line in instructions() if line.startswith("FROM ")]
    assert set(named) <= {"${PYTHON}", "${RUST}"}


def test_every_step_is_one_that_is_run_here_or_that_only_an_engine_can_run() -> None:
    """A new RUN belongs into a script that this suite runs."""
    steps = [part.strip() for line in instructions() if line.startswith("RUN ") for part in line[4:].split("&&")]

    ours = [step for step in steps if step.startswith("deploy/image/")]
    engine = [
        step
        for step in steps
        if step.startswith(("apt-get", "rm -rf /var/lib/apt", "groupadd", "useradd", "install -d"))
    ]
    assert [step.split()[0].rpartition("/")[2] for step in ours] == ["wheel.sh", "install.sh"]
    assert sorted(ours + engine) == sorted(steps)


def test_the_context_holds_no_more_than_the_wheel_is_made_of() -> None:
    """No repository, secrets or tests get into a layer."""
    kept = [line for line in (IMAGE / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")]

    assert "*" in (IMAGE / "Dockerfile.dockerignore").read_text().splitlines()
    parts = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "worker", "native", "deploy/image")
    assert set(kept) <= {f"!{part}" for part in parts}


def test_the_image_runs_as_nobody_in_particular() -> None:
    """A numeric user, so that Kubernetes can tell that it is not root."""
    assert f"USER {USER}:{USER}" in instructions()


def test_plan_works_as_another_user(prefix: Path) -> None:
    """`docker run ... worker plan` with nothing but a schema."""
    schema = ROOT / "worker" / "demo" / "customer.avsc"
    copied = prefix.parent / "customer.avsc"
    shutil.copy(schema, copied)
    copied.chmod(0o644)

    done = run(prefix, "worker", "plan", str(copied))

    assert done.returncode == 0, done.stderr
    assert "email" in done.stdout


def test_the_wheel_is_of_the_stable_abi(prefix: Path) -> None:
    """One wheel for Python 3.11 and later, and the native module is in it."""
    (wheel,) = (prefix.parent / "wheels").glob("*.whl")

    assert "-cp311-abi3-linux_" in wheel.name
    done = run(prefix, "python", "-c", "import worker.native as n; print(n.IS_LOADED)", WORKER_REQUIRE_NATIVE="1")
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_everything_installed_is_pinned(prefix: Path) -> None:
    """Two builds of one commit hold the same: nothing comes that `constraints.txt` does not name."""
    installed = json.loads(run(prefix, "python", "-c", _NAMES).stdout)
    pinned = {line.partition("==")[0].lower() for line in (IMAGE / "constraints.txt").read_text().splitlines()}

    assert {name.lower() for name in installed} - pinned - {"residency-worker", "setuptools"} == set()


def test_traces_can_be_asked_for(prefix: Path) -> None:
    """What sends spans to a collector is in the image; it sends nothing by itself."""
    assert run(prefix, "python", "-c", "import opentelemetry.sdk.trace").returncode == 0


def test_the_authority_is_installed_too(prefix: Path) -> None:
    """One image for both."""
    assert run(prefix, "worker", "authority", "serve", "--help").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand a directory over as Kubernetes does")
def test_the_authority_starts_on_a_volume_as_kubernetes_mounts_it(prefix: Path) -> None:
    """The volume is root's and writable for the pod's group; a second start finds what the first one made."""
    volume, root_key = prefix.parent / "volume", prefix.parent / "root-key"
    volume.mkdir()
    os.chown(volume, 0, USER)
    volume.chmod(0o2775)
    root_key.write_text("ab" * 32)
    os.chown(root_key, 0, USER)
    root_key.chmod(0o440)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [str(prefix / "bin" / "worker"), "authority", "serve", "--region", "eu-central-1"]
    command += ["--data", str(volume / "store"), "--public-url", f"http://{address}", "--listen", address]
    command += ["--root-key-file", str(root_key), "--admin-key-file", str(volume / "admin.env")]
    for _ in range(2):
        environ = {"PATH": f"{prefix}/bin", "PYTHONDONTWRITEBYTECODE": "1"}
        with subprocess.Popen(
            command, cwd="/", env=environ, user=USER, group=USER, extra_groups=[], stdout=-1, stderr=-1, text=True
        ) as process:
            assert process.stdout is not None
            told = process.stdout.readline()
            process.terminate()
            _, errors = process.communicate(timeout=60)
        assert "ready" in told, errors
        assert process.returncode == 0, errors


def test_nothing_in_the_prefix_can_be_written(prefix: Path) -> None:
    """Neither the code nor a cache beside it, and there is no pip to bring something in."""
    anybody = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
    writable = [path for path in prefix.rglob("*") if not path.is_symlink() and path.stat().st_mode & anybody]

    assert writable == []
    assert run(prefix, "python", "-m", "pip", "--version").returncode != 0


def test_the_licences_of_all_parts_are_there(prefix: Path) -> None:
    """Our own and those of what we depend on."""
    text = (prefix / "LICENCES.txt").read_text(encoding="utf-8")
    names = json.loads(run(prefix, "python", "-c", _NAMES).stdout)

    assert len(names) > 20
    assert [name for name in names if f"\n{name} " not in text] == []
    assert "Apache License" in text


_NAMES = """
import json
from importlib.metadata import distributions
print(json.dumps([found.metadata["Name"] for found in distributions() if found.metadata["Name"] != "pip"]))
"""


def test_the_health_check_tells_alive_from_dead(prefix: Path) -> None:
    """The Dockerfile's own command, against a port where nothing listens."""
    line = next(line for line in instructions() if line.startswith("HEALTHCHECK "))
    command = json.loads(line[line.index("[") :])

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    done = run(prefix, "python", "-c", command[-1].replace("9464", str(free)))

    assert command[:2] == ["/opt/worker/bin/python", "-c"]
    assert done.returncode != 0


@pytest.mark.skipif(not docker_answers(), reason="no container engine: the image itself is not built here")
def test_the_image_builds_and_plans() -> None:
    """The whole of it, where an engine is."""
    tag = "residency-worker:test"
    subprocess.run(["docker", "build", "-q", "-f", str(DOCKERFILE), "-t", tag, str(ROOT)], check=True)
    mount = f"{ROOT / 'worker' / 'demo' / 'customer.avsc'}:/customer.avsc:ro"
    command = ["docker", "run", "--rm", "--read-only", "-v", mount, tag, "plan", "/customer.avsc"]
    assert subprocess.run(command, check=False).returncode == 0
