"""Failures that no dependency claims: is it a bad message, or an outage that no need describes? Decided by the run's own past, by one rule.

An exception that matches no need's `failures` is the message's own failure, and is charged to it. If a need was forgotten, or a client's
exception is missing in `failures`, an outage would then put good messages into the dead letters. So, for each type of exception, two
explanations are compared each time that it leaves a handler:

- *as ever*: so many of this handler's messages fail like this, as its last thousand results have shown;
- *an outage*: most messages fail like this, three in four.

Each failure adds the logarithm of how much better the second explains it, each success (of any message) and each failure that a need claims
takes ln 4 away, and the sum never falls below 0: Page's test for a change. At `ln(1/doubt)` it is an outage: as ever, it would look like
this once in 1/doubt. That is what convicts a message, too (blame.py), and here it acquits all of them: such a failure is not charged.
Several messages must have failed since the sum was 0, because one alone says nothing. It is an outage until the sum is 0 again.

While no message has succeeded yet, a hundredth of that evidence is enough: workers are restarted in outages, and deployed with a bug or
with a wrong address, far more often than an outage begins at any other moment.

    how often it failed so before    failures in a row until it is an outage
    never, of a thousand             2
    never, of a hundred              3
    nothing has succeeded yet        3
    one message in a hundred         4
    one in ten                       7
    three in ten                     15

A message that failed before will fail again, if it is a bad one: that shows nothing new. Another failure does only if messages with this
failure usually succeed when they are tried again. So the rates of first failures and of repeated ones are kept apart. A message that the
broker calls redelivered may have failed before: a worker that was killed leaves its bad messages to the next one, all together. Once
something has succeeded that is, for until then a worker that is restarted in an outage sees nothing but redelivered messages.

A type of exception is known by its name, and by the status of the HTTP answer if it has one: the messages that a server calls invalid (422)
say nothing of a token that has expired (401).

A success is a number that goes up by one, and nothing else happens on the fast path; the rest is worked out when something has failed.
"""

from __future__ import annotations

import math
from typing import Protocol

# "Most": in an outage of half of all calls the evidence still grows; as much as all would make one lucky success end every suspicion.
_MOST = 0.75

# A success is four times likelier in healthy times than in such an outage.
_GOOD = math.log(4)

# The past is this many results: ten bad messages in a thousand show a rate of one in a hundred, and a new kind of bad message is known in
# minutes.
_MEMORY = 1000.0

# One start in a hundred is a start into an outage, or with a bug.
_AT_START = math.log(100)

# Before anything is known a failure counts as one in a hundred: more than most workers ever see. Ten results outweigh that, so that a
# worker with more of them learns it in tens of messages.
_EXPECTED = 0.01
_WEIGHT = 10.0

# A message that failed is expected to fail again, until others have come back from it: two of them are half of the matter.
_WEIGHT_AGAIN = 2.0

# A failure of more than three in ten messages is never as ever: an outage that takes most calls must not become the rule while it lasts.
_USUAL = 0.3

# Of the types that a handler raises a handful matter; a handler that makes types as it goes must not fill the memory.
_TYPES = 32

# One alone is a bad message as well as an outage.
_SEVERAL = 2


class Suspect(Protocol):
    """What a message's failures have left in it: what it failed with that no need claims, and in which spell."""

    unclaimed: tuple[UnclaimedType, int] | None


class UnclaimedFailure(Protocol):
    """What a handler raised that no need claims (attribution.py)."""

    @property
    def unclaimed(self) -> str: ...

    @property
    def status(self) -> int | None: ...

    @property
    def is_bug(self) -> bool: ...


