"""What is known of a message that has failed, and the rule that decides whether the message or its dependency is at fault.

`FailureHistory` is the record of one failed message; the first failure creates it. It holds a `Vote` and a `Blame` for each gate that the
message failed on. A vote says whether the message's next failure counts for the circuit (gate.py). Blame says how much speaks against the
message:

A failed attempt adds `-ln p` to the message's blame, where `p = (f + 1) / (n + 1)` is how likely an innocent message was to fail just then:
n others were tried on the dependency since this message's previous attempt, and f of them failed. The attempts are independent, so the sum
is the logarithm of how likely an innocent message was to fail all of them. At `ln(1/doubt)` that is less than `doubt`. Then the message is
rejected, if `attempts` of its failures were among neighbours that mostly succeeded (p at most a half).

Each message is one of the n once, by its first result. A retry that succeeds comes only from messages that failed before, and would make
the dependency look healthier than it is. A vote follows the same rule, so f are the votes.

While a circuit is not CLOSED every failure is as likely as can be (p = 1) and adds nothing, and when the circuit opens all blame is
forgotten: an outage costs no message anything. With no other message around n is 0, and a lone message gathers no blame however often it
fails.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from holdgate.core import Override, State, TimeWindow

if TYPE_CHECKING:
    from holdgate.flow.gate import Gate
    from holdgate.flow.message import AnyDelivery
    from holdgate.flow.policy import GivenUp, RetryPolicy
    from holdgate.flow.unclaimed import UnclaimedType


class Vote:
    """What one message knows of one gate since its first failure there in this generation."""

    __slots__ = ("generation", "successes")

    def __init__(self, generation: int, successes: int) -> None:
        self.generation = generation
        self.successes = successes  # the gate's count at that failure, plus the message's own since

    def counts(self, gate: Gate) -> bool:
        """Return whether another failure now is a new vote: no other message succeeded meanwhile."""
        return gate.successes == self.successes


class FailureHistory:
    """What is known of a delivery that has failed; created at its first failure, gone with the delivery.

    Its methods are its only writers, `unclaimed` apart, which unclaimed.py keeps.
    """

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
        "given_up",
        "last_failed_at",
        "let_in",
        "place",
        "reason",
        "refusals",
        "throttled",
        "unclaimed",
        "votes",
    )

    def __init__(self) -> None:
        self.charged = 0  # attempts that were its own failure: RetryPolicy.attempts limits them
        self.backoffs = 0  # backoffs in a row: the exponent of the next one
        self.extra: tuple[Gate, ...] = ()  # undeclared dependencies that refused one of its calls: needs of it until it is settled
        self.votes: dict[Gate, Vote] = {}
        self.blames: dict[Gate, Blame] = {}
        self.refusals = 0  # starts that ended because a call was not permitted: no attempts
        self.throttled = 0  # starts in a row that a limit ended: no attempts
        self.let_in: dict[Gate, int] = {}  # the successes of a gate when it was throttled there last (throttling.py)
        self.place: int | None = None  # where it waits since it was throttled first (waiting.py); None while it was not
        self.failures = 0  # attempts that failed, whatever the fault: shown to people, no rule reads it
        self.first_failed_at = 0.0  # monotonic, as every time in here
        self.last_failed_at = 0.0
        self.unclaimed: tuple[UnclaimedType, int] | None = None  # what it failed with that no need claims, and in which spell
        self.error = ""  # the type of its last exception, never its text
        self.reason: str | None = None  # why it was rejected; None while it was not
        self.given_up: GivenUp = "rejected"  # by which rule it was
        self.falling_back = False  # a lane runs its fallback, or is about to
        self.fallback_failed: tuple[int, ...] | None = None  # the generations of its gates when its fallback failed

    def failed(self, error: str, now: float) -> None:
        """Note a failed attempt, for events and dead letters."""
        if not self.failures:
            self.first_failed_at = now
        self.failures += 1
        self.throttled, self.place = 0, None  # it has had its turn
        self.last_failed_at = now
        self.error = error

    def votes_again(self, gate: Gate) -> bool:
        """Note a failure on `gate`; True if it is a vote for the circuit, False if others have shown the dependency healthy."""
        generation = gate.circuit.generation
        vote = self.votes.get(gate)
        if vote is None or vote.generation != generation:
            self.votes[gate] = Vote(generation, gate.successes)
            return True
        return vote.counts(gate)

    def succeeded(self, gate: Gate) -> None:
        """Note a success on one need, which it may have failed on before.

        Its own success must not look like that of another message, so its votes count it too.
        """
        vote = self.votes.get(gate)
        if vote is not None:
            vote.successes += 1
        blame = self.blames.get(gate)
        if blame is not None:
            gate.recovered()

    def blame_of(self, gate: Gate) -> Blame:
        """Return what speaks against it on this gate; begins here with its first failure."""
        blame = self.blames.get(gate)
        if blame is None:
            blame = self.blames[gate] = Blame(gate)
        return blame

    def is_convicted(self, policy: RetryPolicy) -> bool:
        """Return whether it failed on a dependency more often than an innocent message would, by the results of others or of probes."""
        return any(blame.convicts(gate, policy) for gate, blame in self.blames.items())

    def is_alone(self, policy: RetryPolicy) -> bool:
        """Return whether it has failed as often as a message may, with no result of another message meanwhile, and the circuit does not
        explain that by itself.

        In a plain outage the circuit opens first: until it could have opened, and one more attempt failed, nothing speaks for the message.
        A circuit that takes many failures to open is not waited for so long, because the source stands meanwhile and nobody knows why.
        """
        return any(blame.is_alone(gate, policy) for gate, blame in self.blames.items())

    def charge(self) -> None:
        """Count an attempt that was its own failure."""
        self.charged += 1

    def back_off(self) -> int:
        """Count one more backoff in a row; returns how many there are."""
        self.backoffs += 1
        return self.backoffs

    def end_backoffs(self) -> None:
        """Let its next backoff be a first one: from now on admission decides when it starts."""
        self.backoffs = 0

    def refused(self) -> None:
        """Count a start that ended because a call was not permitted."""
        self.refusals += 1

    def throttled_again(self, error: str) -> None:
        """Count a start that ended because a dependency has too many calls for now. `error` is the type of that refusal."""
        self.throttled += 1
        self.error = error

    def note_let_in(self, gate: Gate) -> int | None:
        """Note how many were let in by a gate that throttles it now; returns how many had been the last time. None means the first time."""
        before = self.let_in.get(gate)
        self.let_in[gate] = gate.successes
        return before

    def keeps_place(self, place: int | None) -> None:
        """Note where it waits from now on; None means behind all that wait."""
        self.place = place

    def needs_also(self, gate: Gate) -> None:
        """Add an undeclared dependency, which has refused one of its calls, to what it needs until it is settled."""
        self.extra += (gate,)

    def rejected(self, reason: str, given_up: GivenUp) -> None:
        """Note that it was rejected, why, and by which rule: its next lane sends it, and starts no handler."""
        self.reason = reason
        self.given_up = given_up

    def falls_back(self) -> None:
        """Note that a lane runs its fallback from now on."""
        self.falling_back = True

    def fallback_ended(self) -> None:
        """Note that its fallback is over, however it ended."""
        self.falling_back = False

    def note_failed_fallback(self, generations: tuple[int, ...]) -> None:
        """Note that its fallback failed in these generations of its gates: it does not fall back again before one of them changes."""
        self.fallback_failed = generations

    def come_again(self) -> FailureHistory:
        """Return what the same message begins with when its broker delivers it again: what speaks against it, and its needs.

        What belonged to its place in this process, and a letter that was not written, are gone.
        """
        again = FailureHistory()
        again.charged, again.blames, again.votes, again.extra = self.charged, self.blames, self.votes, self.extra
        again.failures, again.error = self.failures, self.error
        again.first_failed_at, again.last_failed_at = self.first_failed_at, self.last_failed_at
        again.unclaimed = self.unclaimed
        return again

    def of_a_piece(self) -> FailureHistory:
        """Return what a piece of a failed batch begins with: its votes, what it needs beside its source's needs, and when it failed."""
        piece = FailureHistory()
        piece.extra = self.extra
        piece.backoffs = self.backoffs
        piece.unclaimed = self.unclaimed
        piece.failures, piece.error = self.failures, self.error
        piece.first_failed_at, piece.last_failed_at = self.first_failed_at, self.last_failed_at
        # Copies: a piece that succeeds speaks for its dependency, also to the other pieces.
        piece.votes = {gate: Vote(vote.generation, vote.successes) for gate, vote in self.votes.items()}
        return piece

    @property
    def counted(self) -> int:
        """Return the failures that speak against it: its own, and those on a dependency on which others succeeded."""
        return self.charged + max((blame.attempts for blame in self.blames.values()), default=0)


