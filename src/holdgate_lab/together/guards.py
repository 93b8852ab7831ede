"""Whole guards that share a log: the workers of the simulator, with everything that is checked there, as one fleet.

The model of a worker (worker.py) is quick and is looked into; this is the real thing, tasks and time limits of the link included. The log and
its faults are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from holdgate.ports import Clock, FleetLog
from holdgate_lab.fleet.clock import Process
from holdgate_lab.fleet.environment import Environment
from holdgate_lab.fleet.strategy import Strategy
from holdgate_lab.fleet.worker import FleetWorker
from holdgate_lab.together.log import SharedLog
from holdgate_lab.together.process_log import ProcessLog
from holdgate_lab.together.scenario import LogFault

_HOP = (0.005, 0.05)


class _Apart:
    """The clock of a process with chance of its own, so that what a fleet draws moves no wait of a circuit. Implements `Clock`."""

    def __init__(self, process: Process, seed: str) -> None:
        self.now = process.now
        self.draw = Random(seed).random


class GuardedTogether:
    """Makes the workers of a world (`World(worker=...)`) that share one log. `log` is it; with `faults`, whose workers go by number."""

    def __init__(self, faults: Sequence[LogFault] = ()) -> None:
        self.log: SharedLog | None = None
        self.faults = faults

    def __call__(self, environment: Environment, number: int, strategy: Strategy, life: int) -> FleetWorker:
        if self.log is None:
            self.log = log = SharedLog(environment.schedule)
            for fault in self.faults:
                if fault.kind == "wipe":
                    environment.schedule.at(fault.at, log.wipe)
        return _Worker(self.log, self.faults, environment, number, strategy, life)


class _Worker(FleetWorker):
    def __init__(
        self, log: SharedLog, faults: Sequence[LogFault], environment: Environment, number: int, strategy: Strategy, life: int
    ) -> None:
        self._log = log
        self._faults = faults
        self._number = number
        super().__init__(environment, number, strategy, life)

    def fleet(self) -> tuple[FleetLog, Clock]:
        schedule, process, seed = self.environment.schedule, self.process, self.environment.seed
        clock = _Apart(process, f"{seed}/{process.name}/fleet")
        return ProcessLog(self._log, self._number, self._faults, _HOP, schedule, process, seed), clock
