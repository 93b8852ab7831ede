"""Random small scenarios: a seed is a scenario. Short waits and few messages, so that thousands run in a minute."""

from __future__ import annotations

from random import Random

from holdgate.core import CircuitSettings, CountWindow, RampSettings, TimeWindow
from holdgate.flow.policy import RetryPolicy
from holdgate_lab.fleet.environment import LETTERS
from holdgate_lab.fleet.scenario import (
    DependencySpec,
    Fault,
    FaultKind,
    MemberEvent,
    MemberEventKind,
    PoisonKind,
    QueueSpec,
    Scenario,
    TopicSpec,
)

# What goes wrong goes wrong within this time.
_SECONDS = 12.0
_FAULTS: tuple[FaultKind, ...] = ("refuse", "hang", "slow", "errors", "capacity", "cold", "flap", "key")
_MEMBERS: tuple[MemberEventKind, ...] = ("join", "leave", "kill", "freeze", "drop")
# How many of the scenarios have it.
_FEW, _SOME, _HALF, _MOST = 0.2, 0.25, 0.5, 0.8
_POISONS: tuple[PoisonKind, ...] = ("dependency", "message", "reject")


def random_scenario(seed: int) -> Scenario:
    """The scenario of this seed; the same on every machine."""
    chance = Random(f"scenario {seed}")
    dependencies = [_dependency(chance, name) for name in ("payments", "mail", "stock")[: chance.randint(1, 3)]]
    names = [spec.name for spec in dependencies]
    faults = [_fault(chance, chance.choice(names)) for _ in range(chance.choice((0, 1, 1, 2, 3)))]
    if chance.random() < _FEW:
        dependencies.append(DependencySpec(name=LETTERS, latency=0.01))
        faults.append(_fault(chance, LETTERS))
    topics = tuple(_topic(chance, name, names) for name in ("orders", "events")[: chance.choice((0, 1, 1, 2))])
    queues = tuple(_queue(chance, name, names) for name in ("tasks", "mails")[: chance.choice((0, 0, 1, 2) if topics else (1, 2))])
    workers = chance.choice((1, 1, 2, 3))
    return Scenario(
        name=f"seed {seed}",
        seconds=_SECONDS,
        topics=topics,
        queues=queues,
        dependencies=tuple(dependencies),
        faults=tuple(faults),
        members=_members(chance, workers),
        workers=workers,
        concurrency=chance.choice((None, None, 1, 2, 4, 8)),
        order=chance.choice((None, None, "source", "key", "none")),
        span=chance.choice((5, 20, 150, 1000)),
        inbox=chance.choice((2, 5, 20, 500)),
        prefetch=chance.choice((1, 5, 20, 50)),
        timeout=chance.choice((None, None, None, 0.3, 2.0)),
        retry=_retry(chance),
        dead_letters=chance.random() < _MOST,
        commit_every=chance.choice((0.05, 0.5, 1.0)),
        session_timeout=chance.choice((1.0, 3.0)),
        rebalance_timeout=chance.choice((2.0, 4.0)),
        drain_timeout=chance.choice((0.2, 2.0)),
    )


def _retry(chance: Random) -> RetryPolicy:
    return RetryPolicy(
        attempts=chance.choice((1, 2, 3, 5)),
        initial_backoff=chance.choice((0.02, 0.1, 0.5)),
        max_backoff=chance.choice((0.5, 2.0)),
        reject_after_probes=chance.choice((None, None, 2)),
    )


def _dependency(chance: Random, name: str) -> DependencySpec:
    return DependencySpec(
        name=name,
        capacity=chance.choice((None, 1, 4, 16)),
        latency=chance.choice((0.005, 0.02, 0.05)),
        timeout=chance.choice((0.2, 1.0)),
        probe=chance.random() < _SOME,
        circuit=_circuit(chance),
    )