# Above this the dependency fails more than it works: such a failure shows little, and does not count as an attempt.
_MOSTLY = 0.5

# So many failures of a lone message take five minutes with the default backoffs: longer than that no source stands unexplained.
_NAMED_AT = 16


class Blame:
    """What speaks against one message on one gate. `blame` is a natural logarithm, `attempts` counts failures among successes of others."""

    __slots__ = ("_failures", "_generation", "_good_probes", "_successes", "alone", "attempts", "blame", "pairs")

    def __init__(self, gate: Gate) -> None:
        self.blame = 0.0
        self.attempts = 0
        self.alone = 0  # failures in a row without a result of another message, whatever the circuit's state
        self.pairs = 0  # of a good probe and a failure after it, in a row and alone
        self._good_probes = gate.good_probes
        self._generation: int = -1  # of no circuit: the first failure looks at the circuit's window
        self._successes = gate.first_successes
        self._failures = gate.failures

    def failed(self, gate: Gate, now: float, *, charged: bool) -> None:
        """Note a failed attempt, before its own vote is counted. `charged` False: it may be another dependency's failure as well."""
        generation = gate.circuit.generation
        failures = gate.failures - self._failures
        others = gate.first_successes - self._successes + failures
        self._compare(gate, others, charged=charged)
        if generation != self._generation:  # the circuit has opened since, or this is the first time
            self.blame, self.attempts, self._generation = 0.0, 0, generation
            others, failures, _ = gate.circuit.seen_at(now)
        if charged and counts_as_closed(gate):
            self._add((failures + 1) / (others + 1))

    def _compare(self, gate: Gate, others: int, *, charged: bool) -> None:
        """Compare it with probes while there is no other message."""
        self.alone = 0 if others else self.alone + 1
        if gate.circuit.state is State.HALF_OPEN:
            if gate.probed:
                gate.want_probe(wanted=not others)
            self.pairs += charged and gate.good_probes > self._good_probes
        if others:
            self.pairs = 0
        self._good_probes = gate.good_probes

    def _add(self, likely: float) -> None:
        self.blame -= math.log(likely)
        self.attempts += likely <= _MOSTLY

    def is_alone(self, gate: Gate, policy: RetryPolicy) -> bool:
        """Return whether it has failed on this gate as often as a message may alone (`FailureHistory.is_alone`)."""
        return self.alone >= max(policy.attempts, min(_failures_that_open(gate) + 1, _NAMED_AT))

    def mark(self, gate: Gate) -> None:
        """Note that its own vote is counted: all results from now on are those of others."""
        self._successes = gate.first_successes
        self._failures = gate.failures

    def convicts(self, gate: Gate, policy: RetryPolicy) -> bool:
        """Return whether an innocent message would fail like this less often than once in 1/doubt, or whether enough probes say so."""
        if policy.reject_after_probes is not None and self.pairs >= policy.reject_after_probes:
            return True
        if self._generation != gate.circuit.generation:  # this very failure has opened the circuit
            return False
        return self.attempts >= policy.attempts and self.blame >= policy.conviction


def counts_as_closed(gate: Gate) -> bool:
    """Return whether a failure may be the message's: DISABLED and METRICS_ONLY admit everything, as CLOSED does."""
    override = gate.circuit.override
    return gate.circuit.state is State.CLOSED if override is None else override is not Override.FORCED_OPEN


def _failures_that_open(gate: Gate) -> int:
    """Return after how many failures of a lone message its circuit must have opened, if nothing keeps it closed."""
    settings = gate.circuit.settings
    if settings.consecutive_failures is not None:
        return settings.consecutive_failures
    if isinstance(settings.window, TimeWindow):
        return settings.minimum_calls
    calls = settings.window.calls
    return max(min(settings.minimum_calls, calls), math.ceil(settings.failure_rate_threshold * calls))


def history_of(delivery: AnyDelivery) -> FailureHistory:
    """Return what is known of its failures; begins here with the first."""
    if delivery.history is None:
        delivery.history = FailureHistory()
    history: FailureHistory = delivery.history
    return history
