"""What happens to a fleet that shares a log: its workers, one dependency, and the faults of both, of the log and of its links.

Plain frozen data. Every time is in seconds from the beginning of the run. Faults of the dependency are those of the simulator
(`holdgate_lab.fleet.scenario.Fault`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from holdgate.core import CircuitSettings
from holdgate_lab.fleet.scenario import DependencySpec, Fault

LogFaultKind = Literal["cut", "refuse", "read_only", "slow", "late", "lossy", "twice", "wipe"]
HappeningKind = Literal["kill", "freeze", "join", "leave"]

NAME = "payments"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFault:
    """What is wrong with the log, or with the links of `workers` to it, from second `at` until second `until`. None: all links.

    cut: connected and silent; what is read meanwhile comes when it ends, what is written never arrives. refuse: reads and writes fail at
    once. read_only: writes fail at once. slow: every hop takes `seconds` more. late: the share `ratio` of hops takes 0.5 to 5 s more, and
    what comes after waits behind it. lossy: the share `ratio` of writes is lost, half of them only for the writer: they are in the log.
    twice: the share `ratio` of what is read comes once more. wipe: at `at` the log is empty, and its positions begin anew.
    """

    at: float
    kind: LogFaultKind
    until: float = float("inf")
    workers: Collection[int] | None = None
    seconds: float = 5.0
    ratio: float = 0.05

    def hits(self, worker: int, now: float) -> bool:
        """Whether it is active now for the link of this worker."""
        return self.at <= now < self.until and (self.workers is None or worker in self.workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """What happens to one worker at second `at`. `worker` None: the one that conducts then, or nobody.

    kill: it is gone at once. freeze: it does nothing for `seconds`, and then goes on with all that has come. join: it starts, again with an
    identity of its own. leave: it says so and ends.
    """

    at: float
    kind: HappeningKind
    worker: int | None = None
    seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """One run. Each of `workers` gets `rate` messages a second, and makes one call for each in one of its `lanes`; what waits stays.

    `rate` None: more messages wait than there are ever calls.

    `idle`: workers without a backlog. `sick`: workers whose own calls all fail, whatever the dependency does, with the seconds from and
    until. `fleet` False: each decides alone. `second_fleet`: so many workers of another fleet on the same log, whose dependency has
    another name. `hostile`: a writer that puts so many records a second of every kind of nonsense into the log. `hop`: the seconds that a
    record takes to the log, or from it to a reader, least and most. `settles`: it ends before its time when nothing is wrong any more and
    all circuits have been closed for so long. `retry_after`: for how many seconds the dependency asks to be left alone with each call that
    it fails (not with one that it never answers). None: it does not.
    """

    name: str
    seconds: float
    workers: int = 20
    lanes: int = 2
    rate: float | None = 10.0
    dependency: DependencySpec = DependencySpec(name=NAME, latency=0.05, timeout=1.0)  # noqa: RUF009 - frozen
    faults: tuple[Fault, ...] = ()
    log_faults: tuple[LogFault, ...] = ()
    happenings: tuple[Happening, ...] = ()
    idle: Collection[int] = ()
    sick: tuple[tuple[int, float, float], ...] = ()
    fleet: bool = True
    second_fleet: int = 0
    hostile: float = 0.0
    hop: tuple[float, float] = (0.005, 0.05)
    settles: float = float("inf")
    retry_after: float | None = None
    description: str = ""

    @property
    def circuit(self) -> CircuitSettings:
        """The settings of every circuit."""
        return self.dependency.circuit

    @property
    def healed(self) -> float:
        """When the last fault of the dependency ends; 0 when it has none."""
        return max((fault.until for fault in self.faults), default=0.0)

    @property
    def back_at(self) -> float:
        """When the first fault of the dependency ends: from then on it is there, if only a little."""
        return min((fault.until for fault in self.faults), default=0.0)

    @property
    def quiet_from(self) -> float:
        """From when on nothing is wrong, and nobody comes or goes. What never ends does not count: it is what the run is about."""
        ends = [fault.until for fault in self.log_faults if fault.until < float("inf")]
        ends += [happening.at + (happening.seconds if happening.kind == "freeze" else 0.0) for happening in self.happenings]
        ends += [fault.at for fault in self.log_faults]
        return max([self.healed, *ends, *(until for _, _, until in self.sick)])
