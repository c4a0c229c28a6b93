"""What a node of the local cluster is told: its properties, its logging, its JVM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

JVM_FLAGS = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")

LOG4J = """status=error
appender.f.type=File
appender.f.name=F
appender.f.fileName=${sys:kafka.log.file}
appender.f.layout.type=PatternLayout
appender.f.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=WARN
rootLogger.appenderRef.f.ref=F
"""


@dataclass(frozen=True, slots=True)
class Listeners:
    """One node's loopback ports: for clients, for clients with certificates, between brokers, for the KRaft quorum."""

    client: int
    mutual: int
    internal: int
    controller: int

    def addresses(self, *, tls: bool) -> str:
        """Return the listeners as a node's properties name them; the one for client certificates only with TLS."""
        mutual = f"MUTUAL://127.0.0.1:{self.mutual}," if tls else ""
        return (
            f"CLIENT://127.0.0.1:{self.client},{mutual}INTERNAL://127.0.0.1:{self.internal},"
            f"CONTROLLER://127.0.0.1:{self.controller}"
        )


def security_protocol(*, sasl: bool, tls: bool) -> str:
    """Return the client listener's protocol in Kafka's own word."""
    return ("SASL_" if sasl else "") + ("SSL" if tls else "PLAINTEXT")


class Stores(NamedTuple):
    """PEM files: the server's key and certificates, and the CA that clients' certificates must be of."""

    keystore: Path
    truststore: Path


def node_properties(
    node: int,
    nodes: Sequence[Listeners],
    data: Path,
    *,
    sasl: bool,
    tls: Stores | None,
    overrides: Mapping[str, str],
) -> str:
    """
    Return the text of one node's `server.properties`.

    Args:
        node: index into `nodes`, from 0; the node id is one more.
        nodes: every node's listeners.
        data: the node's log directory.
        sasl: whether clients must authenticate by SCRAM-SHA-512.
        tls: the node's certificates, None for no TLS.
        overrides: properties that win over these.
    """
    own = nodes[node]
    protocol = security_protocol(sasl=sasl, tls=tls is not None)
    properties = {
        "process.roles": "broker,controller",
        "node.id": str(node + 1),
        "controller.quorum.bootstrap.servers": ",".join(f"127.0.0.1:{each.controller}" for each in nodes),
        "listeners": own.addresses(tls=tls is not None),
        "advertised.listeners": own.addresses(tls=tls is not None),
        "listener.security.protocol.map": f"CLIENT:{protocol},MUTUAL:SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "INTERNAL",
        "log.dirs": str(data),
        **_replication(len(nodes)),
        **_SMALL,
    }
    if sasl:
        properties["sasl.enabled.mechanisms"] = "SCRAM-SHA-512"
        properties["listener.name.client.scram-sha-512.sasl.jaas.config"] = (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        )
    if tls is not None:
        properties |= {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(tls.keystore)}
        properties |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(tls.truststore)}
        properties["listener.name.mutual.ssl.client.auth"] = "required"
    return "".join(f"{name}={value}\n" for name, value in (properties | dict(overrides)).items())


# Three partitions of each internal topic and few threads: a node of a test needs no more, and starts sooner. Without
# the zero delay every new consumer group waits 3 s; a killed node comes back when its session (9 s) has expired.
_SMALL = {
    "num.partitions": "3",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "3",
    "transaction.state.log.num.partitions": "3",
    "group.initial.rebalance.delay.ms": "0",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "4000",
    "num.network.threads": "2",
    "num.io.threads": "2",
    "group.coordinator.threads": "1",
    "log.cleaner.threads": "1",
    "log.cleaner.dedupe.buffer.size": str(4 << 20),
}


def _replication(nodes: int) -> dict[str, str]:
    factor = str(min(3, nodes))
    in_sync = "2" if nodes >= 3 else "1"
    return {
        "default.replication.factor": factor,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": factor,
        "transaction.state.log.replication.factor": factor,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": factor,
        "share.coordinator.state.topic.min.isr": in_sync,
        # One node has nobody to hand its partitions to, and would wait for it.
        "controlled.shutdown.enable": "true" if nodes > 1 else "false",
    }
