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
from typing import TYPE_CHECKING, Any

from holdgate.core import Override, State, TimeWindow
from holdgate.flow.message import Delivery

if TYPE_CHECKING:
    from holdgate.flow.gate import Gate
    from holdgate.flow.policy import RetryPolicy
    from holdgate.flow.unclaimed import UnclaimedType


class Vote:
    """What one message knows of one gate since its first failure there in this generation."""

    __slots__ = ("generation", "successes")

    def __init__(self, generation: int, successes: int) -> None:
        self.generation = generation
        self.successes = successes  # the gate's count at that failure, plus the message's own since

    def counts(self, gate: Gate) -> bool:
        """Whether another failure now is a new vote: nobody else succeeded meanwhile."""
        return gate.successes == self.successes


class FailureHistory:
    """What is known of a delivery that has failed; created at its first failure, gone with the delivery."""

    __slots__ = (
        "backoffs",
        "blames",
        "charged",
        "error",
        "extra",
        "failures",
        "fallback_failed",
        "falling_back",
        "first_failed_at",
        "last_failed_at",
        "reason",
        "unclaimed",
        "votes",
    )

    def __init__(self) -> None:
        self.charged = 0  # attempts that were its own failure: what RetryPolicy.attempts limits
        self.backoffs = 0  # failures since it last waited for nothing: the exponent of the next backoff
        self.extra: tuple[Gate, ...] = ()  # undeclared dependencies that refused one of its calls: needs of it until it is settled
        self.votes: dict[Gate, Vote] = {}
        self.blames: dict[Gate, Blame] = {}
        self.failures = 0  # attempts that failed, whoever's fault: told, never decided by
        self.first_failed_at = 0.0  # monotonic, as every time in here
        self.last_failed_at = 0.0
        self.unclaimed: tuple[UnclaimedType, int] | None = None  # what it failed with that no need claims, and in which spell
        self.error = ""  # the type of its last exception, never its text
        self.reason: str | None = None  # why it was rejected; None while it was not
        self.falling_back = False  # a lane runs its fallback, or is about to
        self.fallback_failed: tuple[int, ...] | None = None  # the generations of its gates when it did

    def failed(self, error: str, now: float) -> None:
        """Note a failed attempt, for whoever will want to know."""
        if not self.failures:
            self.first_failed_at = now
        self.failures += 1
        self.last_failed_at = now
        self.error = error

    def votes_again(self, gate: Gate) -> bool:
        """Note a failure on `gate`; True when it is a vote for the circuit, False when others have shown the dependency healthy."""
        generation = gate.circuit.generation
        vote = self.votes.get(gate)
        if vote is None or vote.generation != generation:
            self.votes[gate] = Vote(generation, gate.successes)
            return True
        return vote.counts(gate)

    def succeeded(self, gate: Gate) -> None:
        """It succeeded on one need, which it may have failed on before; while it fails on another, that is nobody else's evidence."""
        vote = self.votes.get(gate)
        if vote is not None:
            vote.successes += 1
        blame = self.blames.get(gate)
        if blame is not None:
            gate.recoveries += 1

    def blame_of(self, gate: Gate) -> Blame:
        """What speaks against it on this gate; begins here with its first failure."""
        blame = self.blames.get(gate)
        if blame is None:
            blame = self.blames[gate] = Blame(gate)
        return blame

    def is_convicted(self, policy: RetryPolicy) -> bool:
        """Whether a dependency failed it more often than an innocent message could have come to, by what others or probes came to."""
        return any(blame.convicts(gate, policy) for gate, blame in self.blames.items())

    def is_alone(self, policy: RetryPolicy) -> bool:
        """Return whether it has failed as often as a message may, with no result of another message meanwhile, and the circuit does not
        explain that by itself.

        In a plain outage the circuit opens first: until it could have opened, and one more attempt failed, nothing speaks for the message.
        """
        return any(blame.alone >= max(policy.attempts, _failures_that_open(gate) + 1) for gate, blame in self.blames.items())

    @property
    def counted(self) -> int:
        """The failures that are held against it: its own, and those that a dependency had with it while others went well."""
        return self.charged + max((blame.attempts for blame in self.blames.values()), default=0)


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
        self._generation: int = -1  # of no circuit: the first failure looks at the circuit's window
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


def trial_of(delivery: Delivery[Any]) -> FailureHistory:
    """What is known of its failures; begins here with the first."""
    if delivery.trial is None:
        delivery.trial = FailureHistory()
    trial: FailureHistory = delivery.trial
    return trial


def _failures_that_open(gate: Gate) -> int:
    """Return after how many failures of a lone message its circuit must have opened, if nothing keeps it closed."""
    settings = gate.circuit.settings
    if settings.consecutive_failures is not None:
        return settings.consecutive_failures
    if isinstance(settings.window, TimeWindow):
        return settings.minimum_calls
    calls = settings.window.calls
    return max(min(settings.minimum_calls, calls), math.ceil(settings.failure_rate_threshold * calls))
