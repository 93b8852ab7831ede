"""One worker of the fleet: a real Guard in a process of its own, from its start to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from holdgate.core import Circuit
from holdgate.errors import GuardClosed
from holdgate.flow.inbox import Order
from holdgate.flow.message import AnyDelivery, Partition
from holdgate.ports import FleetLog
from holdgate.runtime.dependency import Dependency
from holdgate.tasks import begin_later
from holdgate_lab.fleet.brokers import FleetIntake
from holdgate_lab.fleet.clock import Process
from holdgate_lab.fleet.environment import Environment
from holdgate_lab.fleet.records import Parcel
from holdgate_lab.fleet.scenario import DependencySpec, Stream
from holdgate_lab.fleet.strategy import Command, Handler, Strategy
from holdgate_lab.fleet.watched import FleetEngine, FleetGuard, Watch
from holdgate_lab.fleet.work import FleetWork, Letters, Unprocessable


class FleetWorker:
    """Worker `number` of the fleet, in the world's life number `life`. `strategy` says how it treats failures."""

    engine_type: type[FleetEngine] = FleetEngine
    intake_type: type[FleetIntake] = FleetIntake

    def __init__(self, environment: Environment, number: int, strategy: Strategy, life: int) -> None:
        self.environment = environment
        self.number = number
        self._is_leaving = False
        self.strategy = strategy
        chance = Random(f"{environment.seed}/{number}/{life}")
        self.process = Process(
            f"worker {number}", environment.schedule, chance, tell=environment.checker.say, complain=environment.checker.complain
        )
        self.work = FleetWork(environment, self.process, self.parcel_of, strategy.failing_fallbacks)
        self.watch = Watch(self.process, environment.scenario, self.circuit)
        scenario = environment.scenario
        needs = strategy.needs(scenario)
        needed = {name for names in needs.values() for name in names}
        self.dependencies = {spec.name: self._dependency(spec) for spec in scenario.dependencies if spec.name in needed}
        self.guard = FleetGuard(
            self.watch,
            tuple(self.dependencies.values()),
            scenario.drain_timeout,
            is_idle=lambda: self.work.under_way == 0,
            make=self.engine_type,
            fleet=self.fleet(),
        )
        self.topics = self._intake(scenario.topics, scenario.topic_order, scenario.inbox)
        self.queues = self._intake(scenario.queues, scenario.queue_order, scenario.prefetch)
        self.intakes = [intake for intake in (self.topics, self.queues) if intake is not None]

    # -- what it is made of -----------------------------------------------------------------------------------------------------------

    @property
    def engine(self) -> FleetEngine:
        """The engine of its guard."""
        engine: Any = self.guard.engine
        watched: FleetEngine = engine
        return watched

    @property
    def is_alive(self) -> bool:
        """Whether the process exists."""
        return self.process.is_alive

    def fleet(self) -> tuple[FleetLog, Callable[[], float]] | None:
        """The log that it shares with others, and chance of the fleet's own. None: it decides alone."""
        return None

    def handler(self) -> Handler:
        """The handler of one delivery."""
        return self.strategy.handler(self.work, self.environment.scenario)

    def circuit(self, circuit: Circuit) -> Circuit:
        """The circuit of one dependency, given the guard's own."""
        return self.strategy.circuit(circuit, self.process.draw)

    def parcel_of(self, delivery: AnyDelivery) -> Parcel:
        """Which message a delivery is."""
        intake = self.topics if isinstance(delivery.source, Partition) else self.queues
        assert intake is not None  # noqa: S101 - for type checkers: it gave the delivery
        return intake.parcel(delivery)

    def _dependency(self, spec: DependencySpec) -> Dependency:
        model = self.environment.dependencies[spec.name]
        return Dependency(
            spec.name,
            failures=partial(self.strategy.is_failure, spec.name),
            # Said of the message's own failure, so that no strategy is told better of outages than another.
            excluded=Unprocessable,
            retry_after=partial(self.strategy.retry_after, spec.name),
            probe=partial(self.work.ask, model) if spec.probe else None,
            probe_timeout=2 * spec.timeout,  # the call itself is given up after its timeout
            settings=spec.circuit,
        )

    def _intake(self, streams: tuple[Stream, ...], order: Order, inbox: int) -> FleetIntake | None:
        if not streams:
            return None
        scenario = self.environment.scenario
        names = [stream.name for stream in streams]
        batch = self.strategy.batch(order, inbox) or 0
        return self.intake_type(
            self.environment.broker,
            self.process,
            self.environment.checker,
            self.environment.traffic,
            order=order,
            # A poll may come when the inbox is one short of full, and a lane takes a batch out of both.
            most=2 * inbox + 2 * batch + (scenario.span if order != "source" else 1),
            topics=names if streams is scenario.topics else (),
            queues=names if streams is scenario.queues else (),
            inbox=scenario.inbox,
            prefetch=scenario.prefetch,
            commit_every=scenario.commit_every,
            rebalance_timeout=scenario.rebalance_timeout,
        )

    # -- its life ---------------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        self.process.say("starts")
        task = self.process.loop.create_task(self._main(), name=self.process.name)
        task.add_done_callback(self._ended)
        for command in self.strategy.commands:
            if command.at >= self.process.now():
                self.process.loop.call_at(command.at, self._obey, command)

    def leave(self) -> None:
        """Drain and end."""
        self.process.say("drains")
        self._is_leaving = True
        self.process.loop.create_task(self.guard.stop(), name="stop")

    def kill(self) -> None:
        """Be gone: nothing of it acts any more."""
        self.process.say("is killed")
        self.end()

    def end(self) -> None:
        """End the process where it is; its connections break."""
        if self.process.is_alive:
            self.process.is_alive = False
            with self.environment.checker.excused():
                for intake in self.intakes:
                    intake.vanish()
            self.guard.hurry()
            self.process.loop.end()

    def drop(self) -> None:
        """Lose every connection."""
        self.process.say("loses its connections")
        for intake in self.intakes:
            self.process.loop.call_soon(self.environment.broker.drop, intake)

    def lose_queues(self) -> None:
        """The broker closes the channels of a worker that was silent for too long; it finds out when it goes on."""
        if self.is_alive and self.queues is not None:
            with self.environment.checker.excused():
                self.queues.break_channels()
            self.environment.broker.arrived()
            self.process.loop.call_soon(self.queues.drop)

    async def _main(self) -> None:
        async with self.guard:
            runs = [begin_later(self._run(intake), "run") for intake in self.intakes]
            if runs:
                await asyncio.wait(runs)
        for run in runs:
            if not (self._is_leaving and isinstance(run.exception(), GuardClosed)):  # asked to leave before it had begun
                run.result()

    async def _run(self, intake: FleetIntake) -> None:
        scenario, strategy, work = self.environment.scenario, self.strategy, self.work
        order = scenario.topic_order if intake is self.topics else scenario.queue_order
        batch = strategy.batch(order, intake.inbox)
        fallback = strategy.fallback(batch)
        needs = strategy.needs(scenario)
        await self.guard.run(
            intake,
            self.handler() if batch is None else work.handle_batch,
            needs={name: [self.dependencies[need] for need in needs[name]] for name in intake.names},
            order=order,
            key=self._key if order == "key" else None,
            concurrency=scenario.concurrency,
            span=scenario.span,
            fallback=None if fallback is None else work.fall_back,
            fallback_after=fallback or 0.0,
            timeout=scenario.timeout,
            retry=scenario.retry,
            dead_letters=Letters(work) if scenario.dead_letters else None,
            batch=batch,
        )

    def _key(self, delivery: AnyDelivery) -> int | None:
        return self.environment.traffic[delivery.source.name].facts_at(delivery.source, delivery.message.position).key

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.process.complain("runtime", f"{self.process.name} ends with {type(error).__name__}: {error}")
        if self.process.is_alive:
            self.process.say("has ended")
            self.process.is_alive = False

    def _obey(self, command: Command) -> None:
        gate = self.engine.gates.get(command.dependency)
        if gate is None:
            return
        now, circuit = self.process.now(), gate.circuit
        until = now + command.seconds
        if command.word == "reset":
            circuit.reset(now)
        elif command.word == "force_open":
            circuit.force_open(now, until=until)
        elif command.word == "disable":
            circuit.disable(now, until=until)
        else:
            circuit.observe(now, until=until)
        self.guard.turn()
