"""Whether the keys that the authority gives now open what they sealed before."""

from __future__ import annotations

from functools import partial

from worker.assembly.graph import Graph
from worker.checks.findings import attempt
from worker.finding import Finding

_FIRST = (
    "the first start makes it with its client key, and every later one is held to that: nobody can tell a wrong key "
    "before. See that CS_CLIENT_KEY was written together with CS_CLIENT_ID"
)


def check_canaries(graph: Graph) -> list[Finding]:
    """Open the canary of every keyset that the settings name; none is made."""
    settings = graph.settings
    findings: list[Finding] = []
    for keyset in sorted(
        {settings.encryption.keyset, settings.dead_letters.keyset, *settings.encryption.keysets}, key=str
    ):
        name = f"canary of keyset {keyset or '(own default)'}"
        made = attempt(findings, name, partial(graph.keys.has_canary, keyset))
        if made:
            findings.append(Finding(name, "ok", found="opens"))
        elif made is not None:
            findings.append(Finding(name, "warning", found="none yet", remedy=_FIRST))
    return findings
