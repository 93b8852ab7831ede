"""What a random scenario has besides its scenario: uses of the guard that scenario files do not express.

Batches, fallbacks, exceptions that several dependencies take for their own, a server's Retry-After, and an operator's words on circuits.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from holdgate.flow.inbox import Order
from holdgate_lab.fleet.scenario import Scenario
from holdgate_lab.fleet.strategy import Command, Strategy, Word
from holdgate_lab.fleet.work import DependencyFailed

_WORDS: tuple[Word, ...] = ("force_open", "disable", "observe", "reset")
# How many of the scenarios have it.
_FEW, _SOME = 0.15, 0.25


@dataclass(frozen=True, slots=True)
class Extras:
    """`batch`: messages that a handler gets at a time; None: one, not in a batch. `fallback`: there is one, after so many seconds; None:
    there is none. `failing_fallbacks`: the share of them. `claims`: each dependency takes the exceptions of all for its own.
    `retry_after`: seconds that a failure asks to wait; None: it does not."""

    batch: int | None = None
    fallback: float | None = None
    failing_fallbacks: float = 0.0
    claims: bool = False
    retry_after: float | None = None
    commands: tuple[Command, ...] = ()


PLAIN = Extras()


class WithExtras(Strategy):
    """What holdgate does, with extras."""

    def __init__(self, extras: Extras) -> None:
        self._extras = extras
        self.failing_fallbacks = extras.failing_fallbacks
        self.commands = extras.commands

    def is_failure(self, name: str, error: BaseException) -> bool:
        return (self._extras.claims and isinstance(error, DependencyFailed)) or super().is_failure(name, error)

    def retry_after(self, name: str, error: Exception) -> float | None:
        return self._extras.retry_after if self.is_failure(name, error) else None

    def batch(self, order: Order, inbox: int) -> int | None:
        return None if order == "key" or self._extras.batch is None else min(self._extras.batch, inbox)

    def fallback(self, batch: int | None) -> float | None:
        return self._extras.fallback if batch is None else None


def random_extras(seed: int, scenario: Scenario) -> Extras:
    """The extras of this seed; most have none or one."""
    chance = Random(f"twists {seed}")
    names = [spec.name for spec in scenario.dependencies]
    return Extras(
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
