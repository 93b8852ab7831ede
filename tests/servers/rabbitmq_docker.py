"""RabbitMQ in Docker, by testcontainers, on machines where an engine answers."""

from __future__ import annotations

from typing import Any

# The series that Debian's oldest supported release has: what the tests expect when nothing else is asked for.
DEFAULT = "3.10"


def start_rabbitmq(version: str | None = None) -> Any:
    """Start a node of this series; the caller stops it. Its address: `get_connection_params`, or host and exposed port 5672."""
    # Here, not above: importing testcontainers looks for an engine.
    from testcontainers.community.rabbitmq import RabbitMqContainer  # noqa: PLC0415

    return RabbitMqContainer(f"rabbitmq:{version or DEFAULT}-management").with_exposed_ports(15672).start()
