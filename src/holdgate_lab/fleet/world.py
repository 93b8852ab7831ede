"""A whole world: the environment, the workers in it, and who comes and goes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from holdgate_lab.fleet.environment import Environment
from holdgate_lab.fleet.scenario import MemberEvent, Scenario
from holdgate_lab.fleet.strategy import Strategy
from holdgate_lab.fleet.worker import FleetWorker

NewWorker = Callable[[Environment, int, Strategy, int], FleetWorker]

# Workers of a fleet do not start in the same instant.
_APART = 0.001
# RabbitMQ closes a connection without heartbeats after this.
_HEARTBEAT = 60.0


class World:
    """One scenario with one strategy and one seed, ready to be stepped through. `worker` makes the workers. End it with `end`."""

    def __init__(
        self,
        scenario: Scenario,
        strategy: Strategy,
        seed: int,
        *,
        tell: Callable[[str], None] | None = None,
        worker: NewWorker = FleetWorker,
    ) -> None:
        self.scenario = scenario
        self.environment = environment = Environment(scenario, seed, is_strict=strategy.is_strict, tell=tell)
        self.schedule = environment.schedule
        self.checker = environment.checker
        self.broker = environment.broker
        self.group = environment.broker.group
        self.traffic = environment.traffic
        self.dependencies = environment.dependencies
        self.workers: dict[int, FleetWorker] = {}
        self._strategy = strategy
        self._new_worker = worker
        self._lives = 0
        self._excused_generations = 0
        self.broker.group_changed = self._group_changed
        self.broker.evicted = self._evicted
        self._plan_events()

    def end(self) -> None:
        """End every process, wherever it is."""
        for worker in self.workers.values():
            worker.end()

    def _plan_events(self) -> None:
        for number in range(self.scenario.workers):
            self.schedule.at(number * _APART, partial(self._join, number))
        for event in self.scenario.members:
            self.schedule.at(event.at, partial(self._happen, event))
        for fault in self.scenario.faults:
            words = f"{fault.dependency}: {fault.kind}"
            self.schedule.at(fault.at, partial(self.checker.say, f"{words} begins"))
            self.schedule.at(fault.until, partial(self.checker.say, f"{words} ends"))

    # -- who comes and goes -----------------------------------------------------------------------------------------------------------

    def _join(self, number: int) -> None:
        worker = self.workers.get(number)
        if worker is None or not worker.is_alive:
            self._lives += 1
            self._excused_generations += 1
            self.workers[number] = worker = self._new_worker(self.environment, number, self._strategy, self._lives)
            worker.start()

    def _happen(self, event: MemberEvent) -> None:
        if event.kind == "join":
            self._join(event.worker)
            return
        worker = self.workers.get(event.worker)
        if worker is None or not worker.is_alive:
            return
        self._excused_generations += 2  # it goes, and may come back
        if event.kind == "kill":
            worker.kill()
            self._miss(worker, self.scenario.session_timeout)
        elif worker.process.is_frozen:
            return
        elif event.kind == "freeze":
            worker.process.freeze(event.seconds)
            if event.seconds > self.scenario.session_timeout:
                self._miss(worker, self.scenario.session_timeout)
            if event.seconds > _HEARTBEAT:
                self.schedule.after(_HEARTBEAT, worker.lose_queues)
        elif event.kind == "leave":
            worker.leave()
        else:
            worker.drop()

    def _miss(self, worker: FleetWorker, seconds: float) -> None:
        """The group finds out that a member is silent."""
        if worker.topics is not None:
            self.schedule.after(seconds, partial(self._leave_group, worker.topics.member))

    # -- the consumer group -----------------------------------------------------------------------------------------------------------

    def _leave_group(self, member: str) -> None:
        if member in self.group.members:
            self.group.leave(member, self.schedule.now)
            self.broker.changed()

    def _group_changed(self) -> None:
        if self.group.generation > self._excused_generations:
            words = f"the group has its generation {self.group.generation}, and {self._excused_generations} have a reason in the scenario"
            self.checker.complain("quiet", words)

    def _evicted(self, members: Collection[str]) -> None:
        known = {worker.topics.member: worker for worker in self.workers.values() if worker.topics is not None}
        for member in sorted(members):
            self.checker.say(f"the group evicts {member}")
            worker = known.get(member)  # None: a later life has taken its place
            if worker is not None and worker.is_alive and not worker.process.was_frozen:
                self.checker.complain("quiet", f"{member} is evicted: it has not given back in time")
            self._excused_generations += 1  # it comes back