class UnclaimedType:
    """What is known of one type of exception, in one handler. `evidence` is a natural logarithm: how much speaks for an outage."""

    __slots__ = (
        "_failures", "_pending", "_repeated", "_results", "_retried", "_seen",
        "began", "error", "evidence", "is_bug", "is_outage", "messages", "others", "spell", "status",
    )  # fmt: skip

    def __init__(self, error: str, status: int | None = None, *, is_bug: bool = False) -> None:
        self.error = error  # with its module
        self.status = status  # of the HTTP answer in it; None means that it has none
        self.is_bug = is_bug  # an error of the program, as KeyError is
        self.evidence = 0.0
        self.began = 0.0  # when the first message failed in this spell
        self.spell = 0  # goes up when the evidence falls to 0: a message that failed before that counts as a new one
        self.messages = 0  # different ones that failed in this spell
        self.others = 0  # results that were anything else, in this spell
        self.is_outage = False  # from when enough evidence speaks for one until none does
        self._seen = 0  # of the handler's other results
        self._results = self._failures = 0.0  # first results of messages, and how many of them failed like this
        self._retried = self._repeated = 0.0  # of those that had: how often they were tried again, and failed again
        # First and repeated failures since the last other result: not known yet whether of a bad time or of bad messages.
        self._pending = [0, 0]

    def look(self, others: int) -> None:
        """Note that the handler has had so many other results by now."""
        since, self._seen = others - self._seen, others
        if not since:
            return
        self._remember(since)
        self.others += since
        self.evidence -= since * _GOOD
        if self.evidence <= 0.0:
            self.evidence = 0.0
            self.messages = self.others = 0
            self.is_outage = False
            self.spell += 1

    def failed(self, *, again: bool, new: bool, enough: float, now: float = 0.0) -> None:
        """Note that a message failed, `again` or for the first time, a `new` one in this spell or not."""
        rate = self._rate_again if again else self._rate
        if not self.messages:
            self.began = now
        self._pending[again] += 1
        self.messages += new
        # No more than enough: however long an outage was, a handful of successes are the end of it.
        self.evidence = min(enough, self.evidence + max(0.0, math.log(_MOST / rate)))
        if self.evidence >= enough and self.messages >= _SEVERAL:
            self.is_outage = True

    def recovered(self) -> None:
        """Note that a message which had failed like this has succeeded."""
        self._retried += 1

    @property
    def _rate(self) -> float:
        return min(_USUAL, (self._failures + _WEIGHT * _EXPECTED) / (self._results + _WEIGHT))

    @property
    def _rate_again(self) -> float:
        return (self._repeated + _WEIGHT_AGAIN) / (self._retried + _WEIGHT_AGAIN)

    def _remember(self, others: int) -> None:
        """Count the failures so far as past: something else has happened.

        Of an outage only one failure counts. If all did, a long outage would make the next one look usual. If none did, a wrong suspicion
        would come again and again.
        """
        first, again = (1, 0) if self.is_outage else self._pending
        self._pending = [0, 0]
        self._failures += first
        self._results += others + first
        self._retried += again
        self._repeated += again
        share = _MEMORY / max(_MEMORY, self._results)
        self._failures *= share
        self._results *= share
        share = _MEMORY / max(_MEMORY, self._retried)
        self._retried *= share
        self._repeated *= share


class RunResults:
    """The results of one handler's messages. The fast path of the engine counts `successes`, and nothing else."""

    __slots__ = ("_kinds", "claimed", "next_try", "successes", "suspected")

    def __init__(self) -> None:
        self.successes = 0
        self.claimed = 0  # failures that a need claims: they are results of another kind
        self.suspected = False  # its sources are held
        self.next_try = 0.0  # while they are: when a message that has not failed is tried
        self._kinds: dict[tuple[str, int | None], UnclaimedType] = {}  # the one that failed last is the last

    def enough(self, conviction: float) -> float:
        """Return how much evidence is enough. `conviction` is what convicts a message; at the start less will do, but never nothing."""
        return conviction if self.successes else max(conviction / 2, conviction - _AT_START)

    def failed(
        self, history: Suspect, failure: UnclaimedFailure, conviction: float, now: float = 0.0, *, redelivered: bool = False
    ) -> UnclaimedType | None:
        """Note that a message failed with what no need claims.

        Returns what is known of the type if enough evidence speaks for an outage; None means that it is the message's own failure.
        `redelivered`: the broker has handed the message out before.
        """
        kind = self._kind_of(failure)
        kind.look(self.successes + self.claimed)
        before = history.unclaimed
        again = (before is not None and before[0] is kind) or (redelivered and self.successes > 0)
        history.unclaimed = (kind, kind.spell)
        kind.failed(again=again, new=before != history.unclaimed, enough=self.enough(conviction), now=now)
        return kind if kind.is_outage else None

    def failed_by_a_need(self) -> None:
        """Count a failure that a need claims."""
        self.claimed += 1

    def _kind_of(self, failure: UnclaimedFailure) -> UnclaimedType:
        key = (failure.unclaimed, failure.status)
        kind = self._kinds.pop(key, None) or UnclaimedType(*key, is_bug=failure.is_bug)
        self._kinds[key] = kind
        if len(self._kinds) > _TYPES:
            del self._kinds[next(iter(self._kinds))]
        return kind

    def succeeded(self, history: Suspect | None) -> None:
        """Note that a message was processed, whose `history` may have failures."""
        self.successes += 1
        if history is not None and history.unclaimed is not None:
            kind, _ = history.unclaimed
            kind.recovered()
            history.unclaimed = None
