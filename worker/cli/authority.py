"""`worker authority`: the self-hosted ZeroKMS and CTS of one region."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import authority_audit, authority_erasure, authority_people, authority_recovery

if TYPE_CHECKING:
    from worker.authority.recovery.schedule import BackupOptions
    from worker.authority.server import TlsOptions
    from worker.authority.serving import Serving

app = typer.Typer(help="The self-hosted ZeroKMS and CTS of one region.", no_args_is_help=True)


app.add_typer(authority_audit.app, name="audit")
authority_recovery.register(app)
authority_erasure.register(app)
authority_people.register(app)


@app.callback()
def group() -> None:
    """The self-hosted ZeroKMS and CTS of one region."""


@app.command()
def dev(
    region: Annotated[str, typer.Option(help="The region to serve, as eu-central-1.")],
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free port.")] = 0,
    env_file: Annotated[Path | None, typer.Option(help="Where two clients' variables go.")] = None,
    prefix: Annotated[str, typer.Option(help="Of those variables, as CS_EU_.")] = "CS_",
    export: Annotated[bool, typer.Option("--export", help="Write them for a shell to source.")] = False,
    data: Annotated[Path | None, typer.Option(help="Directory that keeps its state; else a temporary one.")] = None,
    escrow: Annotated[bool, typer.Option("--escrow", help="Let it make client keys itself (create-client).")] = False,
) -> None:
    """Run a throw-away authority on loopback until SIGTERM, and print one line when it is ready."""
    from worker.authority.dev import DevAuthority, write_env

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with (
        tempfile.TemporaryDirectory(prefix="authority-") as temporary,
        DevAuthority(region, data or Path(temporary), port, escrow=escrow) as authority,
    ):
        if env_file is not None:
            write_env(env_file, authority.env, prefix=prefix, export=export)
        typer.echo(f"authority ready: region {region} at {authority.url}")
        stop.wait()


@app.command()
def serve(
    region: Annotated[str, typer.Option(help="The region to serve, as eu-central-1.")],
    data: Annotated[Path, typer.Option(help="Directory that keeps its store and audit trail.")],
    public_url: Annotated[str, typer.Option(help="The address that tokens name, as https://keys.eu.example/.")],
    listen: Annotated[str, typer.Option(help="host:port")] = "127.0.0.1:8081",
    root_key_file: Annotated[Path | None, typer.Option(help="32 bytes in hex; keep it apart from the data.")] = None,
    root_key_env: Annotated[str, typer.Option(help="Variable that holds the root key in hex.")] = "AUTHORITY_ROOT_KEY",
    root_key_command: Annotated[str | None, typer.Option(help="Prints the root key in hex: a KMS's or HSM's.")] = None,
    former_root_key_file: Annotated[
        Path | None, typer.Option(help="The root key of before: the store goes over to the new one, once.")
    ] = None,
    former_root_key_env: Annotated[
        str, typer.Option(help="Variable that holds the root key of before.")
    ] = "AUTHORITY_FORMER_ROOT_KEY",
    former_root_key_command: Annotated[str | None, typer.Option(help="Prints the root key of before.")] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM.")] = None,
    client_ca: Annotated[Path | None, typer.Option(help="PEM; callers must show a certificate of it.")] = None,
    admin_key_file: Annotated[
        Path | None, typer.Option(help="Where a new workspace's admin access key goes, once.")
    ] = None,
    escrow_key_file: Annotated[
        Path | None,
        typer.Option(help="Turns create-client on: client keys are made here, and D is kept sealed under this key."),
    ] = None,
    audit_sync: Annotated[
        bool, typer.Option(help="Answer once the audit's lines are on the disk; many wait for one flush.")
    ] = True,
    audit_anchor: Annotated[
        Path | None, typer.Option(help="File of an append-only place, where signed heads of the audit go.")
    ] = None,
    audit_retention_days: Annotated[
        int | None, typer.Option(min=1, help="Closed files of the audit go after so many days; else they stay.")
    ] = None,
    store_url_env: Annotated[
        str, typer.Option(help="Variable with a postgresql+psycopg:// URL, for a store that replicas share.")
    ] = "AUTHORITY_STORE_URL",
    journal: Annotated[
        Path | None, typer.Option(help="File on another disk or host, where every write goes before it is one.")
    ] = None,
    backup_directory: Annotated[
        Path | None, typer.Option(help="Where backups make themselves; a mount of another disk or host.")
    ] = None,
    backup_recipient: Annotated[
        list[str] | None, typer.Option(help="An age public key that opens them, age1...; several may.")
    ] = None,
    backup_every_hours: Annotated[int, typer.Option(min=1, help="How often.")] = 24,
    backup_keep: Annotated[int, typer.Option(min=1, help="How many stay.")] = 7,
    workers: Annotated[int, typer.Option(min=1, help="Processes; several use a machine's cores over a database.")] = 1,
    epoch_key_command: Annotated[
        str | None,
        typer.Option(help="Run with create, get or destroy and a name: keeps the keys of what can be erased for good."),
    ] = None,
    epoch_every_hours: Annotated[
        int, typer.Option(min=1, help="How often the key of what was erased is destroyed; needs such a command.")
    ] = 24,
    connections_per_address: Annotated[int, typer.Option(min=1, help="More where a proxy is in front.")] = 1000,
    generate_per_minute: Annotated[int, typer.Option(min=1, help="Keys one client may make.")] = 60_000_000,
    retrieve_per_minute: Annotated[int, typer.Option(min=1, help="Keys one client may retrieve.")] = 60_000_000,
) -> None:
    """Serve one region's authority until SIGTERM; what is under way is finished first."""
    from worker.authority import seal
    from worker.authority.erasure.keyholder import CommandKeys
    from worker.authority.limits import ConnectionLimits, LimitOptions
    from worker.authority.server import AuthorityOptions, bind, public_base
    from worker.authority.serving import Serving
    from worker.errors import ConfigError

    database = os.environ.get(store_url_env) or None
    if workers > 1 and database is None:
        raise ConfigError(
            f"--workers {workers}: a store in a file is one process's alone; put it into PostgreSQL ({store_url_env})"
        )
    host, port, tls = _listening(listen, tls_certificate, tls_key, client_ca)
    former = former_root_key_file, os.environ.get(former_root_key_env), former_root_key_command
    options = AuthorityOptions(
        limits=LimitOptions(generate_per_minute=generate_per_minute, retrieve_per_minute=retrieve_per_minute),
        connections=ConnectionLimits(per_address=connections_per_address, total=max(2000, 2 * connections_per_address)),
        escrow=None if escrow_key_file is None else seal.root_from_file(escrow_key_file),
        audit_sync=audit_sync,
        anchor=audit_anchor,
        audit_keep_s=None if audit_retention_days is None else audit_retention_days * 86_400.0,
        journal=journal,
        database=database,
        backups=_backups(backup_directory, backup_recipient, backup_every_hours, backup_keep),
        former_root=seal.root_key(*former) if any(former) else None,
        keys=None if epoch_key_command is None else CommandKeys(epoch_key_command),
        epoch_every_s=epoch_every_hours * 3600.0,
    )
    public = public_base(public_url)
    root = seal.root_key(root_key_file, os.environ.get(root_key_env), root_key_command)
    serving = Serving(region, data, root, public, options, tls, admin_key_file)
    _run(serving, bind(host, port), workers, f"authority ready: region {region} at {public_url}")


