"""Builds one region's authority and serves it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from worker.authority.answering import Answering, before_commit
from worker.authority.audit.anchor import Anchor
from worker.authority.audit.retention import Retention
from worker.authority.auditing import Auditing, open_trail
from worker.authority.bodies import Bodies
from worker.authority.catalogue import CATALOGUE
from worker.authority.clients import Clients
from worker.authority.connections import Guard, GuardedServer
from worker.authority.datakeys import DataKeys
from worker.authority.enrolment import Enrolment
from worker.authority.erasing import Erasing
from worker.authority.erasure.epochs import EpochClock, Epochs
from worker.authority.erasure.journaled import journaled
from worker.authority.erasure.keyholder import KeyHolder
from worker.authority.erasure.subjects import Subjects
from worker.authority.escrow import ServerMadeClients
from worker.authority.files import check_secret, own_directory
from worker.authority.freshness import Freshness
from worker.authority.head import Head
from worker.authority.health import readiness
from worker.authority.http import Parts, application
from worker.authority.keysets import Keysets
from worker.authority.limits import ConnectionLimits, LimitOptions
from worker.authority.management import Management
from worker.authority.observed import Observed, last_backup, note_backup
from worker.authority.operations import Operations
from worker.authority.people import People
from worker.authority.recovery.journal import Journal
from worker.authority.recovery.schedule import BackupOptions, Backups
from worker.authority.refusals import Refusals
from worker.authority.seal import Sealer
from worker.authority.sibling import Sibling, exported, pids, trail_directories, trail_directory
from worker.authority.state import Changed
from worker.authority.store import Store
from worker.authority.tokens import Tokens
from worker.errors import ConfigError
from worker.http_client import is_loopback, url_parts, without_login
from worker.metrics import Metrics, ProcessMetrics
from worker.region import Region
from worker.version import __version__


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """
    Certificate and key as PEM files; with `client_ca` callers must show a certificate of that authority.

    Raises:
        ConfigError: others can read the key.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def __post_init__(self) -> None:
        check_secret(self.key)


def public_base(url: str) -> str:
    """Return the address that tokens name, with a slash at its end; raises `ConfigError` for http off this machine."""
    parts = url_parts(url, "--public-url")
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ConfigError(f"--public-url {without_login(url)!r} is not an address such as https://keys.eu.example/")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ConfigError(f"--public-url {url!r} would have tokens sent over plain http; use https")
    return url.rstrip("/") + "/"


@dataclass(frozen=True, slots=True)
class AuthorityOptions:
    """
    What an operator chooses.

    Args:
        limits: what one request and one client may ask.
        connections: what connections and callers that guess may take.
        escrow: 32 bytes other than the root; its presence is the choice to let `create-client` make client keys.
        audit_sync: an answer waits until its audit line is on the disk; several wait for one flush.
        anchor: where signed heads of the trail are appended.
        audit_keep_s: how long closed files of the trail stay; None for ever.
        backups: where backups go, and when; None: none make themselves.
        journal: where every write goes before it is one; on another disk or host than the store.
        database: URL of a PostgreSQL database that replicas share, instead of a file of the directory.
        former_root: the root key of before, from which the store goes over to the new one.
        sibling: this process's place among several over one data directory; their store is a database.
        keys: keeps the keys of epochs and backups outside the store; None: what is erased is refused, and never gone.
        epoch_every_s: how often an epoch ends in which something was erased.
    """

    limits: LimitOptions = field(default_factory=LimitOptions)
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
    escrow: bytes | None = field(default=None, repr=False)
    audit_sync: bool = True
    anchor: Path | None = None
    audit_keep_s: float | None = None
    backups: BackupOptions | None = None
    journal: Path | None = None
    database: str | None = field(default=None, repr=False)
    former_root: bytes | None = field(default=None, repr=False)
    sibling: Sibling | None = None
    keys: KeyHolder | None = None
    epoch_every_s: float = 86_400.0


