"""What a circuit looks like at one moment: enough to answer why it is open, or why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdgate.core.states import Override, State


@dataclass(frozen=True, slots=True)
class CircuitSnapshot:
    """A frozen reading of one circuit; taking it changes nothing.

    `open_until`: monotonic seconds, None unless OPEN. `limit`: weight that may be in flight, None without a limit of the circuit's own,
    0 while nothing goes through. `in_flight`: weight of the live permits of this generation. `calls`, `failures`, `slow_calls`: what the
    window holds; after an opening it keeps what caused it until the circuit closes. The rates are in [0, 1], None below the minimum of
    calls. `rejected`, `late_results`, `settled_twice`: totals since construction. `next_deadline`: as `Circuit.next_deadline`.
    """

    name: str
    state: State
    override: Override | None
    generation: int
    level: int
    open_until: float | None
    limit: int | None
    in_flight: int
    calls: int
    failures: int
    slow_calls: int
    failure_rate: float | None
    slow_call_rate: float | None
    consecutive_failures: int
    rejected: int
    late_results: int
    settled_twice: int
    next_deadline: float | None
