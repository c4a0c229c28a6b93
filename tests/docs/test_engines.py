"""Commands that only an engine or a cluster runs: their clients read them, and what they name is there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.components import require_program
from tests.docs.pages import ROOT, run
from tests.docs.test_commands import environment
from tests.docs.walks import WALKS, all_commands, elsewhere
from worker.authority.dev import DevAuthority

LINES = [line for _, line in all_commands() if elsewhere(line)]
SECRETS = ("CS_CLIENT_ID", "CS_CLIENT_KEY", "CS_CLIENT_ACCESS_KEY", "KAFKA_PASSWORD", "DATABASE_URL", "root-key")


def calls(program: str) -> Iterator[list[str]]:
    """Yield the arguments of a program's calls."""
    for line in LINES:
        for part in line.split(" && "):
            words = shlex.split(part, comments=True)
            if words[0] == program:
                yield words[1:]


def test_files_that_are_named_are_in_the_repository() -> None:
    """The Dockerfile, the chart and the values of a region are where the commands say."""
    named = {word for line in LINES for word in shlex.split(line, comments=True) if word.startswith("deploy/")}

    assert named == {
        "deploy/image/Dockerfile",
        "deploy/helm/residency",
        "deploy/helm/residency/values/eu-central-1.yaml",
    }
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_client_of_a_cluster_reads_its_lines(tmp_path: Path) -> None:
    """kubectl takes each line up to the point where a cluster would answer; a Secret's files are turned into one."""
    kubectl = require_program("kubectl", "https://kubernetes.io/docs/tasks/tools")
    for name in (*SECRETS, "ca.pem", "tls.crt", "tls.key", "ca.crt"):
        (tmp_path / name).write_text("x")
    nowhere = ["--server", "http://127.0.0.1:1"]
    said = {}
    for words in calls("kubectl"):
        makes = "create" in words and "tls" not in words[words.index("create") + 2]
        asked = [*words, "--dry-run=client", "-o", "name"] if makes else [*nowhere, *words]
        done = subprocess.run(
            [kubectl, *asked], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30, env={"HOME": "/"}
        )
        reached = re.search("127.0.0.1:1|refused", done.stderr)
        if done.returncode if makes else not reached:
            said[shlex.join(words)] = done.stderr

    assert said == {}
    assert len(list(calls("kubectl"))) >= 8


@pytest.mark.heavy
def test_the_chart_gives_what_the_lines_name(tmp_path: Path) -> None:
    """Each helm line renders with its values, and the pods and sets of the kubectl lines are of that release."""
    helm = require_program("helm", "`make chart` builds it")
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    shutil.copy(ROOT / "deploy/helm/residency/values/eu-central-1.yaml", tmp_path / "my-values.yaml")
    sets = set()
    for verb, release, chart, *options in calls("helm"):
        assert verb in ("install", "upgrade")
        done = subprocess.run(
            [helm, "template", release, chart, *options, "--kube-version", "1.33.0"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        made = [resource for resource in yaml.safe_load_all(done.stdout) if resource]
        sets |= {resource["metadata"]["name"] for resource in made if resource["kind"] == "StatefulSet"}

    named = {name for line in LINES for name in re.findall(r"residency-eu-[a-z-]+[a-z]", line)}
    assert named == sets


@pytest.mark.heavy
def test_an_authority_of_the_cluster_gives_a_key_for_prometheus(tmp_path: Path) -> None:
    """The one line among them that asks the authority, asked of one that is here."""
    with DevAuthority("eu-central-1", tmp_path / "authority") as own:
        _, lines = WALKS["the chart"].script()
        lines = [line.replace("https://keys.eu.example/", own.url) for line in lines]

        done = run({}, lines, tmp_path, environment(CS_ADMIN_ACCESS_KEY=own.env["CS_ADMIN_ACCESS_KEY"]), 60)

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(lines) == 1
