"""Whether the keys that the authority gives now open what they sealed before."""

from __future__ import annotations

from functools import partial

from worker.assembly.graph import Graph
from worker.checks.findings import attempt
from worker.finding import Finding


def check_canaries(graph: Graph) -> list[Finding]:
    """Open the canary of every keyset that the settings name; none is made."""
    settings = graph.settings
    findings: list[Finding] = []
    for keyset in sorted(
        {settings.encryption.keyset, settings.dead_letters.keyset, *settings.encryption.keysets}, key=str
    ):
        name = f"canary of keyset {keyset or '(own default)'}"
        made = attempt(findings, name, partial(graph.keys.has_canary, keyset))
        if made is not None:
            findings.append(Finding(name, "ok", found="opens" if made else "made at the keyset's first use"))
    return findings
