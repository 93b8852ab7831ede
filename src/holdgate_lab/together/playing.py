"""One run of a fleet from its beginning to its end, and what it came to in figures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from random import Random

from holdgate_lab.fleet.clock import Schedule
from holdgate_lab.fleet.dependency import ModelDependency
from holdgate_lab.together.hostile import nonsense
from holdgate_lab.together.log import SharedLog
from holdgate_lab.together.scenario import NAME, Happening, Together
from holdgate_lab.together.watching import BrokenRule, Moment, TogetherWatch
from holdgate_lab.together.worker import RunOfWorkers, TogetherWorker

# The dependency of the second fleet on the log.
OTHER = "mail"
# Workers of a fleet do not start in the same instant.
_APART = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class TogetherFigures:
    """What a run came to.

    - `failed`: failed calls of all workers, probes included; `failed_after`: those that began after the dependency's
      first fault ended.
    - `probes`: first calls of half-opens; `probes_at_once`: the most that were in flight together while no worker called freely.
    - `overshoot`: the most calls above the fleet's limit that guided workers had in flight.
    - `takeovers`: how often somebody became conductor after another.
    - `closed_after`: seconds from the end of the last fault until every living worker's circuit is closed; None: they never were.
    - `fleet_openings`: how often the fleet opened as one.
    - `opened`: how many workers' circuits have opened at least once.
    - `peak_in_flight`: the most calls in the dependency after its first fault ended, those that were given up included.
    - `good`: calls that have done their work.
    - `records_a_second`: the most records in the log in any ten seconds, a second of them; `bytes_an_hour`: by the last minute's.
    """

    failed: int
    failed_after: int
    probes: int
    probes_at_once: int
    overshoot: int
    takeovers: int
    closed_after: float | None
    fleet_openings: int
    opened: int
    peak_in_flight: int
    good: int
    records_a_second: float
    bytes_an_hour: float


@dataclass(frozen=True, slots=True)
class TogetherOutcome:
    """A run: its figures, what was broken, and who did what when."""

    figures: TogetherFigures
    violations: tuple[BrokenRule, ...]
    trace: tuple[Moment, ...]


def play_together(scenario: Together, seed: int) -> TogetherOutcome:
    """Run it. The same scenario and seed give the same outcome on every machine."""
    return Play(scenario, seed).run()


class Play:
    """A scenario with a seed, ready to run."""

    def __init__(self, scenario: Together, seed: int) -> None:
        self.scenario = scenario
        self.seed = seed
        self.schedule = Schedule()
        self.log = SharedLog(self.schedule, scenario.log_faults, scenario.hop)
        names = (NAME, OTHER) if scenario.second_fleet else (NAME,)
        self.services = {name: self._service(name) for name in names}
        self.workers: dict[int, TogetherWorker] = {}
        self.watch = TogetherWatch(scenario, self.schedule, self.log, self.workers, self.services[NAME])
        self._place = RunOfWorkers(scenario, seed, self.schedule, self.log, self.watch)
        self._quiet_from = scenario.quiet_from
        self._ends_at = self._quiet_from + scenario.settles  # not before
        self._lives = 0
        self._chance = Random(f"{seed}/hostile")

    def _service(self, name: str) -> ModelDependency:
        faults = self.scenario.faults if name == NAME else ()
        spec = replace(self.scenario.dependency, name=name)
        return ModelDependency(spec, faults, Random(f"{self.seed}/{name}").random)

    def run(self) -> TogetherOutcome:
        """Run to the end."""
        scenario, schedule = self.scenario, self.schedule
        for number in range(scenario.workers + scenario.second_fleet):
            schedule.at(number * _APART, partial(self._join, number))
        for happening in scenario.happenings:
            schedule.at(happening.at, partial(self._happen, happening))
        if scenario.hostile:
            schedule.at(0.0, self._attack)
        while not self._is_over() and schedule.step(scenario.seconds):
            pass
        self.watch.finish()
        return TogetherOutcome(self._figures(), tuple(self.watch.violations), tuple(self.watch.trace))

    def _is_over(self) -> bool:
        if self.schedule.now < self._ends_at:
            return False
        after = self.watch.closed_after()
        self._ends_at = self._quiet_from + self.scenario.settles + (after or 0.0)
        return after is not None and self.schedule.now >= self._ends_at

    # -- who comes and goes -----------------------------------------------------------------------------------------------------------

    def _join(self, number: int) -> None:
        worker = self.workers.get(number)
        if worker is not None and worker.is_alive:
            return
        self._lives += 1
        service = self.services[NAME if number < self.scenario.workers else OTHER]
        worker = TogetherWorker(self._place, number, self._lives, service)
        self.workers[number] = worker
        worker.start()

    def _happen(self, happening: Happening) -> None:
        number = self.watch.conductor() if happening.worker is None else happening.worker
        if number is None:
            return
        if happening.kind == "join":
            self._join(number)
            return
        worker = self.workers.get(number)
        if worker is None or not worker.is_alive or worker.is_frozen:
            return
        if happening.kind == "freeze":
            worker.freeze(happening.seconds)
        else:
            worker.kill() if happening.kind == "kill" else worker.leave()

    def _attack(self) -> None:
        self.log.append(nonsense(self._chance, self.log.recent()))
        self.schedule.after(1 / self.scenario.hostile, self._attack)

    # -- what it came to --------------------------------------------------------------------------------------------------------------

    def _figures(self) -> TogetherFigures:
        watch, log = self.watch, self.log
        end = int(self.schedule.now)
        seconds, last = range(max(1, end - 9)), range(end - 60, end)
        return TogetherFigures(
            failed=watch.failed,
            failed_after=watch.failed_after,
            probes=watch.probes,
            probes_at_once=watch.probes_at_once,
            overshoot=watch.overshoot,
            takeovers=max(0, len(watch.reader.writers) - watch.fleet_openings),
            closed_after=watch.closed_after(),
            fleet_openings=watch.fleet_openings,
            opened=len(watch.opened),
            peak_in_flight=watch.peak_in_flight,
            good=watch.good,
            records_a_second=max(sum(log.counts.get(second + n, 0) for n in range(10)) for second in seconds) / 10,
            bytes_an_hour=60.0 * sum(log.sizes.get(second, 0) for second in last),
        )
