"""Random worlds of a fleet: a seed is a world. Small fleets and short outages, with anything wrong at any time."""

from __future__ import annotations

from random import Random
from typing import get_args

from holdgate.core import CircuitSettings, RampSettings
from holdgate_lab.fleet.scenario import DependencySpec, Fault, FaultKind
from holdgate_lab.together.scenario import NAME, Happening, HappeningKind, LogFault, LogFaultKind, Together

# What goes wrong goes wrong within this time; then there is time to come back, the longest wait several times over.
_SECONDS = 90.0
_COMES_BACK = 150.0
_FAULTS: tuple[FaultKind, ...] = ("refuse", "refuse", "hang", "slow", "errors", "capacity", "cold", "flap")
_LOG_FAULTS: tuple[LogFaultKind, ...] = get_args(LogFaultKind)
_HAPPENINGS: tuple[HappeningKind, ...] = get_args(HappeningKind)
_FEW, _HALF = 0.2, 0.5


def random_together(seed: int) -> Together:
    """The world of this seed; the same on every machine."""
    chance = Random(f"together {seed}")
    workers = chance.choice((2, 3, 5, 8))
    lanes = chance.choice((1, 2, 4))
    return Together(
        name=f"seed {seed}",
        seconds=_SECONDS + _COMES_BACK,
        workers=workers,
        lanes=lanes,
        dependency=_service(chance, workers * lanes),
        faults=tuple(_fault(chance) for _ in range(chance.choice((1, 1, 2)))),
        log_faults=tuple(_log_fault(chance, workers) for _ in range(chance.choice((0, 1, 2, 3)))),
        happenings=tuple(_happening(chance, workers) for _ in range(chance.choice((0, 0, 1, 2, 4)))),
        idle=tuple(chance.sample(range(workers), chance.choice((0, 0, 0, 1)))),
        sick=((chance.randrange(workers), *sorted(chance.uniform(0, _SECONDS) for _ in range(2))),) if chance.random() < _FEW else (),  # type: ignore[arg-type]
        second_fleet=chance.choice((0, 0, 0, 2)),
        hostile=chance.choice((0.0, 0.0, 0.0, 5.0)),
        hop=chance.choice(((0.001, 0.005), (0.005, 0.05), (0.05, 0.3))),
    )


def _service(chance: Random, everything: int) -> DependencySpec:
    return DependencySpec(
        name=NAME,
        capacity=chance.choice((None, everything)),
        latency=chance.choice((0.05, 0.2)),
        timeout=chance.choice((1.0, 3.0)),
        circuit=CircuitSettings(
            consecutive_failures=chance.choice((3, 5, 5, None)),
            open_duration=chance.choice((1.0, 3.5)),
            open_duration_max=chance.choice((10.0, 30.0)),
            permit_lease=chance.choice((10.0, 300.0)),
            ramp=RampSettings(initial=chance.choice((1, 1, 2)), minimum_verdicts=chance.choice((1, 3))),
        ),
    )


def _span(chance: Random) -> tuple[float, float]:
    at = round(chance.uniform(5, _SECONDS - 10), 2)
    return at, round(min(_SECONDS, at + chance.choice((2.0, 10.0, 40.0))), 2)


def _fault(chance: Random) -> Fault:
    at, until = _span(chance)
    return Fault(
        at=at,
        until=until,
        dependency=NAME,
        kind=chance.choice(_FAULTS),
        factor=chance.choice((3.0, 30.0)),
        ratio=chance.choice((0.04, 0.3, 0.7)),
        warm_up=500.0,
        down=chance.choice((3.0, 10.0)),
        up=chance.choice((1.0, 4.0)),
    )


def _log_fault(chance: Random, workers: int) -> LogFault:
    at, until = _span(chance)
    who = None if chance.random() < _HALF else tuple(chance.sample(range(workers), max(1, workers // 2)))
    return LogFault(
        at=at,
        until=until,
        kind=chance.choice(_LOG_FAULTS),
        workers=who,
        seconds=chance.choice((0.5, 2.0, 5.0)),
        ratio=chance.choice((0.05, 0.5)),
    )


def _happening(chance: Random, workers: int) -> Happening:
    return Happening(
        at=round(chance.uniform(5, _SECONDS), 2),
        kind=chance.choice(_HAPPENINGS),
        worker=None if chance.random() < _HALF else chance.randrange(workers),
        seconds=chance.choice((1.0, 5.0, 30.0)),
    )
