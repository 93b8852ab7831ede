"""Everything around the workers: the clock, the model brokers, the dependencies, what arrives, and who comes and goes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from random import Random

from holdgate.testing.memory.model import Broker
from holdgate.testing.memory.rabbitmq_model import QueueSettings
from holdgate_lab.fleet.dependency import ModelDependency
from holdgate_lab.fleet.scenario import DependencySpec, MemberEvent, Scenario
from holdgate_lab.fleet.schedule import Schedule
from holdgate_lab.fleet.strategy import Strategy
from holdgate_lab.fleet.topic_reader import TopicReader
from holdgate_lab.fleet.traffic import CountedLog, Traffic
from holdgate_lab.fleet.witness import Witness
from holdgate_lab.fleet.worker import Worker

# Workers of a fleet do not start in the same instant.
_APART = 0.001
# Messages that arrive within this time arrive together: nobody could tell, and it spares an act for each.
_TOGETHER = 0.005
# The dependency of this name, where nothing needs it, is where dead letters go.
LETTERS = "dead letters"
# RabbitMQ closes a connection without heartbeats after this.
_HEARTBEAT = 60.0


class World:
    """One scenario with one strategy and one seed, ready to be stepped through."""

    def __init__(
        self,
        scenario: Scenario,
        strategy: Strategy,
        seed: int,
        *,
        tell: Callable[[str], None] | None = None,
        worker: Callable[[World, int, Strategy, int], Worker] = Worker,
    ) -> None:
        self.scenario = scenario
        self.seed = seed
        self.schedule = Schedule()
        self.traffic = {spec.name: Traffic(spec, seed) for spec in scenario.streams}
        self.witness = Witness(scenario, self.traffic, self.schedule, is_strict=strategy.is_strict, tell=tell)
        self.broker = Broker(self.witness)
        self.group = self.broker.group("fleet", scenario.rebalance_timeout)
        self.dependencies = {spec.name: self._dependency(spec) for spec in scenario.dependencies}
        self.needs = {spec.name: tuple(self.dependencies[name] for name in spec.needs) for spec in scenario.streams}
        needed = {name for spec in scenario.streams for name in spec.needs}
        self.letter_target = None if LETTERS in needed else self.dependencies.get(LETTERS)
        self.calls_by_name = dict.fromkeys(self.dependencies, 0)
        self.failures_by_name = dict.fromkeys(self.dependencies, 0)
        self.workers: dict[int, Worker] = {}
        self._strategy = strategy
        self._new_worker = worker
        self._members = 0
        self._lives = 0
        self._excused_generations = 0
        self._expiry_at: float | None = None
        self._fill_brokers()
        self._plan_events()

    def _dependency(self, spec: DependencySpec) -> ModelDependency:
        faults = [fault for fault in self.scenario.faults if fault.dependency == spec.name]
        return ModelDependency(spec, faults, Random(f"{self.seed}/{spec.name}").random)

    # -- what there is, and what arrives ----------------------------------------------------------------------------------------------

    def _fill_brokers(self) -> None:
        for spec in self.scenario.topics:
            traffic = self.traffic[spec.name]
            self.broker.topics[spec.name] = [CountedLog(traffic, source) for source in traffic.partitions_of_topic]
        for queue in self.scenario.queues:
            settings = QueueSettings(delivery_limit=queue.delivery_limit, nack_counts=queue.nack_counts, single_active=queue.single_active)
            self.broker.create_queue(queue.name, settings)
        for name, traffic in self.traffic.items():
            self._arrive(name, traffic)

    def _arrive(self, name: str, traffic: Traffic) -> None:
        before = traffic.produced
        traffic.produced = traffic.arrived_by(self.schedule.now)
        self.witness.produced += traffic.produced - before
        if name in self.broker.topics:
            for log in self.broker.topics[name]:
                if isinstance(log, CountedLog):
                    log.grow()
        else:
            for _ in range(traffic.produced - before):
                self.broker.queues[name].publish(None, self.schedule.now)
        if traffic.spec.rate > 0 and self.schedule.now < self.scenario.seconds:
            self.schedule.after(max(1 / traffic.spec.rate, _TOGETHER), lambda: self._arrive(name, traffic))
        self._look_again(Worker.look_for_messages)

    def look_at_queues(self) -> None:
        """A queue has something again that was out before."""
        self._look_again(Worker.look_for_messages)

    def _look_again(self, look: Callable[[Worker], None]) -> None:
        for worker in self.workers.values():
            if worker.is_alive:
                look(worker)

    def called(self, dependency: ModelDependency, *, failed: bool, wasted: bool) -> None:
        """A message's call has ended for its caller."""
        name = dependency.spec.name
        self.calls_by_name[name] += 1
        self.failures_by_name[name] += failed
        self.witness.called(failed=failed, wasted=wasted)

    # -- who comes and goes -----------------------------------------------------------------------------------------------------------

    def _plan_events(self) -> None:
        for number in range(self.scenario.workers):
            self.schedule.at(number * _APART, partial(self._join, number))
        for event in self.scenario.members:
            self.schedule.at(event.at, partial(self._happen, event))
        for fault in self.scenario.faults:
            words = f"{fault.dependency}: {fault.kind}"
            self.schedule.at(fault.at, partial(self.witness.say, f"{words} begins"))
            self.schedule.at(fault.until, partial(self.witness.say, f"{words} ends"))

    def _join(self, number: int) -> None:
        worker = self.workers.get(number)
        if worker is None or not worker.is_alive:
            self._lives += 1
            self._excused_generations += 1
            self.workers[number] = worker = self._new_worker(self, number, self._strategy, self._lives)
            worker.start()
            self._strategy.begun(worker)

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
        elif worker.is_frozen:
            return
        elif event.kind == "freeze":
            worker.freeze(event.seconds)
            if event.seconds > self.scenario.session_timeout:
                self._miss(worker, self.scenario.session_timeout)
            if event.seconds > _HEARTBEAT:
                self.schedule.after(_HEARTBEAT, worker.lose_queues)
        elif event.kind == "leave":
            worker.leave()
        else:
            worker.drop()

    def _miss(self, worker: Worker, seconds: float) -> None:
        """The group finds out that a member is silent."""
        for reader in worker.readers:
            if isinstance(reader, TopicReader):
                self.schedule.after(seconds, partial(self.leave_group, reader.member))

    # -- the consumer group -----------------------------------------------------------------------------------------------------------

    def new_member(self) -> str:
        """A name that no member of the group has had."""
        self._members += 1
        return f"member {self._members:05d}"

    def join_group(self, member: str, topics: Collection[str]) -> None:
        """A member joins."""
        self.group.join(member, topics, self.schedule.now)
        self.group_changed()

    def leave_group(self, member: str) -> None:
        """A member is gone."""
        if member in self.group.members:
            self.group.leave(member, self.schedule.now)
            self.group_changed()

    def group_changed(self) -> None:
        """Let every member find out, and let the group lose its patience in time."""
        if self.group.generation > self._excused_generations:
            words = f"the group has its generation {self.group.generation}, and {self._excused_generations} have a reason in the scenario"
            self.witness.complain("quiet", words)
        for worker in self.workers.values():
            if worker.is_alive:
                worker.hear()
        deadline = self.group.next_deadline()
        if deadline is not None and deadline != self._expiry_at:
            self._expiry_at = deadline
            self.schedule.at(deadline, self._expire)

    def _expire(self) -> None:
        evicted = self.group.expire(self.schedule.now)
        silent = {
            reader.member
            for worker in self.workers.values()
            if not worker.is_alive or worker.was_frozen
            for reader in worker.readers
            if isinstance(reader, TopicReader)
        }
        for member in sorted(evicted):
            self.witness.say(f"the group evicts {member}")
            if member not in silent and not self._is_forgotten(member):
                self.witness.complain("quiet", f"{member} is evicted: it has not given back in time")
            self._excused_generations += 1  # it comes back
        self.group_changed()

    def _is_forgotten(self, member: str) -> bool:
        """Whether the worker behind this member has been replaced by a later life of it."""
        known = {reader.member for worker in self.workers.values() for reader in worker.readers if isinstance(reader, TopicReader)}
        return member not in known
