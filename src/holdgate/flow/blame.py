"""Blame: is it this message, or the dependency? Told by other messages, by one rule.

A failed attempt adds `-ln p` to the message's blame, where `p = (f + 1) / (n + 1)`: how likely an innocent message was to fail just then,
by what the n others came to that were tried on the dependency since this message's previous attempt, f of which failed. The attempts are
independent, so the sum is the logarithm of how likely an innocent message was to fail all of them. At `ln(1/doubt)` that is less than
`doubt`, and the message is rejected, if `attempts` of its failures were among neighbours that mostly succeeded (p at most a half).

Each message is one of the n once, by its first result: a retry that succeeds comes only from messages that failed before, and would make
the dependency look healthier than it is. That is also what a vote is (gate.py), so f are the votes.

While a circuit is not CLOSED every failure is as likely as can be (p = 1) and adds nothing, and when it opens all blame is forgotten:
an outage costs no message anything. With nobody else around n is 0, and a lone message gathers no blame however often it fails.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from holdgate.core import Override, State

if TYPE_CHECKING:
    from holdgate.flow.fate import RetryPolicy
    from holdgate.flow.gate import Gate

# Above this the dependency fails more than it works: such a failure is evidence of little, and no attempt.
_MOSTLY = 0.5


class Blame:
    """What speaks against one message on one gate. `blame` is a natural logarithm, `attempts` the failures that count as such."""

    __slots__ = ("_failures", "_generation", "_good_probes", "_successes", "alone", "attempts", "blame", "pairs")

    def __init__(self, gate: Gate) -> None:
        self.blame = 0.0
        self.attempts = 0
        self.alone = 0  # failures in a row without a word from anybody else, whatever the circuit
        self.pairs = 0  # of a good probe and a failure after it, in a row and alone
        self._good_probes = gate.good_probes
        self._generation = -1  # of no circuit: the first failure looks at the circuit's window
        self._successes = gate.first_successes
        self._failures = gate.failures

    def failed(self, gate: Gate, now: float, *, charged: bool) -> None:
        """An attempt failed, and its own vote is not counted yet. `charged` False: it may as well be another dependency's failure."""
        generation = gate.circuit.generation
        failures = gate.failures - self._failures
        others = gate.first_successes - self._successes + failures
        self._compare(gate, others, charged=charged)
        if generation != self._generation:  # the circuit has opened since, or this is the first time
            self.blame, self.attempts, self._generation = 0.0, 0, generation
            window = gate.circuit.snapshot(now)
            failures, others = window.failures, window.calls
        if charged and counts_as_closed(gate):
            self._add((failures + 1) / (others + 1))

    def _compare(self, gate: Gate, others: int, *, charged: bool) -> None:
        """With nobody else around, it is compared with probes."""
        self.alone = 0 if others else self.alone + 1
        if gate.circuit.state is State.HALF_OPEN:
            gate.probe_due = gate.probed and not others
            self.pairs += charged and gate.good_probes > self._good_probes
        if others:
            self.pairs = 0
        self._good_probes = gate.good_probes

    def _add(self, likely: float) -> None:
        self.blame -= math.log(likely)
        self.attempts += likely <= _MOSTLY

    def mark(self, gate: Gate) -> None:
        """Its vote is counted: what comes from now on is of others."""
        self._successes = gate.first_successes
        self._failures = gate.failures

    def convicts(self, gate: Gate, policy: RetryPolicy) -> bool:
        """Whether an innocent message would have failed like this less often than once in 1/doubt, or after so many good probes."""
        if policy.reject_after_probes is not None and self.pairs >= policy.reject_after_probes:
            return True
        if self._generation != gate.circuit.generation:  # this very failure has opened the circuit
            return False
        return self.attempts >= policy.attempts and self.blame >= policy.conviction


def counts_as_closed(gate: Gate) -> bool:
    """Whether a failure may be anybody's fault: DISABLED and METRICS_ONLY admit everything, as CLOSED does."""
    override = gate.circuit.override
    return gate.circuit.state is State.CLOSED if override is None else override is not Override.FORCED_OPEN
