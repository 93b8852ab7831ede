"""Whole guards that share a log: the workers of the simulator, with everything that is checked there, as one fleet.

The model of a worker (worker.py) is quick, and is looked into. This is the real thing, tasks and time limits of the link included. The log
and its faults are the same.
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


class _Apart:
    """The clock of a process with chance of its own, so that what a fleet draws moves no wait of a circuit. Implements `Clock`."""

    def __init__(self, process: Process, chance: Random) -> None:
        self.now = process.now
        self.draw = chance.random


class GuardedTogether:
    """Makes the workers of a world that share one log: `World(scenario, strategy, seed, worker=GuardedTogether())`.

    `faults`: what is wrong with the log, and with the links of workers, by their numbers. `log` is there from the first worker on.
    """

    def __init__(self, faults: Sequence[LogFault] = ()) -> None:
        self.log: SharedLog | None = None
        self._faults = faults

    def __call__(self, environment: Environment, number: int, strategy: Strategy, life: int) -> FleetWorker:
        if self.log is None:
            self.log = SharedLog(environment.schedule, self._faults)
        return _Worker(self.log, environment, number, strategy, life)


class _Worker(FleetWorker):
    def __init__(self, log: SharedLog, environment: Environment, number: int, strategy: Strategy, life: int) -> None:
        self._log = log
        super().__init__(environment, number, strategy, life)

    def fleet(self) -> tuple[FleetLog, Clock]:
        process = self.process
        fleet, link = (Random(f"{self.environment.seed}/{process.name}/{what}") for what in ("fleet", "link"))
        return ProcessLog(self._log, self.number, process, link), _Apart(process, fleet)
