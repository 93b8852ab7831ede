"""The settings of a Kafka broker for quick tests, each with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.servers.kafka_broker import BrokerPorts

QUICK: Mapping[str, str] = {
    "group.initial.rebalance.delay.ms": "0",  # 3 s by default: the wait for more members before the first join ends
    "group.min.session.timeout.ms": "1000",  # 6 s by default: eviction tests need not wait for that
    "broker.session.timeout.ms": "4000",  # 9 s by default: how long a killed broker is kept from coming back, and its leaders from moving
    "broker.heartbeat.interval.ms": "500",
    "min.insync.replicas": "1",
    "offsets.topic.num.partitions": "1",  # 50 by default: opening them is most of a first join
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",  # 50 by default, for the state of share groups
    "share.coordinator.state.topic.min.isr": "1",
    "group.share.min.record.lock.duration.ms": "1000",  # 15 s by default: tests of lapsed locks need not wait for that
    "group.share.min.session.timeout.ms": "1000",
    "group.share.min.heartbeat.interval.ms": "200",
    "group.share.heartbeat.interval.ms": "300",  # 5 s by default: a member that joins learns its share with the second heartbeat
    "group.share.assignment.interval.ms": "100",
    "log.retention.check.interval.ms": "500",  # 5 min by default: retention tests watch offsets go out of range
    "log.initial.task.delay.ms": "0",  # 30 s by default, before the first such check
    "log.segment.delete.delay.ms": "500",
    "log.cleaner.backoff.ms": "500",  # 15 s by default: compaction tests watch gaps appear
    "log.cleaner.dedupe.buffer.size": "4194304",  # 128 MiB by default, a quarter of the heap
    "auto.create.topics.enable": "false",  # a test of a missing topic, or with a typo, must not make one
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
}

# Of a broker that no test kills: a busy machine lets it stand still for seconds, after which its own controller would fence it. Nothing on
# it has a leader then, and nobody can make a topic.
# It lives as long as the run, mostly without work. Of the 7.5 % of a core that it took then, 4 % were the two heartbeats a second that
# killed ones need, and the records without content that the controller writes as often, for clusters whose members fall behind.
NEVER_KILLED: Mapping[str, str] = {
    "broker.session.timeout.ms": "60000",
    "broker.heartbeat.interval.ms": "2000",
    "metadata.max.idle.interval.ms": "0",  # 500 by default; 0 is never
}


def properties(number: int, cluster: Sequence[BrokerPorts], folder: Path, extra: Mapping[str, str]) -> str:
    """Return the text of server.properties for one broker of a cluster, numbered from 1."""
    own = cluster[number - 1]
    replicas = str(len(cluster))
    settings = {
        "process.roles": "broker,controller",
        "node.id": str(number),
        "controller.quorum.voters": ",".join(f"{voter}@127.0.0.1:{ports.controller}" for voter, ports in enumerate(cluster, 1)),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
        # Clients that come through the proxy must be sent back through it: its address is what this listener advertises.
        "listeners": f"PLAINTEXT://127.0.0.1:{own.client},PROXIED://127.0.0.1:{own.behind_proxy},CONTROLLER://127.0.0.1:{own.controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{own.client},PROXIED://127.0.0.1:{own.proxy}",
        "log.dirs": str(folder / "data"),
        "default.replication.factor": replicas,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "share.coordinator.state.topic.replication.factor": replicas,
        **QUICK,
        **extra,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


# Warnings and errors are what a person looks for when a broker did not come up.
LOG4J = """\
status = error
appender.file.type = Console
appender.file.name = STDOUT
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{HH:mm:ss,SSS} %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.file.ref = STDOUT
"""
