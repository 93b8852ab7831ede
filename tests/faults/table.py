"""The whole table: every fault in every state on both brokers, as a cell or as the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping

from tests.faults import (  # noqa: F401  each of them adds its rows
    faults_of_channels,
    faults_of_dependencies,
    faults_of_groups,
    faults_of_messages,
    faults_of_networks,
    faults_of_workers,
)
from tests.faults.cells import FAULTS, Cell, cells

CELLS: Mapping[str, Cell] = {cell.id: cell for cell in cells(FAULTS)}

# One of each kind, and the states in turn: what a change is tried on before it is finished.
QUICK = (
    "Kafka-kill_-9-Ramping",
    "Kafka-it_refuses_connections-Tripping",
    "Kafka-a_member_joins-Half-open",
    "Kafka-SIGTERM-Open",
    "RabbitMQ-kill_-9-Half-open",
    "RabbitMQ-it_hangs-Closed",
    "RabbitMQ-the_channel_is_closed_with_unacked_messages-Open",
    "RabbitMQ-connections_are_reset-Ramping",
)

# What targets.md asks for and no real broker can show here.
ELSEWHERE: Mapping[str, str] = {}
