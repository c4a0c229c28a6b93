"""A throw-away authority of one region: root secrets, workspace, keyset, two clients, their access keys, one file."""

from __future__ import annotations

import hashlib
import os
import shlex
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

import orjson
import uvicorn

from worker.authority.api import application
from worker.authority.audit import Audit
from worker.authority.enrol import first_client, further_client
from worker.authority.seal import Sealer, root_from_file
from worker.authority.service import Authority
from worker.authority.store import Store
from worker.region import Region


class DevAuthority:
    """
    A running authority on loopback, on a thread of this process.

    A directory that has one already is opened again: same workspace, keys and clients.

    Args:
        region: what it serves.
        directory: where its database, root key, audit and variables lie.
        port: 0 takes a free one.
    """

    def __init__(self, region: str, directory: Path, port: int = 0) -> None:
        Region(region)
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        root = root_from_file(directory / "root.key", create=True)
        self._store = Store.in_file(directory / "authority.db")
        self._audit = Audit(
            directory / "audit.jsonl", region=region, key=hashlib.blake2b(root, person=b"audit").digest()
        )
        self.authority = Authority(self._store, Sealer(root), self._audit, region=region)
        self._socket = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        self.env = self._variables()
        config = uvicorn.Config(
            application(self.authority), log_config=None, access_log=False, timeout_graceful_shutdown=3
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="authority", daemon=True)

    @property
    def audit_path(self) -> Path:
        """Where the audit's JSON lines are."""
        return self.directory / "audit.jsonl"

    def start(self) -> Self:
        """Serve; returns when requests are taken."""
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the authority's server did not start")
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        """Stop serving and close the store; safe to call twice."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(10)
        self._socket.close()
        self._store.close()
        self._audit.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def delete_client(self, client: str) -> None:
        """Delete a client by its id."""
        self.authority.delete_client(UUID(client))

    def _variables(self) -> dict[str, str]:
        path = self.directory / "clients.json"
        if not path.exists():
            fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(orjson.dumps(self._enrol()))
        authority = self.authority
        return {
            "CS_CTS_HOST": self.url,
            "CS_ZEROKMS_HOST": self.url,
            "CS_WORKSPACE_CRN": f"crn:{authority.region}.aws:{authority.workspace}",
            **orjson.loads(path.read_bytes()),
        }

    def _enrol(self) -> dict[str, str]:
        authority = self.authority
        key, proposal = first_client()
        first = authority.enrol("dev-1", p2=proposal.p2, relation=None, via=None, created_by="dev")
        key_2, proposal_2 = further_client(key)
        second = authority.enrol("dev-2", p2=proposal_2.p2, relation=proposal_2.relation, via=first, created_by="dev")
        return {
            "CS_CLIENT_ACCESS_KEY": authority.create_access_key("dev-1", "member"),
            "CS_CLIENT_ID": str(first),
            "CS_CLIENT_KEY": key.to_hex(),
            "CS_CLIENT_ACCESS_KEY_2": authority.create_access_key("dev-2", "member"),
            "CS_CLIENT_ID_2": str(second),
            "CS_CLIENT_KEY_2": key_2.to_hex(),
            "CS_ADMIN_ACCESS_KEY": authority.create_access_key("dev-admin", "admin"),
        }


def as_shell(env: dict[str, str]) -> str:
    """Write variables as shell assignments, one a line."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())
