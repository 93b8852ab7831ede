"""Health probes: whether a dependency is back is asked by a call of its own, before a message has to find out.

A probe takes the place of the first message of a half-open. Its success begins the ramp, its failure opens the circuit again, and neither
closes it: only real work does. A message that goes on failing in half-open, with nobody else to compare, has a probe run before each of
its attempts: good probe and failed message together say whose fault it is (`RetryPolicy.reject_after_probes`).
"""

from __future__ import annotations

from typing import cast

from holdgate.core import Outcome, Permit, State
from holdgate.flow.gate import Gate


class Probes:
    """Begins and ends the probes of one engine, one at a time per gate. `begun` is drained by whoever runs them."""

    def __init__(self) -> None:
        self._gates: list[Gate] = []
        self._permits: dict[Gate, Permit] = {}
        self._generations: dict[Gate, int] = {}
        self.begun: list[Gate] = []

    def watch(self, gate: Gate) -> None:
        """Have a probe run for this dependency."""
        gate.probed = True
        self._gates.append(gate)

    def begin(self, now: float) -> None:
        """Take the slots of the probes that are due. Comes before any grant: a message would take them."""
        for gate in self._gates:
            if self._is_due(gate) and gate.circuit.may_acquire(now):
                permit = self._permits[gate] = cast("Permit", gate.circuit.try_acquire(now))  # it has just said that it may
                self._generations[gate] = permit.generation
                gate.probe_due = False
                self.begun.append(gate)

    def ended(self, gate: Gate, good: bool | None, now: float, retry_after: float | None) -> None:
        """The probe came back. `good` None: it was not run to its end, and says nothing."""
        permit = self._permits.pop(gate)
        circuit = gate.circuit
        if good is False:
            circuit.record(permit, Outcome.FAILURE, now, retry_after=retry_after)
            return
        gate.good_probes += good is True
        if good and circuit.is_probing and permit.generation == circuit.generation:
            circuit.record(permit, Outcome.SUCCESS, now)
        else:  # a stage of the ramp is judged by real work alone
            circuit.release(permit, now)

    def _is_due(self, gate: Gate) -> bool:
        circuit = gate.circuit
        if gate in self._permits or circuit.override is not None or circuit.state is not State.HALF_OPEN:
            return False
        return gate.probe_due or self._generations.get(gate) != circuit.generation
