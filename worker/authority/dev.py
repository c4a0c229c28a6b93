"""A throw-away authority on loopback, with a workspace, two clients and their access keys ready."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from worker.authority import schema
from worker.authority.enrol import Existing, accept, propose
from worker.authority.files import write_whole
from worker.authority.management import Narrowing, make_access_key, new_workspace
from worker.authority.remote import Remote
from worker.authority.seal import root_from_file
from worker.authority.server import Authority, AuthorityOptions, bind, server
from worker.authority.transaction import Transaction
from worker.region import Region, WorkspaceCrn
from worker.zerokms.derive import ClientKey


class DevAuthority:
    """
    Runs an authority on a thread until stopped; the same directory gives the same keys again.

    The client keys are made on this side and kept in `credentials.env`, never in the authority's store; with `escrow`
    the first is made by the authority, which can then open everything by itself.

    Args:
        region: a region's name.
        data_dir: holds the store, its root key, the audit trail and the clients' credentials.
        port: on 127.0.0.1; 0 takes a free one.
        escrow: lets the authority make client keys itself (`create-client`), the first client's among them.
        options: as an operator would choose them, but for `escrow` and `audit_sync`.
        public_url: as `serve --public-url`; by default where it listens.

    `audit_sync` says whether answers wait until their audit lines are on the disk.
    """

    audit_sync = False

    def __init__(
        self,
        region: str,
        data_dir: Path | str,
        port: int = 0,
        *,
        escrow: bool = False,
        options: AuthorityOptions | None = None,
        public_url: str | None = None,
    ) -> None:
        directory = Path(data_dir)
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._stopped = False
        root = root_from_file(directory / "root.key", create=True)
        self._escrow = root_from_file(directory / "escrow.key", create=True) if escrow else None
        self._socket = bind("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        try:
            self.authority = Authority(
                Region(region),
                directory,
                root,
                public_url or self.url,
                replace(options or AuthorityOptions(), escrow=self._escrow, audit_sync=self.audit_sync),
            )
        except BaseException:
            self._socket.close()
            raise
        self._server = server(self.authority.app, self.authority.guard)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="authority", daemon=True)
        self._thread.start()
        self.env = self._credentials(region, directory / "credentials.env")
        self.env |= dict.fromkeys(("CS_CTS_HOST", "CS_ZEROKMS_HOST"), public_url or self.url)
        self.admin = Remote(self.url, self.env["CS_ADMIN_ACCESS_KEY"])

    def stop(self) -> None:
        """Stop serving; the directory stays. Safe to call twice."""
        if self._stopped:
            return
        self._stopped = True
        self._server.should_exit = True
        self._thread.join(15)
        self._socket.close()
        self.authority.close()

    def delete_client(self, client_id: str) -> None:
        """Delete a client; those enrolled through it stay."""
        self.admin("delete-client", {"client_id": client_id, "cascade": False})

    def disable_keyset(self, name: str) -> None:
        """Disable a keyset."""
        self.admin("disable-keyset", {"keyset_id": {"Name": name}})

    def enable_keyset(self, name: str) -> None:
        """Enable a keyset."""
        self.admin("enable-keyset", {"keyset_id": {"Name": name}})

    def create_keyset(self, name: str) -> dict[str, Any]:
        """Make a keyset and return it as the wire has it."""
        made: dict[str, Any] = self.admin("create-keyset", {"name": name, "description": name})
        return made

    def grant(self, client_id: str, name: str) -> None:
        """Give a client a keyset."""
        self.admin("grant-keyset", {"client_id": client_id, "keyset_id": {"Name": name}})

    def revoke(self, client_id: str, name: str) -> None:
        """Take a keyset from a client."""
        self.admin("revoke-keyset", {"client_id": client_id, "keyset_id": {"Name": name}})

    def start(self) -> Self:
        """It serves since it was made; kept so that it reads like every other server."""
        return self

    @property
    def audit_path(self) -> Path:
        """Where the audit's JSON lines are."""
        return self._directory / "audit.jsonl"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _bound(self, env: dict[str, str]) -> dict[str, str]:
        # A directory of the version before access keys had one client: theirs are known here.
        store = self.authority.store
        for suffix in ("", "_2"):
            key = env[f"CS_CLIENT_ACCESS_KEY{suffix}"].removeprefix("CSAK").partition(".")[0]
            row = store.state.access_keys.get(key)
            if row is not None and row["client"] is None:
                store.write(partial(_bind, key=key, client=env[f"CS_CLIENT_ID{suffix}"]))
        return env

    def _credentials(self, region: str, path: Path) -> dict[str, str]:
        if path.exists():
            return self._bound(read_env(path))
        store = self.authority.store
        workspace = new_workspace(store, "dev")
        admin = make_access_key(store, workspace, "admin", "admin")
        call = Remote(self.url, admin)
        env = {"CS_WORKSPACE_CRN": str(WorkspaceCrn(Region(region), workspace)), "CS_ADMIN_ACCESS_KEY": admin}
        first: Existing | None = None
        for name, suffix in (("first", ""), ("second", "_2")):
            if self._escrow and first is None:
                made = call("create-client", {"name": name, "description": name})
                client, proposal = UUID(made["id"]), None
            else:
                proposal = propose(call, name=name, region=region, via=first)
                client = proposal.client_id
                call("approve-client", {"client_id": str(client)})
            access_key = make_access_key(store, workspace, name, "member", Narrowing(client=str(client)))
            own = Remote(self.url, access_key)
            key = ClientKey.parse(made["client_key"]) if proposal is None else accept(own, proposal)
            first = first or Existing(client, key, own)
            env |= {f"CS_CLIENT_ACCESS_KEY{suffix}": access_key}
            env |= {f"CS_CLIENT_ID{suffix}": str(client), f"CS_CLIENT_KEY{suffix}": key.to_hex()}
        write_env(path, env)
        return env


def _bind(transaction: Transaction, key: str, client: str) -> None:
    transaction.update(schema.access_keys, key, {"client": client})


def as_lines(env: Mapping[str, str], *, prefix: str = "CS_", export: bool = False) -> str:
    """
    Write variables, one a line, as shells and container engines read them.

    Args:
        env: names that begin with `CS_`, and values.
        prefix: stands for that `CS_`, as `CS_EU_`.
        export: `export NAME=value` with the value quoted, for a shell to source.
    """
    named = {prefix + name.removeprefix("CS_"): value for name, value in env.items()}
    if export:
        return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in named.items())
    return "".join(f"{name}={value}\n" for name, value in named.items())


def write_env(path: Path, env: Mapping[str, str], *, prefix: str = "CS_", export: bool = True) -> None:
    """Write variables as `as_lines` does, readable by the owner alone; the file appears whole or not at all."""
    write_whole(path, as_lines(env, prefix=prefix, export=export).encode())


def read_env(path: Path) -> dict[str, str]:
    """Read what `write_env` wrote."""
    pairs = (line.partition("=") for line in path.read_text().splitlines() if line)
    return {name.removeprefix("export "): shlex.split(value)[0] for name, _, value in pairs}
