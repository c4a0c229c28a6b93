"""An authority as an operator runs it, in processes of its own over a database, and a client that asks it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from tests.unit.authority.conftest import Party
from worker.authority.dev import read_env
from worker.authority.enrol import accept, propose
from worker.authority.remote import Remote
from worker.errors import KeyAccessDenied, KeyServiceUnavailable
from worker.region import WorkspaceCrn

ROOT = Path(__file__).resolve().parents[1]
_MAIN = "from worker.cli import main; main()"


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """
    `worker authority serve` over a PostgreSQL database.

    Args:
        directory: its data, its root key and its log.
        dsn: the database.
        arguments: further options.
        tree: whose program it is.
    """

    def __init__(self, directory: Path, dsn: str, *arguments: str, tree: Path = ROOT) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.data, self.admin_env = directory / "data", directory / "admin.env"
        self._log = directory / "log"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/"
        command = ["authority", "serve", "--region", "eu-central-1", "--data", str(self.data), "--public-url", self.url]
        command += ["--listen", f"127.0.0.1:{port}", "--admin-key-file", str(self.admin_env), *arguments]
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(tree),
            "AUTHORITY_ROOT_KEY": bytes(range(32)).hex(),
            "AUTHORITY_STORE_URL": dsn.replace("postgresql://", "postgresql+psycopg://", 1),
        }
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, *command], cwd=tree, env=environ, stdout=log, stderr=log
            )

    def __enter__(self) -> Self:
        until(lambda: "authority ready" in self.log or self.process.poll() is not None, "the authority starts")
        assert self.process.poll() is None, self.log
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def log(self) -> str:
        """What it has said."""
        return self._log.read_text()

    def end(self) -> int:
        """Stop it gracefully and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def children(self) -> list[int]:
        """The ids of its processes, but for what the interpreter runs beside them."""
        found = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "-f", "spawn_main"], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in found.stdout.split()]


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, within a bound that no passing run comes near."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Enrolled:
    """A client of a served authority's first workspace, and its admin."""

    def __init__(self, served: Served) -> None:
        env = read_env(served.admin_env)
        self.admin = Remote(served.url, env["CS_ADMIN_ACCESS_KEY"])
        self.workspace = WorkspaceCrn.parse(env["CS_WORKSPACE_CRN"])
        proposal = propose(self.admin, name="first", region="eu-central-1", via=None)
        self.client_id = str(proposal.client_id)
        self.admin("approve-client", {"client_id": self.client_id})
        made = {"keyName": "first", "role": "member", "client": self.client_id}
        self.access_key: str = self.admin("api/access-keys", made)["accessKey"]
        self.key = accept(Remote(served.url, self.access_key), proposal)

    def party(self, url: str) -> Party:
        """The client, asking at an address."""
        return Party(url, self.access_key, self.client_id, self.key.to_hex())

    @property
    def identity(self) -> UUID:
        """The client's id."""
        return UUID(self.client_id)


class Asking:
    """Asks for keys on threads, again and again, and remembers when each request began and what became of it."""

    def __init__(self, parties: list[Party], *, retried: bool = False) -> None:
        self.answers: list[tuple[float, int, BaseException | None]] = []
        self._retried, self._ended = retried, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n, p)) for n, p in enumerate(parties)]

    def __enter__(self) -> Self:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for each in self._threads:
            each.join(60)
            assert not each.is_alive()

    def given(self, number: int, since: float = 0.0) -> int:
        """How many requests of a thread that began since then were given their keys."""
        return sum(1 for began, n, exc in list(self.answers) if n == number and began >= since and exc is None)

    def refused(self, number: int, since: float = 0.0) -> int:
        """How many were refused."""
        found = [exc for began, n, exc in list(self.answers) if n == number and began >= since]
        return sum(isinstance(exc, KeyAccessDenied) for exc in found)

    def failures(self) -> list[BaseException]:
        """Everything that is neither a key nor a refusal."""
        found = [exc for _, _, exc in list(self.answers)]
        return [exc for exc in found if exc is not None and not isinstance(exc, KeyAccessDenied)]

    def _ask(self, number: int, party: Party) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            self.answers.append((began, number, self._once(party)))

    def _once(self, party: Party) -> BaseException | None:
        for attempt in range(3 if self._retried else 1):
            try:
                kept, key = party.generate()
                assert party.retrieve(kept) == key
            except KeyServiceUnavailable as exc:
                failed: Any = exc
                if attempt == 2 or not self._retried:
                    return exc
            except (KeyAccessDenied, AssertionError) as exc:
                return exc
            else:
                return None
        return failed  # type: ignore[no-any-return]
