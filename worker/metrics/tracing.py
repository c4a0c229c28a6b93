"""Whether traces are asked for, and by which variables."""

from __future__ import annotations

from collections.abc import Mapping

from worker.errors import ConfigError, with_extra
from worker.metrics.traces import OFF, Traces

_ON = "OTEL_TRACES_EXPORTER"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP = "http/protobuf"


def open_traces(environ: Mapping[str, str], *, service: str, region: str, instance: str) -> Traces:
    """
    Return traces that go where OpenTelemetry's own variables say, or none.

    They are asked for by `OTEL_TRACES_EXPORTER=otlp`, or by an endpoint; `OTEL_SDK_DISABLED=true` wins.

    Args:
        environ: the variables.
        service: the service's name, where the variables give none.
        region: the region's name.
        instance: this process's stable name.

    Raises:
        ConfigError: an exporter or protocol that is not supported, or the extra `traces` is not installed.
    """
    if not _wanted(environ):
        return OFF
    try:
        from worker.metrics.spans import to_collector
    except ImportError:
        raise ConfigError(
            "the environment asks for traces (OTEL_...), which need the extra 'traces': " + with_extra("traces")
        ) from None
    return to_collector(service=service, region=region, instance=instance)


def _wanted(environ: Mapping[str, str]) -> bool:
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    given = environ.get(_ON) or ("otlp" if any(environ.get(name) for name in _ENDPOINTS) else "none")
    if given == "none":
        return False
    if given != "otlp":
        raise ConfigError(f"{_ON} = {given!r}: otlp or none")
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), _HTTP)
    if protocol != _HTTP:
        raise ConfigError(f"OTEL_EXPORTER_OTLP_PROTOCOL = {protocol!r}: only {_HTTP} is supported")
    return True
