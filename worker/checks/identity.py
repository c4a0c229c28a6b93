"""Who the worker is to the authority, and whether that is the region's."""

from __future__ import annotations

from functools import partial

from worker.assembly.graph import Graph
from worker.checks import pins
from worker.checks.findings import attempt
from worker.errors import ConfigError, WorkerError
from worker.finding import Finding, match
from worker.zerokms.factory import credentials_from_environment

_NO_RETRIEVE = (
    'already_encrypted = "pass" opens every envelope, and this identity lacks data_key:retrieve; grant it, or say '
    'verify = "none"'
)


def check_identity(graph: Graph) -> list[Finding]:
    """Verify credentials, workspace, hosts, service token and keysets; the authority is asked only where its host is
    the region's.
    """
    settings, region = graph.settings, graph.region
    try:
        credentials = credentials_from_environment(graph.context.environ, crn=settings.authority.workspace_crn)
    except WorkerError as exc:
        return [Finding.of("credentials", exc)]
    findings = [pins.workspace(region, credentials.workspace)]
    if findings[0].is_broken:
        return findings
    client = attempt(findings, "authority hosts", lambda: graph.authority)
    if client is None:
        return findings
    allowed = settings.authority.hosts
    findings.append(pins.host("cts host", client.cts, region.cts_url, allowed))
    token = attempt(findings, "service token", client.tokens.token)
    if token is None:
        return findings
    verified = settings.authority.client.verify_token
    workspace = str(credentials.workspace.workspace)
    findings.append(match("service token", workspace, token.workspace, "", authenticated=verified))
    findings += [
        Finding.of(f"{route.name}: already encrypted", ConfigError(_NO_RETRIEVE))
        for route in settings.routes
        if route.already_encrypted == "pass" and route.verify == "open" and not token.may("data_key:retrieve")
    ]
    base = client.zerokms or token.zerokms or ""
    findings.append(pins.host("zerokms host", base, region.zerokms_url, allowed))
    for name in sorted(
        {settings.encryption.keyset, settings.dead_letters.keyset, *settings.encryption.keysets}, key=str
    ):
        keyset = attempt(findings, f"keyset {name or '(own default)'}", partial(client.load_keyset, name))
        if keyset is not None:
            findings.append(Finding(f"keyset {keyset.name}", "ok", found=str(keyset.id)))
    return findings
