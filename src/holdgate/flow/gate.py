"""One dependency as the engine sees it: its circuit, the heads that wait for it, the places that need it, and the votes of messages.

*Votes.* A circuit counts calls; a consumer's calls are not independent, because a message that fails comes again. One message is at most
one vote: it votes again only if no *other* message succeeded on the dependency since its own first failed attempt in the circuit's
current generation. So a poison message among healthy neighbours cannot open the circuit, and a lone message in front of a dead
dependency can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdgate.core import Circuit, Override, State
from holdgate.flow.blame import Blame

if TYPE_CHECKING:
    from holdgate.flow.admission import Lines
    from holdgate.flow.delivery import Wish
    from holdgate.flow.fate import RetryPolicy
    from holdgate.flow.place import Place
    from holdgate.flow.unclaimed import Kind


class Gate:
    """One dependency of one engine. Plain data; admission and the engine move it."""

    __slots__ = (
        "circuit",
        "down_since",
        "failures",
        "good_probes",
        "heads",
        "name",
        "places",
        "probe_due",
        "probed",
        "recoveries",
        "successes",
    )

    def __init__(self, circuit: Circuit) -> None:
        self.name = circuit.name
        self.circuit = circuit
        self.heads: Lines = {}  # those that wait and need it
        self.places: dict[Place, None] = {}  # a set that keeps its order: plans and events come out the same every time
        # Of messages, ever: only differences are looked at.
        self.successes = 0
        self.recoveries = 0  # those of the successes that had failed here before
        self.failures = 0  # votes
        self.down_since = 0.0  # when it last left CLOSED
        self.probed = False  # it has a health probe
        self.probe_due = False  # one is to run before the next attempt
        self.good_probes = 0  # ever

    @property
    def shut(self) -> bool:
        """Whether nothing at all is admitted, so that a source which needs it is held. Half-open is not shut."""
        circuit = self.circuit
        if circuit.override is None:
            return circuit.state is State.OPEN
        return circuit.override is Override.FORCED_OPEN

    @property
    def first_successes(self) -> int:
        """Messages that succeeded here at once: not counted on the fast path, which counts successes alone."""
        return self.successes - self.recoveries

    @property
    def is_open(self) -> bool:
        """Whether its circuit, and no operator, keeps it shut."""
        return self.circuit.override is None and self.circuit.state is State.OPEN

    @property
    def limited(self) -> bool:
        """Whether it admits a counted number at most: in half-open, or none while it is shut."""
        return self.circuit.free_slots is not None


class Vote:
    """What one message knows of one gate since its first failure there in this generation."""

    __slots__ = ("generation", "successes")

    def __init__(self, generation: int, successes: int) -> None:
        self.generation = generation
        self.successes = successes  # the gate's count at that failure, plus the message's own since

    def counts(self, gate: Gate) -> bool:
        """Whether another failure now is a new vote: nobody else succeeded meanwhile."""
        return gate.successes == self.successes


class Trial:
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
        "wish",
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
        self.unclaimed: tuple[Kind, int] | None = None  # what it failed with that no need claims, and in which spell
        self.error = ""  # the type of its last exception, never its text
        self.reason: str | None = None  # why it was rejected; None while it was not
        self.falling_back = False  # a lane runs its fallback, or is about to
        self.fallback_failed: tuple[int, ...] | None = None  # the generations of its gates when it did
        self.wish: Wish | None = None  # what the handler of this attempt has asked for

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
        """Whether it has failed as often as a message may, and nobody else has had a word meanwhile: message or dependency, who knows."""
        return any(blame.alone >= policy.attempts for blame in self.blames.values())

    @property
    def counted(self) -> int:
        """The failures that are held against it: its own, and those that a dependency had with it while others went well."""
        return self.charged + max((blame.attempts for blame in self.blames.values()), default=0)
