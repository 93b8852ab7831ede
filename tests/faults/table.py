"""The whole table: every fault in every state on every broker, as a cell or as the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tests.faults import (  # noqa: F401  each of them adds its rows
    faults_of_channels,
    faults_of_dependencies,
    faults_of_groups,
    faults_of_messages,
    faults_of_networks,
    faults_of_workers,
)
from tests.faults.cells import EARLY, FAULTS, Cell, cells

CELLS: Mapping[str, Cell] = {cell.id: cell for cell in cells(FAULTS)}


def find(name: str) -> Cell:
    """Return the cell of this name; with `!early` behind it the one whose worker makes a mistake."""
    return replace(CELLS[name.removesuffix(EARLY)], early=name.endswith(EARLY))


# One of each kind, and the states in turn: what a change is tried on before it is finished.
QUICK = (
    "Kafka-kill_-9-Ramping",
    "Kafka-it_refuses_connections-Tripping",
    "Kafka-a_member_joins-Half-open",
    "Kafka-SIGTERM-Shutting_down",
    "Kafka-poison_messages-Closed",
    "confluent-kafka-a_member_joins-Ramping",
    "RabbitMQ-kill_-9-Half-open",
    "RabbitMQ-the_channel_is_closed_with_unacked_messages-Open",
    "RabbitMQ-connections_are_reset-Ramping",
)

# The same for share groups, which the usual Kafka of the tests does not have (make test-matrix KAFKA_VERSIONS=4.4).
QUICK_SHARE = ("share-groups-poison_messages-Ramping",)

# What was asked for, and cannot be or is better shown elsewhere.
ELSEWHERE: Mapping[str, str] = {
    "a probe that is cancelled": "SIGTERM, a member that joins, and a channel that is closed, each in Half-open with the probe on its way",
    "a probe that times out": "it hangs, in Half-open, with a time limit for the handler; and the health probe that hangs",
    "session expiry": "SIGSTOP, a blocked event loop and a black hole, each for longer than the session",
    "state flips while a pause or a cancel is pending": "every step of it, on a virtual clock (tests/runtime/scenarios); "
    "here it is a dependency that flaps",
    "a backlog of 10^6 with the dependency at 60 %": "the simulator; a real broker takes an hour for it",
    "a store that is down, slow or corrupt": "there is no store: circuits live in their process",
}
