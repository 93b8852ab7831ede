"""How a worker treats failures: as holdgate does, or as one of the baselines that it is compared with.

A baseline is the same worker with less in it: `naive` has no circuits, tries a failed message of a partition again at once and gives one
of a queue back at once; `one probe` and `ten probes` have the usual breaker. All of them keep their order and their place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from holdgate.core import Circuit
from holdgate.errors import Reject
from holdgate.flow.engine import Engine
from holdgate.flow.inbox import Order
from holdgate.flow.message import Partition, Settlement
from holdgate.flow.policy import Needs, RetryPolicy
from holdgate.flow.state import Run
from holdgate_lab.fleet.attempt import Judging
from holdgate_lab.fleet.outcome import WorkerKind
from holdgate_lab.fleet.scenario import DependencySpec, Scenario
from holdgate_lab.fleet.stepping import SteppingCircuit

if TYPE_CHECKING:
    from holdgate_lab.fleet.lanes import AnyDelivery, Lanes
    from holdgate_lab.fleet.worker import Worker

# What a guard takes where an order lets many run and nobody said how many.
_LANES = 16
# "At once" has to be some time, or nothing else would ever happen.
_AT_ONCE = 0.001
_FOR_EVER = 10**9


class Strategy:
    """What holdgate does. The baselines override a part."""

    is_strict = True  # held to the invariants
    failing_fallbacks = 0.0  # the share of them

    def engine(self, draw: Callable[[], float]) -> Engine:
        """A fresh engine."""
        return Engine(draw=draw)

    def circuit(self, spec: DependencySpec, draw: Callable[[], float]) -> Circuit:
        """A fresh circuit for one dependency."""
        return Circuit(spec.name, spec.circuit, draw=draw)

    def judge(self, name: str) -> Judging:
        """Who says what is a failure of this dependency."""
        return Judging(name)

    def begun(self, worker: Worker) -> None:
        """A worker has started."""

    def topic_run(self, scenario: Scenario) -> Run:
        """The run that works on all topics."""
        needs = self._needs({spec.name: spec.needs for spec in scenario.topics})
        return self._run(scenario, needs, scenario.topic_order, scenario.inbox, rejects=scenario.dead_letters)

    def queue_run(self, scenario: Scenario) -> Run:
        """The run that works on all queues."""
        needs = self._needs({spec.name: spec.needs for spec in scenario.queues})
        return self._run(scenario, needs, scenario.queue_order, scenario.prefetch, rejects=True)

    def succeeded(self, worker: Lanes, delivery: AnyDelivery) -> None:
        """A handler did its work."""
        worker.done(delivery)

    def failed(self, worker: Lanes, delivery: AnyDelivery, error: Exception, *, timed_out: bool) -> None:
        """A handler raised."""
        worker.settle(delivery, error, timed_out=timed_out)

    def _retry(self, scenario: Scenario) -> RetryPolicy:
        return scenario.retry

    def _needs(self, needs: dict[str, tuple[str, ...]]) -> Needs:
        return Needs(needs)

    def _run(self, scenario: Scenario, needs: Needs, order: Order, inbox: int, *, rejects: bool) -> Run:
        concurrency = scenario.concurrency
        if concurrency is None and order != "source":
            concurrency = min(_LANES, inbox)
        return Run(
            needs, order=order, concurrency=concurrency, inbox=inbox, span=scenario.span, retry=self._retry(scenario), rejects=rejects
        )


class Naive(Strategy):
    """No circuit: every failure is the message's own, tried again at once until its attempts are used up, or its queue's limit is."""

    is_strict = False

    def failed(self, worker: Lanes, delivery: AnyDelivery, error: Exception, *, timed_out: bool) -> None:
        if isinstance(delivery.source, Partition) or isinstance(error, Reject):
            worker.settle(delivery, error, timed_out=timed_out, naive=True)
            return
        worker.engine.succeeded(delivery, worker.now)
        worker.acknowledge(delivery, Settlement.REQUEUE)
        worker.hand_out(delivery.assignment.run)

    def _needs(self, needs: dict[str, tuple[str, ...]]) -> Needs:
        return Needs(dict.fromkeys(needs, ()))

    def _retry(self, scenario: Scenario) -> RetryPolicy:
        attempts = scenario.retry.attempts if scenario.dead_letters else _FOR_EVER
        return RetryPolicy(attempts=attempts, initial_backoff=_AT_ONCE, max_backoff=_AT_ONCE, jitter=0.0)


class Stepping(Strategy):
    """The usual breaker with so many probes."""

    is_strict = False

    def __init__(self, probes: int) -> None:
        self._probes = probes

    def circuit(self, spec: DependencySpec, draw: Callable[[], float]) -> Circuit:
        return SteppingCircuit(spec.name, spec.circuit, self._probes, draw)


def strategy_of(kind: WorkerKind) -> Strategy:
    """The strategy of this name."""
    if kind == "naive":
        return Naive()
    return Strategy() if kind == "holdgate" else Stepping(1 if kind == "one probe" else 10)
