"""One process of an authority: built, served, closed."""

from __future__ import annotations

import os
import platform
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from worker.authority.dev import as_lines
from worker.authority.files import reserved
from worker.authority.management import make_access_key, new_workspace
from worker.authority.refusal import Refusal
from worker.authority.server import Authority, AuthorityOptions, TlsOptions, server
from worker.authority.store import Store
from worker.errors import ConfigError
from worker.metrics import open_traces
from worker.region import Region, WorkspaceCrn


@dataclass(frozen=True, slots=True)
class Serving:
    """
    What one process is told.

    Args:
        region: the region's name.
        data: the data directory.
        root: 32 bytes.
        base_url: what tokens name.
        options: what else an operator chooses.
        tls: certificate and key; None on loopback.
        admin_key_file: where a new workspace's admin access key goes.
    """

    region: str
    data: Path
    root: bytes = field(repr=False)
    base_url: str
    options: AuthorityOptions
    tls: TlsOptions | None = None
    admin_key_file: Path | None = None


def serve(serving: Serving, listening: socket.socket, stop: threading.Event, ready: Callable[[], None]) -> None:
    """Serve until `stop` is set; what is under way is finished first. Raises as `Authority`."""
    authority = Authority(Region(serving.region), serving.data, serving.root, serving.base_url, serving.options)
    try:
        authority.metrics.traces = open_traces(
            os.environ, service="residency-authority", region=serving.region, instance=platform.node()
        )
        first_workspace(authority.store, serving.admin_key_file)
        running = server(authority.app, authority.guard, serving.tls)
        threading.Thread(target=_stop, args=(running, stop), daemon=True).start()
        ready()
        running.run([listening])
    finally:
        authority.close()
        authority.metrics.traces.close()


def _stop(running: uvicorn.Server, stop: threading.Event) -> None:
    stop.wait()
    running.should_exit = True


def first_workspace(store: Store, admin_key_file: Path | None) -> None:
    """
    Make the store's first workspace and its admin key where there is nobody yet.

    The key is made once its file's room is on the disk, and again where a crash came between it and its workspace.

    Raises:
        ConfigError: there is no file for it, or it can't be written.
    """
    state = store.state
    if state.access_keys or state.providers or state.clients or (state.workspaces and admin_key_file is None):
        return
    if admin_key_file is None:
        raise ConfigError("a new store: --admin-key-file says where its first admin access key goes")
    try:
        with reserved(admin_key_file) as file:
            workspace = next(iter(state.workspaces), None) or new_workspace(store, "first", alone=True)
            key = make_access_key(store, workspace, "admin", "admin")
            made = {"CS_WORKSPACE_CRN": str(WorkspaceCrn(store.region, workspace)), "CS_ADMIN_ACCESS_KEY": key}
            file.write(as_lines(made, export=True).encode())
    except Refusal as refusal:
        # Another replica that starts at this moment may be the one that makes it.
        if refusal.status != 409:
            raise ConfigError(f"the first workspace can't be made: {refusal.reason}") from None
