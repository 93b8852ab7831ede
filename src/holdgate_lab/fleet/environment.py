"""Everything that workers find around them: the clock, the brokers, the dependencies, what arrives, and the checker that looks on."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from holdgate.testing.memory.models import QueueSettings
from holdgate_lab.fleet.brokers import FleetBroker
from holdgate_lab.fleet.checker import Checker
from holdgate_lab.fleet.clock import Schedule
from holdgate_lab.fleet.dependency import ModelDependency
from holdgate_lab.fleet.scenario import DependencySpec, Scenario
from holdgate_lab.fleet.traffic import CountedLog, StreamTraffic

# Messages that arrive within this time arrive together: nobody could tell, and it spares an act for each.
_TOGETHER = 0.005
# The dependency of this name, where nothing needs it, is where dead letters go.
LETTERS = "dead letters"


class Environment:
    """One scenario with one seed. `is_strict`: broken invariants are noted. `tell` hears the story, line by line."""

    def __init__(self, scenario: Scenario, seed: int, *, is_strict: bool, tell: Callable[[str], None] | None = None) -> None:
        self.scenario = scenario
        self.seed = seed
        self.schedule = Schedule()
        self.traffic = {spec.name: StreamTraffic(spec, seed) for spec in scenario.streams}
        self.checker = Checker(scenario, self.traffic, self.schedule, is_strict=is_strict, tell=tell)
        self.broker = FleetBroker(self.schedule, self.checker, Random(f"{seed}/news"), scenario.rebalance_timeout)
        self.dependencies = {spec.name: self._dependency(spec) for spec in scenario.dependencies}
        self.needs = {spec.name: tuple(self.dependencies[name] for name in spec.needs) for spec in scenario.streams}
        needed = {name for spec in scenario.streams for name in spec.needs}
        self.letter_target = None if LETTERS in needed else self.dependencies.get(LETTERS)
        self.calls_by_name = dict.fromkeys(self.dependencies, 0)
        self.failures_by_name = dict.fromkeys(self.dependencies, 0)
        self._fill_brokers()

    def called(self, dependency: ModelDependency, *, failed: bool, wasted: bool) -> None:
        """A message's call has ended for its caller."""
        name = dependency.spec.name
        self.calls_by_name[name] += 1
        self.failures_by_name[name] += failed
        self.checker.called(failed=failed, wasted=wasted)

    def _dependency(self, spec: DependencySpec) -> ModelDependency:
        faults = [fault for fault in self.scenario.faults if fault.dependency == spec.name]
        return ModelDependency(spec, faults, Random(f"{self.seed}/{spec.name}").random)

    def _fill_brokers(self) -> None:
        model = self.broker.model
        for spec in self.scenario.topics:
            traffic = self.traffic[spec.name]
            model.topics[spec.name] = [CountedLog(traffic, source) for source in traffic.partitions_of_topic]
        for queue in self.scenario.queues:
            settings = QueueSettings(delivery_limit=queue.delivery_limit, nack_counts=queue.nack_counts, single_active=queue.single_active)
            model.create_queue(queue.name, settings)
        for name, traffic in self.traffic.items():
            self._arrive(name, traffic)

    def _arrive(self, name: str, traffic: StreamTraffic) -> None:
        before = traffic.produced
        traffic.produced = traffic.arrived_by(self.schedule.now)
        self.checker.produced += traffic.produced - before
        model = self.broker.model
        if name in model.topics:
            for log in model.topics[name]:
                if isinstance(log, CountedLog):
                    log.grow()
        else:
            for _ in range(traffic.produced - before):
                model.queues[name].publish(None, self.schedule.now)
        if traffic.spec.rate > 0 and self.schedule.now < self.scenario.seconds:
            self.schedule.after(max(1 / traffic.spec.rate, _TOGETHER), lambda: self._arrive(name, traffic))
        self.broker.arrived()
