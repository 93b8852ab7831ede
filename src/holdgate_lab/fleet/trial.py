"""One scenario put on trial: it runs until everything is finished, and stops at the first invariant that is broken."""

from __future__ import annotations

from collections.abc import Callable

from holdgate_lab.fleet.liveness import Liveness, is_finished, patience, quiet_from
from holdgate_lab.fleet.outcome import Violation
from holdgate_lab.fleet.scenario import Scenario
from holdgate_lab.fleet.strategy import Strategy
from holdgate_lab.fleet.twists import PLAIN, Twisted, Twists
from holdgate_lab.fleet.worker import Worker
from holdgate_lab.fleet.world import World

NewWorker = Callable[[World, int, Strategy, int], Worker]


def try_out(
    scenario: Scenario, seed: int, twists: Twists = PLAIN, *, worker: NewWorker = Worker, tell: Callable[[str], None] | None = None
) -> Violation | None:
    """The first invariant that is broken, None when all hold. `worker` makes the workers; `tell` hears the story, line by line."""
    world = World(scenario, Twisted(twists), seed, worker=worker, tell=tell)
    found = world.witness.violations
    told = [command.at + command.seconds for command in twists.commands]
    quiet = max([quiet_from(scenario), *told])
    end = quiet + patience(scenario)
    schedule = world.schedule
    liveness = Liveness(world)
    schedule.at(quiet, liveness.begin)
    while not found and schedule.step(end):
        if schedule.now > quiet and is_finished(world):
            break
    if not found:
        for words in liveness.wedged():
            world.witness.complain("liveness", words)
    return found[0] if found else None
