"""How a worker treats failures: as holdgate does, or as one of the baselines that it is compared with.

A baseline is the same worker with less in it: `naive` has no circuits, tries a failed message of a partition again immediately and gives
one of a queue back immediately; `one probe` and `ten probes` have the usual breaker. All of them keep their order and their place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from holdgate.core import Circuit
from holdgate.errors import Reject
from holdgate.flow.inbox import Order
from holdgate.flow.message import Delivery, Partition
from holdgate_lab.fleet.outcome import WorkerKind
from holdgate_lab.fleet.scenario import Scenario
from holdgate_lab.fleet.stepping import SteppingCircuit
from holdgate_lab.fleet.work import DependencyFailed, FleetWork

# "Immediately" has to be some time, or nothing else would ever happen.
_AT_ONCE = 0.001

Word = Literal["force_open", "disable", "observe", "reset"]
Handler = Callable[[Delivery[Any]], Any]


@dataclass(frozen=True, slots=True)
class Command:
    """An operator's word on one dependency in every worker that lives then, for `seconds`."""

    at: float
    dependency: str
    word: Word
    seconds: float


class Strategy:
    """What holdgate does. The baselines override a part."""

    is_strict = True  # held to the invariants
    failing_fallbacks = 0.0  # the share of them
    commands: Sequence[Command] = ()

    def circuit(self, circuit: Circuit, draw: Callable[[], float]) -> Circuit:  # noqa: ARG002 - for those that override it
        """The circuit of one dependency, given the guard's own."""
        return circuit

    def is_failure(self, name: str, error: BaseException) -> bool:
        """Whether this is a failure of the dependency of that name: its own failures are, every other exception is none of its business."""
        return isinstance(error, DependencyFailed) and error.dependency == name

    def retry_after(self, name: str, error: Exception) -> float | None:  # noqa: ARG002 - for those that override it
        """The seconds that a failure asks to wait; None when it does not."""
        return None

    def needs(self, scenario: Scenario) -> Mapping[str, Sequence[str]]:
        """What each topic and queue needs, as the guard is told."""
        return {spec.name: spec.needs for spec in scenario.streams}

    def batch(self, order: Order, inbox: int) -> int | None:  # noqa: ARG002 - for those that override it
        """How many messages a handler gets at a time; None: one, and not in a batch."""
        return None

    def fallback(self, batch: int | None) -> float | None:  # noqa: ARG002 - for those that override it
        """Seconds after which there is a fallback; None: there is none."""
        return None

    def handler(self, work: FleetWork, scenario: Scenario) -> Handler:  # noqa: ARG002 - for those that override it
        """The handler of one delivery."""
        return work.handle


class Naive(Strategy):
    """No circuit: every failure is the message's own, tried again immediately until its attempts are used up, or its queue's limit is."""

    is_strict = False

    def needs(self, scenario: Scenario) -> Mapping[str, Sequence[str]]:
        return {spec.name: () for spec in scenario.streams}

    def handler(self, work: FleetWork, scenario: Scenario) -> Handler:
        attempts = scenario.retry.attempts if scenario.dead_letters else None

        async def handle(delivery: Delivery[Any]) -> None:
            try:
                await work.handle(delivery)
            except Reject:
                raise
            except Exception:  # noqa: BLE001 - it does not look at what failed
                if not isinstance(delivery.source, Partition):
                    _give_back(delivery)
                    work.environment.broker.arrived()
                elif attempts is not None and delivery.attempt >= attempts:
                    delivery.reject("its attempts are used up")
                else:
                    delivery.retry(after=_AT_ONCE)

        return handle


def _give_back(delivery: Any) -> None:
    """Return a queue's message to its queue immediately, as `basic.nack` does. Its handler may return after that: nothing is unsettled."""
    channel = delivery.assigned.channel
    if delivery.position in channel.unacked:
        channel.nack(delivery.position)


class Stepping(Strategy):
    """The usual breaker with so many probes."""

    is_strict = False

    def __init__(self, probes: int) -> None:
        self._probes = probes

    def circuit(self, circuit: Circuit, draw: Callable[[], float]) -> Circuit:
        return SteppingCircuit(circuit.name, circuit.settings, self._probes, draw)


def strategy_of(kind: WorkerKind) -> Strategy:
    """The strategy of this name."""
    if kind == "naive":
        return Naive()
    return Strategy() if kind == "holdgate" else Stepping(1 if kind == "one probe" else 10)
