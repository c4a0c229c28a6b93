"""
The pins: what must belong to one region before anything starts.

A pin proves configuration, not geography. A cluster id counts as authenticated only over TLS with a pinned CA;
otherwise the finding says `unauthenticated`.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from worker.avro import SchemaSource
from worker.errors import RegionViolation
from worker.finding import Finding, match
from worker.region import Region, WorkspaceCrn


def workspace(region: Region, crn: WorkspaceCrn) -> Finding:
    """The workspace lies in the configured region."""
    remedy = "set CS_WORKSPACE_CRN to a workspace of this region, or run the worker of the other one"
    return match("workspace region", region.name, crn.region.name, remedy)


def host(name: str, url: str, own: str, allowed: tuple[str, ...]) -> Finding:
    """A service's host is the region's own over https, or one that `allow_hosts` lists."""
    parts = urlsplit(url)
    expected = urlsplit(own).netloc
    if expected and parts.scheme == "https" and parts.netloc == expected:
        return Finding(name, "ok", expected, parts.netloc)
    if parts.netloc in allowed or parts.hostname in allowed:
        return _listed(name, parts.scheme, parts.netloc)
    remedy = f"use the region's host, or list {parts.netloc!r} under [authority] allow_hosts"
    wanted = f"https://{expected}/" if expected else "listed in allow_hosts"
    return Finding(name, "broken", wanted, f"{parts.scheme}://{parts.netloc}/", remedy, RegionViolation)


def _listed(name: str, scheme: str, found: str) -> Finding:
    if scheme == "https":
        return Finding(name, "ok", "listed in allow_hosts", found)
    return Finding(name, "unauthenticated", "listed in allow_hosts", found, "nothing proves who answers; https would")


def registry(region: Region, schemas: SchemaSource, allowed: tuple[str, ...]) -> list[Finding]:
    """Each host that is really asked bears the region's name as a label, over https, or `allow_hosts` lists it."""
    findings = []
    through = "" if schemas.proxy is None else f" through the proxy {urlsplit(schemas.proxy).hostname}"
    for parts in map(urlsplit, schemas.addresses):
        name, label = "registry host", region.name in (parts.hostname or "").split(".")
        if parts.netloc in allowed or parts.hostname in allowed:
            findings.append(_listed(name, parts.scheme, parts.netloc + through))
        elif parts.scheme == "https" and label:
            findings.append(Finding(name, "ok", f"a host of {region}", parts.netloc + through))
        else:
            remedy = f"use the region's registry, or list {parts.netloc!r} under [schemas] allow_hosts"
            expected, found = f"https://*.{region}.*/", f"{parts.scheme}://{parts.netloc}/"
            findings.append(Finding(name, "broken", expected, found, remedy, RegionViolation))
    return findings
