"""The worlds that a fleet is measured in, with and without its log, and what is tried in them. Times are for twenty workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from holdgate.core import CircuitSettings
from holdgate_lab.fleet.scenario import DependencySpec, Fault
from holdgate_lab.together.scenario import NAME, Happening, LogFault, Together

# Every fault begins then: the workers have come, and know of each other.
BEGINS = 30.0
# Twenty workers that get ten messages a second each, and could do forty.
_LANES = 2
_SERVICE = DependencySpec(name=NAME, latency=0.05, timeout=1.0)
# 160 lanes before a service that just takes them, as in benchmarks/ramp_fleet.py.
_WIDE = 8
_JUST_ENOUGH = DependencySpec(name=NAME, latency=0.2, timeout=1.0, capacity=20 * _WIDE)


def outage(seconds: float = 600.0, *, after: float = 360.0) -> Together:
    """Everything is refused for a while. `after`: the longest wait of a worker alone, and a minute."""
    fault = Fault(at=BEGINS, until=BEGINS + seconds, dependency=NAME, kind="refuse")
    return Together(
        name="outage",
        description="ten minutes of refused calls",
        seconds=BEGINS + seconds + after,
        lanes=_LANES,
        dependency=_SERVICE,
        faults=(fault,),
        settles=20.0,
    )


def silence() -> Together:
    """No call is answered for two minutes."""
    fault = Fault(at=BEGINS, until=BEGINS + 120, dependency=NAME, kind="hang")
    return replace(outage(120), name="silence", description="two minutes in which no call is answered", faults=(fault,))


def weak() -> Together:
    """The service comes back with 4 % of its capacity for a minute."""
    down = Fault(at=BEGINS, until=BEGINS + 30, dependency=NAME, kind="refuse")
    few = Fault(at=BEGINS + 30, until=BEGINS + 90, dependency=NAME, kind="capacity", ratio=0.04)
    return Together(
        name="weak",
        description="down for 30 s, then 4 % of its capacity for a minute",
        seconds=BEGINS + 180,
        lanes=_WIDE,
        rate=None,
        dependency=_JUST_ENOUGH,
        faults=(down, few),
    )


def cold() -> Together:
    """The service comes back with a cold cache."""
    down = Fault(at=BEGINS, until=BEGINS + 30, dependency=NAME, kind="refuse")
    warming = Fault(at=BEGINS + 30, until=BEGINS + 150, dependency=NAME, kind="cold", ratio=0.03, warm_up=6000)
    return replace(weak(), name="cold", description="down for 30 s, then it warms up", seconds=BEGINS + 210, faults=(down, warming))


def flapping() -> Together:
    """Up for five seconds, down for twenty, for five minutes."""
    flaps = Fault(at=BEGINS, until=BEGINS + 300, dependency=NAME, kind="flap", down=20, up=5)
    return replace(outage(300), name="flapping", description="up for 5 s, down for 20 s, for five minutes", faults=(flaps,))


def errors(ratio: float = 0.3) -> Together:
    """A share of calls fails, for five minutes."""
    some = Fault(at=BEGINS, until=BEGINS + 300, dependency=NAME, kind="errors", ratio=ratio)
    return replace(outage(300), name="errors", description=f"{ratio:.0%} of calls fail for five minutes", faults=(some,))


def quiet() -> Together:
    """Nothing happens."""
    return replace(outage(), name="quiet", description="nothing happens", seconds=300.0, faults=(), settles=float("inf"))


MEASURED: Mapping[str, Together] = {each.name: each for each in (outage(), silence(), weak(), cold(), flapping(), errors(), quiet())}


def _tried() -> Mapping[str, Together]:
    # Short waits, so that whoever decides alone is back soon, too; and the times are what is tried.
    circuit = CircuitSettings(open_duration_max=30)
    short = replace(outage(90, after=90), dependency=replace(_SERVICE, circuit=circuit), workers=8)
    ends = short.healed
    half = tuple(range(4))

    def tried(name: str, **changes: object) -> Together:
        return replace(short, name=name, description="", **changes)  # type: ignore[arg-type]

    kills = tuple(Happening(at=at, kind="kill") for at in (BEGINS + 10, ends + 1))
    freezes = tuple(Happening(at=at, kind="freeze", seconds=30) for at in (BEGINS + 10, BEGINS + 50, ends + 0.5))
    worlds = (
        tried("nothing else"),
        tried("conductors are killed", happenings=kills),
        tried("conductors are frozen", happenings=freezes),
        tried("late hops", log_faults=(LogFault(at=0, kind="late", ratio=0.01),)),
        tried("slow log", log_faults=(LogFault(at=BEGINS + 10, until=ends + 60, kind="slow"),)),
        tried(
            "one is behind by some stages", log_faults=(LogFault(at=BEGINS + 10, until=ends + 30, kind="slow", seconds=2.0, workers=(2,)),)
        ),
        tried("lost writes", log_faults=(LogFault(at=0, kind="lossy", ratio=0.05),)),
        tried("read twice", log_faults=(LogFault(at=0, kind="twice", ratio=0.3),)),
        tried("half is cut off", log_faults=(LogFault(at=BEGINS + 20, until=ends + 30, kind="cut", workers=half),)),
        tried("half may not write", log_faults=(LogFault(at=0, kind="read_only", workers=half),)),
        tried("cut in the ramp", log_faults=(LogFault(at=ends + 1, until=ends + 40, kind="cut"),)),
        tried("log stops in the outage", log_faults=(LogFault(at=BEGINS + 40, kind="refuse"),)),
        tried("wiped twice", log_faults=(LogFault(at=BEGINS + 45, kind="wipe"), LogFault(at=ends + 1, kind="wipe"))),
        tried("one is sick", faults=(), sick=((2, BEGINS, ends),)),
        tried("one is sick in an outage", sick=((2, BEGINS, ends + 60),)),
        tried("some are idle", idle=(1, 3, 5, 6)),
        tried("asks to be left alone", retry_after=25.0),
        tried("two fleets", second_fleet=4),
        tried("hostile writers", hostile=20.0),
    )
    return {world.name: world for world in worlds}


TRIED: Mapping[str, Together] = _tried()