def _circuit(chance: Random) -> CircuitSettings:
    return CircuitSettings(
        window=chance.choice((CountWindow(5), CountWindow(20), TimeWindow(2.0))),
        minimum_calls=chance.choice((2, 5, 10)),
        failure_rate_threshold=chance.choice((0.3, 0.5, 1.0)),
        slow_call_duration=chance.choice((None, None, 0.5, 1.0)),  # longer than all calls of a healthy handler together
        consecutive_failures=chance.choice((None, 1, 2, 5)),
        open_duration=chance.choice((0.2, 1.0, 3.0)),
        open_duration_max=chance.choice((3.0, 10.0)),
        open_jitter=chance.choice((0.0, 0.2)),
        healthy_interval=chance.choice((1.0, 60.0)),
        permit_lease=chance.choice((1.0, 2.0, 300.0)),
        ramp=RampSettings(
            initial=chance.choice((1, 1, 2)),
            growth=chance.choice((1.5, 2.0, 4.0)),
            bad_rate=chance.choice((0.0, 0.1, 0.2)),
            minimum_verdicts=chance.choice((1, 3)),
            stage_timeout=chance.choice((1.0, 10.0)),
        ),
    )


def _fault(chance: Random, dependency: str) -> Fault:
    at = round(chance.uniform(0, _SECONDS - 2), 2)
    return Fault(
        at=at,
        until=round(min(_SECONDS, at + chance.choice((0.5, 2.0, 5.0, 10.0))), 2),
        dependency=dependency,
        kind=chance.choice(_FAULTS),
        factor=chance.choice((3.0, 30.0)),
        ratio=chance.choice((0.04, 0.3, 0.5, 1.0)),
        warm_up=50.0,
        down=chance.choice((0.5, 3.0)),
        up=chance.choice((0.3, 1.0, 3.0)),
        key=chance.randrange(3),
    )


def _needs(chance: Random, names: list[str]) -> tuple[str, ...]:
    return tuple(chance.sample(names, min(len(names), chance.choice((0, 1, 1, 1, 2, 3)))))


def _poison(chance: Random, backlog: int) -> tuple[int, ...]:
    return tuple(sorted({chance.randrange(backlog) for _ in range(chance.choice((0, 0, 0, 1, 2, 4)))}))


def _topic(chance: Random, name: str, names: list[str]) -> TopicSpec:
    backlog = chance.choice((3, 10, 30))
    return TopicSpec(
        name=name,
        needs=_needs(chance, names),
        partitions=chance.choice((1, 1, 2, 4)),
        gap=chance.choice((0, 0, 1)),
        backlog=backlog,
        rate=chance.choice((0.0, 0.5, 2.0)),
        keys=chance.choice((0, 3, 7)),
        poison=_poison(chance, backlog),
        poison_as=chance.choice(_POISONS),
    )


def _queue(chance: Random, name: str, names: list[str]) -> QueueSpec:
    backlog = chance.choice((3, 10, 30))
    return QueueSpec(
        name=name,
        needs=_needs(chance, names),
        backlog=backlog,
        rate=chance.choice((0.0, 0.5, 2.0)),
        keys=chance.choice((0, 3, 7)),
        poison=_poison(chance, backlog),
        poison_as=chance.choice(_POISONS),
        delivery_limit=chance.choice((None, 20)),
        nack_counts=chance.random() < _HALF,
        single_active=chance.random() < _SOME,
    )


def _members(chance: Random, workers: int) -> tuple[MemberEvent, ...]:
    events = [
        MemberEvent(
            at=round(chance.uniform(0, _SECONDS - 7), 2),
            worker=chance.randrange(workers + 1),
            kind=chance.choice(_MEMBERS),
            seconds=chance.choice((0.5, 2.0, 6.0)),
        )
        for _ in range(chance.choice((0, 0, 1, 2, 3)))
    ]
    # Somebody must be there in the end, or nothing would ever be finished.
    return (*events, MemberEvent(at=_SECONDS, worker=0, kind="join")) if events else ()