def _run(serving: Serving, listening: socket.socket, workers: int, ready: str) -> None:
    from worker.authority.processes import Processes
    from worker.authority.serving import serve as serve_alone

    stop = threading.Event()
    # A server raises a signal again once it has stopped; without a handler that would end us before we close.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if workers == 1:
        serve_alone(serving, listening, stop, lambda: typer.echo(ready))
        return
    with tempfile.TemporaryDirectory(prefix="authority-metrics-") as metrics:
        Processes(workers, lambda index: _share(serving, index, Path(metrics)), listening).run(
            stop, lambda: typer.echo(f"{ready}, {workers} processes")
        )


def _share(serving: Serving, index: int, metrics: Path) -> Serving:
    from worker.authority.sibling import Sibling

    return replace(serving, options=replace(serving.options, sibling=Sibling(index, metrics)))


def _backups(directory: Path | None, recipients: list[str] | None, hours: int, keep: int) -> BackupOptions | None:
    from worker.authority.recovery.schedule import BackupOptions
    from worker.errors import ConfigError

    if (directory is None) != (not recipients):
        raise ConfigError("--backup-directory and --backup-recipient belong together")
    return None if directory is None else BackupOptions(directory, tuple(recipients or ()), hours * 3600.0, keep)


def _listening(
    listen: str, certificate: Path | None, key: Path | None, client_ca: Path | None
) -> tuple[str, int, TlsOptions | None]:
    from worker.authority.server import TlsOptions
    from worker.errors import ConfigError
    from worker.http_client import is_loopback
    from worker.options import host_and_port

    try:
        host, port = host_and_port(listen)
    except ValueError as exc:
        raise ConfigError(f"--listen: {exc}") from None
    if (certificate is None) != (key is None):
        raise ConfigError("--tls-certificate and --tls-key belong together")
    tls = TlsOptions(certificate, key, client_ca) if certificate and key else None
    if tls is None and client_ca is not None:
        raise ConfigError("--client-ca asks callers for certificates, which needs --tls-certificate and --tls-key")
    if tls is None and not is_loopback(host):
        raise ConfigError("without TLS the authority serves loopback only")
    return host, port, tls
