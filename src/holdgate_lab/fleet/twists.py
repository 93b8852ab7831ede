"""What a random scenario has besides its scenario: uses of the engine that scenario files do not express.

Batches, fallbacks, exceptions that several dependencies take for their own, a server's Retry-After, and an operator's words on circuits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Literal

from holdgate.core import Circuit, Outcome
from holdgate.flow.inbox import Order
from holdgate.flow.policy import FallbackSettings, Needs
from holdgate.flow.state import Run
from holdgate_lab.fleet.attempt import DependencyFailed, Judging
from holdgate_lab.fleet.scenario import Scenario
from holdgate_lab.fleet.strategy import Strategy

if TYPE_CHECKING:
    from holdgate_lab.fleet.worker import Worker

Word = Literal["force_open", "disable", "observe", "reset"]
_WORDS: tuple[Word, ...] = ("force_open", "disable", "observe", "reset")
# How many of the scenarios have it.
_FEW, _SOME = 0.15, 0.25


@dataclass(frozen=True, slots=True)
class Command:
    """An operator's word on one dependency in every worker that lives then, for `seconds`."""

    at: float
    dependency: str
    word: Word
    seconds: float


@dataclass(frozen=True, slots=True)
class Twists:
    """`batch`: messages that a handler gets at a time; None: one, not in a batch. `fallback`: there is one, after so many seconds; None:
    there is none. `failing_fallbacks`: the share of them. `claims`: each dependency takes the exceptions of all for its own.
    `retry_after`: seconds that a failure asks to wait; None: it does not."""

    batch: int | None = None
    fallback: float | None = None
    failing_fallbacks: float = 0.0
    claims: bool = False
    retry_after: float | None = None
    commands: tuple[Command, ...] = ()


PLAIN = Twists()


class TwistedJudging(Judging):
    """Judges as the twists say."""

    def __init__(self, name: str, twists: Twists) -> None:
        super().__init__(name)
        self._twists = twists

    def classify(self, exception: BaseException) -> Outcome | None:
        if self._twists.claims and isinstance(exception, DependencyFailed):
            return Outcome.FAILURE
        return super().classify(exception)

    def retry_after_of(self, exception: BaseException) -> float | None:
        return self._twists.retry_after if self.classify(exception) is Outcome.FAILURE else None


class Twisted(Strategy):
    """What holdgate does, with twists."""

    def __init__(self, twists: Twists) -> None:
        self._twists = twists
        self.failing_fallbacks = twists.failing_fallbacks

    def judge(self, name: str) -> Judging:
        return TwistedJudging(name, self._twists)

    def begun(self, worker: Worker) -> None:
        for command in self._twists.commands:
            if command.at >= worker.now:
                worker.later(command.at - worker.now, partial(_obey, worker, command))

    def _run(self, scenario: Scenario, needs: Needs, order: Order, inbox: int, *, rejects: bool) -> Run:
        plain = super()._run(scenario, needs, order, inbox, rejects=rejects)
        batch = None if order == "key" or self._twists.batch is None else min(self._twists.batch, inbox)
        after = self._twists.fallback
        fallback = None if after is None or batch is not None else FallbackSettings(after, None)
        return Run(
            needs,
            order=order,
            concurrency=None if order == "source" and scenario.concurrency is None else plain.concurrency,
            inbox=inbox + (batch or 0),
            span=scenario.span,
            retry=scenario.retry,
            rejects=rejects,
            batch=batch,
            fallback=fallback,
        )


def _obey(worker: Worker, command: Command) -> None:
    circuit: Circuit = worker.engine.gates[command.dependency].circuit
    until = worker.now + command.seconds
    if command.word == "reset":
        circuit.reset(worker.now)
    elif command.word == "force_open":
        circuit.force_open(worker.now, until=until)
    elif command.word == "disable":
        circuit.disable(worker.now, until=until)
    else:
        circuit.observe(worker.now, until=until)
    worker.turn()


def random_twists(seed: int, scenario: Scenario) -> Twists:
    """The twists of this seed; most have none or one."""
    chance = Random(f"twists {seed}")
    names = [spec.name for spec in scenario.dependencies]
    return Twists(
        batch=chance.choice((2, 5, 50)) if chance.random() < _SOME else None,
        fallback=chance.choice((0.0, 0.5)) if chance.random() < _FEW else None,
        failing_fallbacks=chance.choice((0.0, 0.3)),
        claims=chance.random() < _FEW,
        retry_after=chance.choice((0.3, 2.0)) if chance.random() < _FEW else None,
        commands=tuple(_command(chance, names, scenario.seconds) for _ in range(chance.choice((0, 0, 0, 1, 3)))),
    )


def _command(chance: Random, names: list[str], seconds: float) -> Command:
    at = round(chance.uniform(0, seconds - 4), 2)
    return Command(at, chance.choice(names), chance.choice(_WORDS), chance.choice((0.2, 1.0, 3.0)))
