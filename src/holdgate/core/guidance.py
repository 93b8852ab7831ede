"""What a fleet tells a circuit, and what a circuit tells its fleet: two values, so that neither knows the other.

A worker that shares an ordered log with others (holdgate.fleet) learns from it how its circuits are to go: wait, ask for all, take this
many, or be well again. It hands that to `Circuit.guide` as a `Guidance`, which is desired state: the same one twice changes nothing. It
ends by itself at `until`. A worker whose log has fallen silent is back at its own rules by time alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdgate.core.states import Override, Reason, State


class Phase(Enum):
    """How a circuit goes by its fleet.

    - LOCAL: by its own rules alone, as a circuit without a fleet.
    - WAIT: a circuit that is not OPEN opens, with its level unchanged, and one that is OPEN does not end its wait.
    - PROBE: this worker asks for all. The circuit is OPEN, ends its wait at its own time, and makes its probe.
    - RAMP: HALF_OPEN with the limit of the guidance, and no stage is judged here. What its own calls breach still opens it.
    - UP: the fleet has recovered, so a guided circuit closes. One that its own calls opened goes by its own rules.
    """

    LOCAL = "local"
    WAIT = "wait"
    PROBE = "probe"
    RAMP = "ramp"
    UP = "up"


@dataclass(frozen=True, slots=True)
class Guidance:
    """What a fleet wants of one circuit.

    - `limit`: of RAMP, the weight that this worker may have in flight, from 0, which refuses everything.
    - `stage`: of RAMP, the fleet's stage. Results of calls that began in it are counted for it (`OwnFacts`).
    - `epoch`: which conductor wants it.
    - `until`: the monotonic second from which on the circuit goes by its own rules, unless a newer guidance has come.
    - `wait_at_most`: of PROBE, the seconds that a wait of the circuit's own lasts at most. One that a server asked for is not shortened.
    """

    phase: Phase
    limit: int = 0
    stage: int = 0
    epoch: int = 0
    until: float = inf
    wait_at_most: float = inf


@dataclass(frozen=True, slots=True)
class OwnFacts:
    """What one circuit knows by its own calls, at one moment.

    - `in_a_row`: the failures since the last good call. 0 means that the last judged call was good, or that there was none.
    - `failed`, `succeeded`: the judged calls since construction. They only rise.
    - `last_good`: the monotonic second of the last good call, as exactly as the circuit knows it. None means that there was none.
    - `opened_by`: why it is not CLOSED. None means that it is, or that a forced opening has ended.
    - `probes_failed`, `probes_succeeded`: the first calls of half-opens since construction.
    - `stage`: the stage of the guidance that it follows; 0 without one.
    - `stage_good`, `stage_bad`: the results of calls that were admitted in that stage.
    - `in_flight`: the weight of the calls in flight that count for the present state.
    - `stage_seconds`: how long the good calls of `stage_good` took, all together.
    - `usual`: how many seconds a good call has taken, on average since construction. None means that there was none.
    - `told_until`: until when a server has asked to be left alone, while the circuit waits for that. None means that none has.
    """

    state: State
    override: Override | None
    in_a_row: int
    failed: int
    succeeded: int
    last_good: float | None
    opened_by: Reason | None
    probes_failed: int
    probes_succeeded: int
    stage: int
    stage_good: int
    stage_bad: int
    in_flight: int
    stage_seconds: float = 0.0
    usual: float | None = None
    told_until: float | None = None
