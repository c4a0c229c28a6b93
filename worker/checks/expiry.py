"""When the certificates expire that the configuration names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from cryptography import x509

from worker import environment
from worker.config import Settings
from worker.metrics import Metrics

_KAFKA = {"ssl.ca.location": "kafka_ca", "ssl.certificate.location": "kafka_client"}
_REGISTRY = {"ssl.ca.location": "registry_ca", "ssl.certificate.location": "registry_client"}
_DATABASE = {"sslrootcert": "database_ca", "sslcert": "database_client"}


def certificate_files(settings: Settings, environ: Mapping[str, str]) -> dict[str, set[Path]]:
    """Return the files of certificates that the settings name, by what each is for."""
    named = [(_KAFKA[name], value) for name, value in settings.kafka.properties.items() if name in _KAFKA]
    named += [(_REGISTRY[name], str(value)) for name, value in settings.schemas.properties.items() if name in _REGISTRY]
    for route in settings.routes:
        if route.sink.dsn_env is not None:
            dsn = environment.read(environ, route.sink.dsn_env) or ""
            named += [(_DATABASE[name], value) for name, value in _dsn_options(dsn) if name in _DATABASE]
    found: dict[str, set[Path]] = {}
    for purpose, value in named:
        if value not in ("probe", "system"):
            found.setdefault(purpose, set()).add(Path(value))
    return found


def _dsn_options(dsn: str) -> list[tuple[str, str]]:
    if "://" in dsn:
        return parse_qsl(urlsplit(dsn).query)
    return [(name, value.strip("'")) for name, found, value in (part.partition("=") for part in dsn.split()) if found]


class CertificateExpiry:
    """
    Exports when the certificates of each named file expire, read anew at each call: files are replaced in place.

    Args:
        files: what `certificate_files` returned.
        metrics: the worker's.
    """

    def __init__(self, files: Mapping[str, set[Path]], metrics: Metrics) -> None:
        self._files, self._metrics = files, metrics

    def __call__(self) -> None:
        """Read the files; one that can't be read or holds no certificate is left to whoever uses it."""
        for purpose, paths in self._files.items():
            ends = [end for path in paths for end in _ends(path)]
            if ends:
                # Of a CA file the last one counts: it may hold its successor, or many that are not used here.
                end = max(ends) if purpose.endswith("_ca") else min(ends)
                self._metrics.set("worker_certificate_expiry_timestamp_seconds", end, certificate=purpose)


def _ends(path: Path) -> list[float]:
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return []
    return [certificate.not_valid_after_utc.timestamp() for certificate in certificates]
