"""Builds one region's authority and serves it."""

from __future__ import annotations

import hashlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from worker.authority.audit import AuditFile
from worker.authority.catalogue import CATALOGUE
from worker.authority.clients import Clients
from worker.authority.datakeys import DataKeys
from worker.authority.escrow import ServerMadeClients
from worker.authority.http import Parts, application
from worker.authority.keysets import Keysets
from worker.authority.limits import LimitOptions
from worker.authority.management import Management, make_access_key, new_workspace
from worker.authority.seal import Sealer
from worker.authority.store import Store
from worker.authority.tokens import Tokens
from worker.errors import ConfigError
from worker.metrics import Metrics, ProcessMetrics
from worker.region import Region, WorkspaceCrn


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """Certificate and key as PEM files; with `client_ca` callers must show a certificate of that authority."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class Authority:
    """
    One region's authority: its store, its audit trail, and the application over them.

    Args:
        region: the only one that it serves.
        directory: holds the store and the audit trail.
        root: 32 bytes; seals the store.
        base_url: what tokens name, with a slash at its end.
        limits: what one request and one client may ask.
        escrow: 32 bytes other than `root`; its presence is the choice to let `create-client` make client keys.
        audit_sync: an answer waits until its audit line is on the disk.
    """

    def __init__(
        self,
        region: Region,
        directory: Path,
        root: bytes,
        base_url: str,
        *,
        limits: LimitOptions | None = None,
        escrow: bytes | None = None,
        audit_sync: bool = False,
    ) -> None:
        if escrow == root:
            raise ConfigError("the escrow key is the root key; keep them apart")
        directory.mkdir(parents=True, exist_ok=True)
        self.store = Store(directory / "authority.sqlite", region, Sealer(root))
        try:
            server_made = ServerMadeClients(self.store, None if escrow is None else Sealer(escrow))
        except ConfigError:
            self.store.close()
            raise
        key = hashlib.sha256(b"audit-contexts" + root).digest()
        self.audit = AuditFile(directory / "audit.jsonl", key, str(region), sync=audit_sync)
        self.metrics = Metrics(str(region), catalogue=CATALOGUE)
        self.metrics.expect({})
        self.metrics.registry.register(ProcessMetrics(str(region), lambda: {"authority": os.getpid()}))
        options = limits or LimitOptions()
        self._deriving = ThreadPoolExecutor(1, "derive")
        self.tokens = Tokens(self.store, base_url)
        self.app: FastAPI = application(
            Parts(
                self.tokens,
                DataKeys(self.store, self.audit, self.metrics, options),
                Keysets(self.store, server_made),
                Clients(self.store),
                server_made,
                Management(self.store),
                self.metrics,
                options,
                self._deriving,
            )
        )

    def close(self) -> None:
        """Close the store and the audit trail."""
        self._deriving.shutdown()
        self.store.close()
        self.audit.close()


def bind(host: str, port: int) -> socket.socket:
    """Listen on an address; port 0 takes a free one. Raises `ConfigError` where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's algorithm off only where it is; else an answer waits 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
    except OSError as exc:
        listening.close()
        raise ConfigError(f"{host}:{port} can't be bound: {exc.strerror}") from exc
    return listening


def server(app: ASGIApp, tls: TlsOptions | None = None) -> uvicorn.Server:
    """Return a server that finishes what is under way before it stops."""
    options: dict[str, object] = {}
    if tls is not None:
        options = {"ssl_certfile": str(tls.certificate), "ssl_keyfile": str(tls.key)}
        if tls.client_ca is not None:
            options |= {"ssl_ca_certs": str(tls.client_ca), "ssl_cert_reqs": 2}
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=10,
        limit_concurrency=1000,
        **options,  # type: ignore[arg-type]
    )
    return uvicorn.Server(config)


def first_workspace(store: Store, wanted: bool) -> dict[str, str] | None:
    """Make the store's first workspace and its admin key where there is none; raises `ConfigError` if not wanted."""
    if store.state.workspaces:
        return None
    if not wanted:
        raise ConfigError("a new store: --admin-key-file says where its first admin access key goes")
    workspace = new_workspace(store, "first")
    return {
        "CS_WORKSPACE_CRN": str(WorkspaceCrn(store.region, workspace)),
        "CS_ADMIN_ACCESS_KEY": make_access_key(store, workspace, "admin", "admin"),
    }
