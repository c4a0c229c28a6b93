"""A real Prometheus over real targets, with this project's rules."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from tests.operations.queries import RULES

MISSING = "apt-get install -y --no-install-recommends prometheus"
Series = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One endpoint; `token` is the file of a bearer token, where the endpoint asks for one."""

    job: str
    address: str
    token: Path | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Prometheus:
    """
    Runs until the block ends; scrapes and evaluates every second.

    Args:
        directory: for its configuration and data.
        targets: what it scrapes.
        hasty: shorten each alert's `for` to a second, for faults that a test makes.
    """

    def __init__(self, directory: Path, targets: Sequence[Target], *, hasty: bool = False) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._port = free_port()
        rules = directory / "rules"
        shutil.copytree(RULES, rules)
        if hasty:
            for path in rules.glob("*.yaml"):
                path.write_text(re.sub(r"^( +)for: .*$", r"\1for: 1s", path.read_text(), flags=re.M))
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules / "*.yaml")],
            "scrape_configs": [self._job(f"{t.job}-{n}", t) for n, t in enumerate(targets)],
        }
        (directory / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def _job(name: str, target: Target) -> dict[str, Any]:
        # One a target, since each has a token of its own; `job` is what the chart's monitors call it.
        labels = {"job": target.job, **target.labels}
        made: dict[str, Any] = {
            "job_name": name,
            "static_configs": [{"targets": [target.address], "labels": labels}],
        }
        if target.token is not None:
            made["authorization"] = {"credentials_file": str(target.token)}
        return made

    def __enter__(self) -> Self:
        command = ["prometheus", f"--config.file={self._directory / 'prometheus.yaml'}"]
        command += [f"--storage.tsdb.path={self._directory / 'data'}", f"--web.listen-address=127.0.0.1:{self._port}"]
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self.until(lambda: self._get("/-/ready").status_code == 200, "Prometheus is ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    def query(self, expression: str) -> Series:
        """Return an instant query's series."""
        return self._result("/api/v1/query", query=expression)

    def query_range(self, expression: str, start: float, end: float, step_s: float) -> Series:
        """Return a range query's series."""
        return self._result("/api/v1/query_range", query=expression, start=start, end=end, step=step_s)

    def has_data(self, expression: str) -> bool:
        """Whether a query returns series soon; a scrape that came late on a busy machine is waited for."""
        with contextlib.suppress(AssertionError):
            self.until(lambda: bool(self.query(expression)), expression, within_s=15)
            return True
        return False

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {series["metric"]["alertname"] for series in self.query('ALERTS{alertstate="firing"}')}

    def value(self, expression: str) -> float:
        """Return the sum of an instant query's series."""
        return sum(float(series["value"][1]) for series in self.query(expression))

    def unhealthy(self) -> list[str]:
        """Return the rules whose last evaluation failed, with the error."""
        groups = self._get("/api/v1/rules").json()["data"]["groups"]
        return [f"{r['name']}: {r['lastError']}" for g in groups for r in g["rules"] if r["health"] == "err"]

    def until(self, condition: Callable[[], bool], what: str, *, within_s: float = 120) -> None:
        """Wait for a condition within a bound that no passing run comes near."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                if condition():
                    return
            except (httpx.HTTPError, KeyError, json.JSONDecodeError):
                pass
            assert time.monotonic() < deadline, f"{what}: {(self._directory / 'log').read_text()[-2000:]}"
            time.sleep(0.2)

    def _get(self, path: str, **parameters: Any) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self._port}{path}", params=parameters, timeout=30)

    def _result(self, path: str, **parameters: Any) -> Series:
        reply = self._get(path, **parameters).json()
        assert reply["status"] == "success", (parameters, reply)
        found: Series = reply["data"]["result"]
        return found