class Authority:
    """
    One region's authority: its store, its audit trail, and the application over them.

    Args:
        region: the only one that it serves.
        directory: holds the store and the audit trail.
        root: 32 bytes; seals the store.
        base_url: what tokens name, with a slash at its end.
        options: what else an operator chooses.
    """

    def __init__(
        self,
        region: Region,
        directory: Path,
        root: bytes,
        base_url: str,
        options: AuthorityOptions | None = None,
    ) -> None:
        options = AuthorityOptions() if options is None else options
        if options.escrow == root:
            raise ConfigError("the escrow key is the root key; keep them apart")
        own_directory(directory)
        if options.sibling is not None:
            options.sibling.join()
        place = options.database or directory / "authority.sqlite"
        former = None if options.former_root is None else Sealer(options.former_root)
        self.store = Store(place, region, Sealer(root), former=former, before_commit=self._before_commit)
        self.journal: Journal | None = None
        try:
            if options.journal is not None:
                self.journal = Journal(options.journal, self.store.derived(b"journal"))
            self.epochs = Epochs(self.store, options.keys)
            server_made = ServerMadeClients(self.store, None if options.escrow is None else Sealer(options.escrow))
            self.trail = open_trail(
                self.store, trail_directory(directory, options.sibling) / "audit.jsonl", sync=options.audit_sync
            )
            if self.store.rekeyed:
                self.trail.record({"operation": "rotate-root-key", "outcome": "allowed"})
                self.store.rekeying_told()
        except BaseException:
            self.store.close()
            raise
        self._anchor = None if options.anchor is None else Anchor(self.trail, options.anchor)
        self._retention = None if options.audit_keep_s is None else Retention(self.trail, options.audit_keep_s)
        self._backups: Backups | None = None
        # Of several processes of a machine one alone does what is to be done once.
        is_first = options.sibling is None or options.sibling.index == 0
        is_ending = options.keys is not None and is_first
        self._epoch_clock = EpochClock(self.epochs, options.epoch_every_s, self.trail.record) if is_ending else None
        self.metrics = Metrics(str(region), catalogue=CATALOGUE)
        self.guard = Guard(options.connections, self.metrics)
        self.metrics.expect({})
        self._exported = exported(self.metrics, options.sibling)
        self._exported.register(ProcessMetrics(str(region), partial(pids, options.sibling)))
        self._exported.register(Observed(self.store, directory, self.ready, version=__version__))
        self._deriving = ThreadPoolExecutor(1, "derive")
        self.subjects = Subjects(self.store, self.epochs)
        self._refusals = Refusals(self.trail.append)
        self.tokens = Tokens(self.store, base_url, options.limits)
        self.app: FastAPI = application(self._parts(directory, options, server_made))
        if options.backups is not None and is_first:
            made, last = partial(note_backup, directory), last_backup(directory)
            self._backups = Backups(options.backups, self.subjects, self.trail, made, last=last)

    def _parts(self, directory: Path, options: AuthorityOptions, server_made: ServerMadeClients) -> Parts:
        auditing = Auditing(partial(trail_directories, directory))
        data_keys = DataKeys(self.store, self.trail.hash, self.metrics, options.limits, self.subjects)
        answering = Answering(
            self.tokens,
            self.trail,
            Freshness(self.store),
            self.metrics,
            Bodies(options.limits),
            self._deriving,
            self.guard.guesses,
            self._refusals,
            data_keys.may_wait,
        )
        return Parts(
            answering,
            data_keys,
            Keysets(self.store, server_made, self.epochs),
            Clients(self.store),
            Enrolment(self.store, data_keys),
            server_made,
            Management(self.store),
            People(self.store),
            auditing,
            Operations(
                self.store, self.trail, self.ready, partial(note_backup, directory), auditing.chains, self.subjects
            ),
            Erasing(self.store, self.epochs),
            self.ready,
            self._exported,
        )

    def ready(self) -> dict[str, Any]:
        """Return whether keys can be derived, and why not."""
        return readiness(self.store, self.trail, self.subjects)

    def _before_commit(self, head: Head, changes: Sequence[Changed], still: Callable[[], object]) -> None:
        if self.journal is not None:
            self.journal.append(head, journaled(changes), still)
        before_commit(head, changes, still)

    def close(self) -> None:
        """Close the store and the audit trail."""
        if self._backups is not None:
            self._backups.close()
        if self._epoch_clock is not None:
            self._epoch_clock.close()
        self._deriving.shutdown()
        self.tokens.provider_keys.close()
        self.store.close()
        self._refusals.flush(everything=True)
        if self._retention is not None:
            self._retention.close()
        if self._anchor is not None:
            self._anchor.close()
        self.trail.close()
        if self.journal is not None:
            self.journal.close()


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


def server(app: ASGIApp, guard: Guard, tls: TlsOptions | None = None) -> uvicorn.Server:
    """Return a server that finishes what is under way before it stops, and lets nobody keep others out."""
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
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=10,
        timeout_keep_alive=int(guard.limits.idle_s),
        **options,  # type: ignore[arg-type]
    )
    return GuardedServer(config, guard)
