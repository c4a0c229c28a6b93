"""As whom `worker decrypt` and `worker encrypt` ask for keys."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack

from worker import config, environment
from worker.assembly.connections import authority_client
from worker.errors import ConfigError
from worker.region import WorkspaceCrn
from worker.sdk import Encryption, Regions
from worker.sdk.client import prefixes


def reader(
    settings: config.Settings | None, prefix: str, regions: Sequence[str], reason: str | None
) -> Encryption | Regions:
    """
    Return who reads: of the settings' region, of a prefix's variables, or of each region that is named.

    Args:
        settings: the region's file, where one is given.
        prefix: of the credentials' variables, where no region is named.
        regions: names of regions; each is looked for among the prefixes of the environment.
        reason: what the audit is told.

    Raises:
        ConfigError: credentials are missing; the message says whose.
    """
    why = reason or "worker decrypt"
    if regions:
        found = _by_region()
        missing = [region for region in regions if region not in found]
        if missing:
            known = ", ".join(f"{region} ({p}*)" for region, p in found.items()) or "none"
            raise ConfigError(f"--region: no credentials of {', '.join(missing)}; the environment has {known}")
        with ExitStack() as stack:
            chosen = dict.fromkeys(regions)
            clients = [stack.enter_context(Encryption.from_env(found[region], reason=why)) for region in chosen]
            several = Regions(clients)
            stack.pop_all()
        return several
    if settings is None:
        return Encryption.from_env(prefix, reason=why)
    client = authority_client(settings, environment.with_prefix(os.environ, prefix))
    return Encryption.over(client, reason=why, close=client.close)


def source_region(settings: config.Settings | None, regions: Sequence[str]) -> str | None:
    """Return whose data is read, where the settings or the only region named say so."""
    if settings is not None:
        return settings.region
    return regions[0] if len(set(regions)) == 1 else None


def _by_region() -> dict[str, str]:
    """The environment's prefixes by the region of their workspace."""
    found = {}
    for prefix in prefixes(os.environ):
        crn = os.environ.get(f"{prefix}WORKSPACE_CRN")
        if crn:
            found[str(WorkspaceCrn.parse(crn).region)] = prefix
    return found
