"""Seeds: they all keep every invariant, and each invariant is one that a broken worker breaks."""

from __future__ import annotations

from itertools import islice

import pytest
from tests.lab.fleet import saboteurs
from tests.lengths import length

from holdgate_lab.fleet.explore import explore, try_out
from holdgate_lab.fleet.extras import random_extras
from holdgate_lab.fleet.generate import random_scenario
from holdgate_lab.fleet.world import NewWorker

pytestmark = pytest.mark.long_file

# A story that nobody reads to its end tells nothing.
READABLE = 45

SABOTAGE = [
    (saboteurs.CommitsTooEarly, "commit"),
    (saboteurs.CommitsBackwards, "offsets"),
    (saboteurs.WorksTwice, "duplicates"),
    (saboteurs.CommitsTooLate, "duplicates"),
    (saboteurs.ForgetsOrder, "order"),
    (saboteurs.NeverPauses, "memory"),
    (saboteurs.ForgetsTime, "liveness"),
    (saboteurs.LeavesWhileHeld, "quiet"),
    (saboteurs.NeverGivesBack, "quiet"),
    (saboteurs.WorksWhileHeld, "held"),
    (saboteurs.HasNoMercy, "dead letters"),
    (saboteurs.with_circuit(saboteurs.Unlimited), "limit"),
    (saboteurs.with_circuit(saboteurs.Jumping), "ramp"),
    (saboteurs.with_circuit(saboteurs.Hasty), "ramp"),
    (saboteurs.with_circuit(saboteurs.Keeping), "leak"),
    (saboteurs.IsNotToldOfLosses, "stale"),
    (saboteurs.with_circuit(saboteurs.Leaking), "open"),
    (saboteurs.needs_everything, "isolation"),
    (saboteurs.LosesItsBroker, "runtime"),
]


# What becomes of a failure is dear, and has nothing to do with which it is: a few of them, and in `make test-long` all.
TOLD = SABOTAGE[:: length(1, part=4)]


def first_failure(worker: NewWorker, invariant: str) -> int | None:
    """The first seed in which this worker is caught breaking this."""
    for seed in range(200):
        scenario = random_scenario(seed)
        violation = try_out(scenario, seed, random_extras(seed, scenario), worker=worker)
        if violation is not None and violation.invariant == invariant:
            return seed
    return None


# A hundred seeds, and in `make test-long` three hundred: of what breaks an invariant (SABOTAGE) all is seen by the 56th.
@pytest.mark.parametrize("first", range(0, length(300, part=100), 50))
def test_fifty_seeds_keep_every_invariant(first: int) -> None:
    """Random scenarios of topics, queues, faults, poison and workers that come and go."""
    assert list(map(str, islice(explore(range(first, first + 50)), 1))) == []


@pytest.mark.parametrize(("worker", "invariant"), SABOTAGE)
def test_a_worker_that_breaks_an_invariant_is_caught(worker: NewWorker, invariant: str) -> None:
    """Within two hundred seeds, by the name of what it breaks."""
    assert first_failure(worker, invariant) is not None


@pytest.mark.parametrize(("worker", "invariant"), TOLD)
def test_a_caught_failure_is_small_enough_to_be_read(worker: NewWorker, invariant: str) -> None:
    """The scenario that is left breaks the same, and ends with it."""
    seed = first_failure(worker, invariant)
    assert seed is not None
    failure = next(explore([seed], worker=worker))
    assert failure.violation.invariant == invariant
    assert len(failure.steps) <= READABLE, str(failure)
    assert any(step.endswith(f"BROKEN, {invariant}: {failure.violation.words}") for step in failure.steps[-5:])
