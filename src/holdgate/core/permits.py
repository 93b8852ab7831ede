"""What a circuit hands out: a permit to make one call, or a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdgate.core.states import Override, State

# Where a permit stands. Plain integers: they are written twice per call, and an enum's attribute costs a look-up each time.
LIVE = 0
SETTLED = 1
EXPIRED = 2


class Permit:
    """Leave for one call, to be given back once with `Circuit.record` or `Circuit.release`.

    `generation` is the circuit's when it was issued: a result of an older one decides nothing. `acquired_at` is the monotonic second of
    its issue, `weight` what it counts against a ramp's limit.

    It has no `__init__`, because one costs more than the rest of an acquire; the circuit alone makes permits, and fills in every field.
    """

    __slots__ = ("acquired_at", "generation", "stage", "standing", "weight")

    acquired_at: float
    generation: int
    weight: int
    standing: int
    stage: int  # the ramp's stage; only a permit of a half-open has one

    def __repr__(self) -> str:
        return f"<Permit generation={self.generation} acquired_at={self.acquired_at:g} weight={self.weight}>"


def issue(generation: int, now: float, weight: int) -> Permit:
    """A live permit. `Circuit.try_acquire` has a copy of these lines, to save the call."""
    permit = Permit()
    permit.generation = generation
    permit.acquired_at = now
    permit.weight = weight
    permit.standing = LIVE
    return permit


@dataclass(frozen=True, slots=True)
class Rejected:
    """A refusal. One object serves many: nothing is kept per refusal.

    `retry_at` is the monotonic second from which a try may be admitted; None: unknown (a ramp without room, or only an operator ends it).
    `state` is the circuit's, which FORCED_OPEN leaves as it was; `override` tells that.
    """

    retry_at: float | None
    state: State
    override: Override | None = None
