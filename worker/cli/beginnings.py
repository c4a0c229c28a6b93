"""A first settings file for one's own cluster, whose id is asked for and not looked up by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from worker import environment
from worker.errors import ConfigError
from worker.http_client import url_parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """
    What a first file says.

    Args:
        region: the region's name.
        bootstrap: the cluster's addresses.
        cluster_id: as the cluster says it.
        topic: what is read.
        schemas: paths of schemas, known by 1, 2, ...; none where a registry has them.
        registry: the registry's URL; empty where files name the schemas.
        table: where rows go besides the topic; empty for none.
        environ: whose `CS_CTS_HOST` and `CS_ZEROKMS_HOST` may stand in for the region's own hosts.
    """

    region: str
    bootstrap: str
    cluster_id: str
    topic: str
    schemas: tuple[str, ...]
    registry: str
    table: str
    environ: Mapping[str, str]

    def text(self) -> str:
        """Return the file; raises `ConfigError` where neither schemas nor a registry are named, or both."""
        if bool(self.schemas) == bool(self.registry):
            raise ConfigError("give either --schema, once for each file, or --registry")
        parts = [
            f"region = {_quoted(self.region)}",
            f"[authority]\nallow_hosts = {_listed(self._hosts())}",
            f"[kafka]\nbootstrap = {_quoted(self.bootstrap)}\ncluster_id = {_quoted(self.cluster_id)}",
            self._schemas(),
            '[http]\nlisten = "127.0.0.1:9464"',
            self._route("topic", f'kind = "kafka", topic = {_quoted(self.topic + ".enc")}, create = true'),
        ]
        if self.table:
            sink = f'kind = "postgres", table = {_quoted(self.table)}, mode = "append", create = true'
            parts.append(self._route("table", sink))
        return "\n\n".join(parts) + "\n"

    def _hosts(self) -> list[str]:
        named = {name: environment.text(self.environ, name) for name in ("CS_CTS_HOST", "CS_ZEROKMS_HOST")}
        return sorted({url_parts(url, name).netloc for name, url in named.items() if url})

    def _schemas(self) -> str:
        if self.registry:
            host = url_parts(self.registry, "--registry").netloc
            return f"[schemas]\nregistry = {_quoted(self.registry)}\nallow_hosts = {_listed([host])}"
        lines = [
            f"{number} = {{ input = {_quoted(path)}, output_id = {1000 + number} }}"
            for number, path in enumerate(self.schemas, 1)
        ]
        return "[schemas.local]\n" + "\n".join(lines)

    def _route(self, name: str, sink: str) -> str:
        own = f"{self.topic}-to-{name}"
        source = f"source = {{ topics = [{_quoted(self.topic)}] }}"
        return f"[[routes]]\nname = {_quoted(own)}\ngroup = {_quoted('worker-' + own)}\n{source}\nsink = {{ {sink} }}"


def _quoted(text: str) -> str:
    """Return a TOML string; JSON's are."""
    return json.dumps(text)


def _listed(texts: list[str]) -> str:
    return json.dumps(texts)
