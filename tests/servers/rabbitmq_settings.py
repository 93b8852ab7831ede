"""The settings of a RabbitMQ node for quick tests, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.servers.ports import release_port, reserve_port

# Of the user `guest`: something that no log, event, metric, span or page may show (tests/canary.py).
PASSWORD = "canary-password"  # noqa: S105 - of nodes that live as long as a test run

QUICK: Mapping[str, str] = {
    "default_pass": PASSWORD,
    "loopback_users": "none",  # guest from wherever the test's client seems to come from
    "disk_free_limit.absolute": "1MB",  # 50 MB by default: a full disk of a developer must not block publishers
    "log.console": "true",
    "log.console.level": "warning",
    "management.rates_mode": "none",  # nobody looks at rates, and they cost a busy machine
    "collect_statistics_interval": "1000",  # 5 s by default: how old the management API's numbers are
}

# Not in rabbitmq.conf's schema. The channel tick is a minute by default: up to 4.2 it is how often a consumer timeout is looked for.
ADVANCED = "[{rabbit, [{channel_tick_interval, 1000}]}].\n"


@dataclass(frozen=True, slots=True)
class NodePorts:
    """The four ports of a node: clients, the management API, other nodes, and its own name service."""

    client: int
    management: int
    distribution: int
    names: int

    @classmethod
    def reserve(cls) -> NodePorts:
        """Four ports that stay ours until released."""
        return cls(reserve_port(), reserve_port(), reserve_port(), reserve_port())

    def release(self) -> None:
        """Give them back."""
        for port in (self.client, self.management, self.distribution, self.names):
            release_port(port)


def configuration(ports: NodePorts, extra: Mapping[str, str]) -> str:
    """Return the text of rabbitmq.conf."""
    settings = {
        "listeners.tcp.default": f"127.0.0.1:{ports.client}",
        "management.tcp.ip": "127.0.0.1",
        "management.tcp.port": str(ports.management),
        **QUICK,
        **extra,
    }
    return "".join(f"{name} = {value}\n" for name, value in settings.items())


def environment(ports: NodePorts, folder: str) -> dict[str, str]:
    """Return the environment of a node whose files are in `folder`, as it sees that folder; of its commands too."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": folder,  # the cookie by which a node and its commands know each other
        "RABBITMQ_NODENAME": f"holdgate-{ports.client}@localhost",
        "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
        "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
        "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
        "RABBITMQ_MNESIA_BASE": f"{folder}/data",
        "RABBITMQ_LOG_BASE": f"{folder}/log",
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_DIST_PORT": str(ports.distribution),
        "ERL_EPMD_PORT": str(ports.names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_CRASH_DUMP_SECONDS": "0",  # a command whose node is gone would leave one in the folder that the tests were called in
        # The script then becomes the node, instead of waiting beside it: signals reach the node itself, and a run that was killed leaves
        # none behind.
        "RUNNING_UNDER_SYSTEMD": "true",
        # One scheduler that sleeps when idle: by default each core gets one that spins for a while.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
    }
