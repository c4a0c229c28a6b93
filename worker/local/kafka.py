"""A real Apache Kafka of one or three KRaft nodes on loopback."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
import signal
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from worker.errors import TransientError
from worker.local import broker, provision
from worker.local.java import find_java
from worker.local.process import Program, await_port, free_ports
from worker.local.tls import CertificateAuthority

_START_S = 90.0
_STOP_S = 20.0
# Nodes that stop together lose their quorum, and the last of them waits for it in vain.
_STOP_OF_MANY_S = 10.0


class LocalKafka:
    """
    Starts nodes, stops them, kills them and brings them back; topics are made with `create_topic`.

    A context manager; data live in a directory of their own until `stop`. Needs Java and, once, Maven.

    Args:
        nodes: 1 or 3.
        sasl: clients must authenticate by SCRAM-SHA-512; `properties` then holds the credentials.
        tls: clients speak TLS; `properties` then holds the CA, and a second listener takes client certificates alone.
        overrides: broker properties that win over the defaults.
        jvm: flags of the brokers' Java besides the usual.
        port: the first node's client listener, None for a free one; another cluster can take over an address.

    Raises:
        ConfigError: from `start`, where Java or the jars are missing.
        TransientError: from `start`, where a node does not come up; the message ends with its log.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        sasl: bool = False,
        tls: bool = False,
        overrides: Mapping[str, str] | None = None,
        jvm: Sequence[str] = (),
        port: int | None = None,
    ) -> None:
        if nodes not in (1, 3):
            raise ValueError("a local cluster has 1 or 3 nodes")
        self._sasl = sasl
        self._tls = tls
        self._overrides = dict(overrides or {})
        self._jvm = tuple(jvm)
        self._port = port
        self._size = nodes
        self._nodes: list[Program] = []
        self._listeners: list[broker.Listeners] = []
        self._directory: Path | None = None
        self._archive: Path | None = None
        self.cluster_id = ""
        self.properties: dict[str, str] = {}
        self.authority: CertificateAuthority | None = None

    @property
    def bootstrap(self) -> str:
        """The client listeners, comma-separated."""
        return ",".join(f"127.0.0.1:{each.client}" for each in self._listeners)

    @property
    def mutual_bootstrap(self) -> str:
        """The listeners that take client certificates, of `authority`; with TLS only."""
        return ",".join(f"127.0.0.1:{each.mutual}" for each in self._listeners)

    @property
    def administration(self) -> dict[str, str]:
        """How to reach the brokers as they reach each other: in the clear and without a name (`User:ANONYMOUS`)."""
        return {"bootstrap.servers": ",".join(f"127.0.0.1:{each.internal}" for each in self._listeners)}

    def start(self) -> Self:
        """Format the storage, start every node and return when clients can connect to all of them."""
        java, jars = find_java(), provision.kafka_jars()
        self._directory = directory = Path(tempfile.mkdtemp(prefix="kafka-"))
        self._command = [str(java), *broker.JVM_FLAGS, *self._jvm]
        self._command.append(f"-Dlog4j2.configurationFile={directory / 'log4j2.properties'}")
        self._class_path = os.pathsep.join(str(path) for path in sorted(jars.glob("*.jar")))
        ports = free_ports(4 * self._size)
        if self._port is not None:
            ports[0] = self._port
        self._listeners = [broker.Listeners(*ports[4 * n : 4 * n + 4]) for n in range(self._size)]
        self.cluster_id = _kafka_uuid()
        (directory / "log4j2.properties").write_text(broker.LOG4J)
        try:
            self._write_properties(directory)
            self._format(directory)
            flags = self._shared_classes(java, jars)
            self._nodes = [self._start_node(n, flags) for n in range(self._size)]
            self._await_nodes()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop every node and remove the data; safe to call twice."""
        for node in self._nodes:
            node.send(signal.SIGTERM)
        for node in self._nodes:
            node.stop(_STOP_S if self._size == 1 else _STOP_OF_MANY_S)
        self._nodes = []
        if self._archive is not None and self._archive.exists():
            self._archive.replace(self._archive.with_suffix(".jsa"))
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def data(self, node: int = 0) -> Path:
        """A node's log directory; raises `RuntimeError` where it does not run."""
        if self._directory is None:
            raise RuntimeError("Kafka does not run")
        return self._directory / f"data{node}"

    def kill(self, node: int = 0) -> None:
        """End one node at once, as a crash would; `node` counts from 0."""
        self._nodes[node].kill()

    def send(self, number: int, node: int = 0) -> None:
        """Send a signal to one node: SIGSTOP and SIGCONT make a broker that is there but does not answer."""
        self._nodes[node].send(number)

    def is_running(self, node: int = 0) -> bool:
        """Whether a node's process is there."""
        return self._nodes[node].is_running

    def restart(self, node: int = 0) -> None:
        """Start a killed node again on its old port with its old data; returns when clients can connect."""
        if self._nodes[node].is_running:
            self._nodes[node].stop(_STOP_S)
        self._nodes[node] = self._start_node(node, ())
        self._await_nodes(only=node)

    def create_topic(
        self,
        name: str,
        *,
        partitions: int = 1,
        config: Mapping[str, str] | None = None,
    ) -> None:
        """Create a topic, replicated to every node; returns when the cluster has it."""
        admin = AdminClient({**self.administration, "log_level": 4})
        topic = NewTopic(name, partitions, self._size, config=dict(config or {}))
        admin.create_topics([topic])[name].result(30)

    def logs(self, node: int = 0) -> str:
        """Return the end of what one node logged."""
        if self._directory is None:
            return ""
        log = self._directory / f"node{node}.log"
        return self._nodes[node].output() + (log.read_text(errors="replace")[-3000:] if log.exists() else "")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _write_properties(self, directory: Path) -> None:
        self.properties = {"security.protocol": broker.security_protocol(sasl=self._sasl, tls=self._tls)}
        stores = None
        if self._tls:
            self.authority = CertificateAuthority(directory)
            stores = broker.Stores(self.authority.issue("localhost"), self.authority.path)
            self.properties["ssl.ca.location"] = str(stores.truststore)
        if self._sasl:
            self.properties |= {
                "sasl.mechanisms": "SCRAM-SHA-512",
                "sasl.username": "app",
                "sasl.password": secrets.token_hex(16),
            }
        for n in range(self._size):
            text = broker.node_properties(
                n,
                self._listeners,
                self.data(n),
                sasl=self._sasl,
                tls=stores,
                overrides=self._overrides,
            )
            (directory / f"node{n}.properties").write_text(text)

    def _format(self, directory: Path) -> None:
        """Give every node its storage, the quorum's first members and the SCRAM user; all nodes at once."""
        quorum = ",".join(
            f"{n + 1}@127.0.0.1:{each.controller}:{_kafka_uuid()}" for n, each in enumerate(self._listeners)
        )
        users = []
        if self._sasl:
            secret = self.properties["sasl.password"]
            users = ["--add-scram", f"SCRAM-SHA-512=[name=app,password={secret}]"]
        tools = []
        for n in range(self._size):
            arguments = ["format", "-t", self.cluster_id, "-c", str(directory / f"node{n}.properties")]
            arguments += ["--initial-controllers", quorum, *users]
            tools.append(self._run("kafka.tools.StorageTool", arguments, f"format{n}", ()))
        for n, tool in enumerate(tools):
            if tool.wait(_START_S):
                raise TransientError(f"node {n}'s storage could not be formatted:\n{tool.output()}")

    def _shared_classes(self, java: Path, jars: Path) -> Sequence[str]:
        """Use the archive of loaded classes, or write one at the end of this first run: it halves the start."""
        same = hashlib.sha256(str(java.resolve()).encode() + self._class_path.encode()).hexdigest()[:16]
        archive = jars.parent / f"classes-{same}.jsa"
        if archive.exists():
            return (f"-XX:SharedArchiveFile={archive}", "-Xshare:auto")
        if self._size > 1:
            return ()
        self._archive = archive.with_suffix(f".{os.getpid()}")
        return (f"-XX:ArchiveClassesAtExit={self._archive}",)

    def _start_node(self, node: int, flags: Sequence[str]) -> Program:
        assert self._directory is not None
        return self._run("kafka.Kafka", [str(self._directory / f"node{node}.properties")], f"node{node}", flags)

    def _run(self, main: str, arguments: Sequence[str], name: str, flags: Sequence[str]) -> Program:
        assert self._directory is not None
        log = f"-Dkafka.log.file={self._directory / name}.log"
        command = [*self._command, *flags, log, "-cp", self._class_path, main, *arguments]
        return Program(command, self._directory / f"{name}.out")

    def _await_nodes(self, *, only: int | None = None) -> None:
        # The client listener opens only after the broker has been unfenced, so a connection proves readiness.
        for n in range(self._size) if only is None else (only,):
            await_port(self._nodes[n], self._listeners[n].client, name=f"Kafka node {n}", timeout_s=_START_S)


def _kafka_uuid() -> str:
    """Return 16 random bytes in URL-safe base64 that do not begin with a dash, which a command line would misread."""
    return base64.urlsafe_b64encode(b"\x01" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
