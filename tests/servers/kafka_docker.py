"""Kafka in Docker, by testcontainers, on machines where an engine answers."""

from __future__ import annotations

import os
import socket
from typing import Any

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException

from tests.servers.kafka_settings import QUICK

# A dead socket must not make every test run wait.
ENGINE_TIMEOUT = 3


def docker_answers() -> bool:
    """Whether there is a Docker engine, not only its client."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    # Looked at without docker's client first: where nothing listens, that one leaves a socket open behind it.
    if host.startswith("unix://") and not _listens(host.removeprefix("unix://")):
        return False
    try:
        client = docker.from_env(timeout=ENGINE_TIMEOUT)
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except (DockerException, RequestException):
        return False
    finally:
        client.close()


def start_kafka() -> Any:
    """Start a broker with the quick settings; the caller stops it."""
    # Here, not above: importing testcontainers looks for an engine.
    from testcontainers.community.kafka import KafkaContainer  # noqa: PLC0415

    container = KafkaContainer().with_kraft()
    for name, value in QUICK.items():
        container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    return container.start()


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
