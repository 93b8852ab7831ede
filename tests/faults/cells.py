"""What a cell of the table is: a fault, done while a worker is in a state, on a broker; or the reason why there is none."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.faults.world import World


class State(Enum):
    """Where the worker's circuit is when the fault comes, or that the worker is on its way out."""

    CLOSED = "Closed"
    TRIPPING = "Tripping"
    OPEN = "Open"
    HALF_OPEN = "Half-open"
    RAMPING = "Ramping"
    SHUTTING_DOWN = "Shutting down"


class Broker(Enum):
    """What the worker consumes from, and for Kafka by which client."""

    KAFKA = "Kafka"
    CONFLUENT = "confluent-kafka"
    SHARE = "share-groups"
    RABBITMQ = "RabbitMQ"

    @property
    def is_kafka(self) -> bool:
        """Whether the broker is a Kafka, whatever the client."""
        return self is not Broker.RABBITMQ

    @property
    def server(self) -> Broker:
        """What kind of server its cells run on. Share groups have one of their own: they come with Kafka 4.2."""
        return Broker.KAFKA if self is Broker.CONFLUENT else self


class Ground(Enum):
    """What a cell runs on. SHARED: a broker that many cells use at once. PROXIED: behind a proxy. OWN: a broker that may be stopped and
    killed, one cell at a time. CLUSTER: three of them. IMPATIENT: a RabbitMQ with a consumer timeout of some seconds."""

    SHARED = "shared"
    PROXIED = "proxied"
    OWN = "own"
    CLUSTER = "cluster"
    IMPATIENT = "impatient"


EVERY_STATE = tuple(State)
# Seconds for which share groups lock a record here: longer than any state of a cell lasts by itself, so that what goes back is the fault's;
# short enough to be waited for.
LOCK = 8.0
EARLY = "!early"
# A row that is on Kafka through aiokafka alone: what it strikes is above the client.
ABOVE_CLIENTS = dict.fromkeys((Broker.CONFLUENT, Broker.SHARE), "no call of a client has a part in it, and Kafka has it through aiokafka")


@dataclass(frozen=True, slots=True)
class Fault:
    """A row. `strike` does it, heals what it broke in the world, and returns; its docstring says what it is.

    `prepare` is done before the state is reached, for what would take too long in it. `not_on` and `not_in` have the reasons why a broker
    or a state has no such cell. `worker`: arguments of the worker, `session`: of its Kafka membership, in seconds; `workers`: how many
    there are when it comes. `quiet`: it costs no rebalance and loses no channel. `partial`: calls fail outside of an outage, so that wasted
    ones say nothing. `dead`: the worker has a target for dead letters. `queue`: arguments of the RabbitMQ queue. `partitions`: of the Kafka
    topic. `grace`: seconds between what happens and what an observer writes.
    """

    name: str
    group: str
    sentence: str
    strike: Callable[[Any], Awaitable[None]]
    not_on: Mapping[Broker, str] = field(default_factory=dict)
    not_in: Mapping[State, str] = field(default_factory=dict)
    ground: Ground = Ground.SHARED
    worker: tuple[str, ...] = ()
    session: float | None = None
    workers: int = 1
    prepare: Callable[[Any], Awaitable[None]] | None = None
    quiet: bool = True
    partial: bool = False
    dead: bool = False
    queue: Mapping[str, Any] = field(default_factory=dict)
    partitions: int = 4
    grace: float = 0.5

    def reason(self, broker: Broker, state: State) -> str | None:
        """Why there is no such cell; None where there is one."""
        return self.not_on.get(broker) or self.not_in.get(state)


@dataclass(frozen=True, slots=True)
class Cell:
    """One place of the table that is run. `early`: with a worker that settles what it has not processed yet, to see the checker find it."""

    fault: Fault
    state: State
    broker: Broker
    early: bool = False

    @property
    def id(self) -> str:
        """Its name in reports and for `pytest -k`."""
        name = "-".join(word.replace(" ", "_") for word in (self.broker.value, self.fault.name, self.state.value))
        return name + EARLY if self.early else name


FAULTS: list[Fault] = []


def fault(
    name: str,
    group: str,
    *,
    only: Broker | None = None,
    because: str = "",
    without: Mapping[Broker, str] | None = None,
    not_in: Mapping[State, str] | None = None,
    **more: Any,
) -> Callable[[Callable[[World], Awaitable[None]]], Callable[[World], Awaitable[None]]]:
    """Make a row of an async function. `only` one broker has it, by any client, `because` the other one cannot.

    `without` says why a broker or a client has no such cells.
    """
    not_on = {} if only is None else {each: f"does not apply: {because}" for each in Broker if each.is_kafka is not only.is_kafka}
    not_on |= {broker: f"does not apply: {why}" for broker, why in (without or {}).items()}
    reasons = {state: f"does not apply: {why}" for state, why in (not_in or {}).items()}

    def add(strike: Callable[[World], Awaitable[None]]) -> Callable[[World], Awaitable[None]]:
        sentence = " ".join((inspect.getdoc(strike) or "").split())
        FAULTS.append(Fault(name, group, sentence, strike, not_on=not_on, not_in=reasons, **more))
        return strike

    return add


def cells(faults: Iterable[Fault]) -> list[Cell]:
    """Every cell that can be run."""
    return [
        Cell(each, state, broker) for each in faults for broker in Broker for state in EVERY_STATE if each.reason(broker, state) is None
    ]
