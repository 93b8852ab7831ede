"""The report of a rehearsal: what became of each message, and a verdict in words.

A rehearsal notes what happened as `Facts`. Everything else is worked out from them here, without I/O: `report_of` counts, and each function
under "the sentences" looks for one mistake that costs messages.

A call has failed if a stand-in met an outage in it. What the handler made of that is its own affair: a handler that returns after its last
call has failed has swallowed the error, or has not looked at the status.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from holdgate.core import CircuitOpened, Outcome
from holdgate.flow.events import AnyEvent, SourceBlocked
from holdgate.flow.message import type_name
from holdgate.runtime.dependency import Dependency
from holdgate.testing.outages import Answered, AttemptLog, Calls, Outage

Place = tuple[str, int]  # topic and offset; each topic has one partition


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What happened in a rehearsal. Bodies stand for messages, and times are virtual seconds.

    - `verdict`: all of it in words, the problems first.
    - `problems`: what would cost messages, or makes the rehearsal worthless, one sentence each. Empty means that all is well.
    - `processed`: the messages that were settled after the handler had returned, in that order.
    - `swallowed`: those of them whose last call had failed.
    - `fallen_back`: the messages that the fallback took.
    - `rejected`: the messages that were settled though neither had returned for them: dead letters, and what was skipped.
    - `left`: the messages that still wait at the end, including a rejected one that blocks its partition.
    - `called`: how often a handler was started.
    - `called_in_outage`: how many of those starts made a call that failed.
    - `failed_calls`: how many calls met an outage.
    - `held`: how long a source was held.
    - `back_after`: the time from the end of an outage until all that waited then was settled, the longest of all outages. None means that
      there was no outage, or that messages are left.
    - `took`: how long it took until everything was settled, or until the rehearsal gave up.
    - `events`: every event that observers got.
    """

    verdict: str
    problems: tuple[str, ...]
    processed: tuple[bytes | None, ...]
    swallowed: tuple[bytes | None, ...]
    fallen_back: tuple[bytes | None, ...]
    rejected: tuple[bytes | None, ...]
    left: tuple[bytes | None, ...]
    called: int
    called_in_outage: int
    failed_calls: int
    held: float
    back_after: float | None
    took: float
    events: tuple[AnyEvent, ...]


# -- what is noted --------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Attempt:
    """One start of a handler.

    `at` is its second, and `log` has what it called. `done` has the messages that it was done with. `error` is the type that it raised,
    with its module. `unmatched` has the dependencies whose last call had failed, and whose `failures` do not match the error.
    """

    places: Sequence[Place]
    at: float
    log: AttemptLog = field(default_factory=AttemptLog)
    done: list[Place] = field(default_factory=list[Place])
    error: str | None = None
    unmatched: frozenset[Dependency] = frozenset()

    @property
    def calls(self) -> Mapping[Dependency, Calls]:
        return self.log.calls

    @property
    def has_failed_call(self) -> bool:
        return any(calls.failed for calls in self.calls.values())

    def raised(self, error: Exception) -> None:
        """Note what the handler raised."""
        self.error = type_name(type(error))
        self.unmatched = frozenset(
            dependency
            for dependency, calls in self.calls.items()
            if calls.has_failed_last and dependency.classify(error) is Outcome.IGNORED
        )


@dataclass(slots=True)
class Facts:
    """What happened. Places are in the order in which it happened to them."""

    outages: Sequence[tuple[Outage, Dependency]]
    has_dead_letters: bool
    produced: dict[Place, tuple[bytes | None, float]] = field(
        default_factory=dict[Place, tuple[bytes | None, float]]
    )  # the body, and the second
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    settled: dict[Place, float] = field(default_factory=dict[Place, float])
    fallen_back: list[Place] = field(default_factory=list[Place])
    events: list[AnyEvent] = field(default_factory=list[AnyEvent])

    def bodies(self, places: Iterable[Place]) -> tuple[bytes | None, ...]:
        return tuple(self.produced[place][0] for place in places)


def report_of(facts: Facts, *, held: float, took: float) -> Rehearsal:
    """Return the report."""
    last = {place: attempt for attempt in facts.attempts for place in attempt.done}
    processed = [place for place in facts.settled if place in last and place not in facts.fallen_back]
    swallowed = [place for place in processed if any(calls.has_failed_last for calls in last[place].calls.values())]
    rejected = [place for place in facts.settled if place not in last and place not in facts.fallen_back]
    left = [place for place in facts.produced if place not in facts.settled]
    failed = sum(calls.failed for attempt in facts.attempts for calls in attempt.calls.values())
    back_after = None if left else max((_back(outage, facts) for outage, _ in facts.outages), default=None)
    problems = tuple(_problems(facts, last, swallowed, rejected, left))
    return Rehearsal(
        verdict="; ".join([*problems, *_notes(facts, len(processed), failed, None if problems else back_after)]),
        problems=problems,
        processed=facts.bodies(processed),
        swallowed=facts.bodies(swallowed),
        fallen_back=facts.bodies(facts.fallen_back),
        rejected=facts.bodies(rejected),
        left=facts.bodies(left),
        called=len(facts.attempts),
        called_in_outage=sum(attempt.has_failed_call for attempt in facts.attempts),
        failed_calls=failed,
        held=held,
        back_after=back_after,
        took=took,
        events=tuple(facts.events),
    )


def _back(outage: Outage, facts: Facts) -> float:
    """Return the seconds from the end of an outage until everything that had come by then was settled."""
    waited = (facts.settled[place] for place, (_, second) in facts.produced.items() if second < outage.end)
    return max(0.0, max(waited, default=0.0) - outage.end)


# -- the sentences --------------------------------------------------------------------------------------------------------------------


def _problems(
    facts: Facts, last: Mapping[Place, Attempt], swallowed: Sequence[Place], rejected: Sequence[Place], left: Sequence[Place]
) -> Iterator[str]:
    good = [place for place in rejected if _is_good(place, facts)]
    for dependency in dict.fromkeys(victim for _, victim in facts.outages):
        outages = [outage for outage, victim in facts.outages if victim is dependency]
        calls = [attempt.calls[dependency] for attempt in facts.attempts if dependency in attempt.calls]
        lost = [each for place in swallowed if (each := last[place].calls.get(dependency)) and each.has_failed_last]
        for sentence in (
            _met_nothing(calls, outages, facts),
            _swallowed(lost, outages),
            _unmatched(dependency, facts, charged=bool(good)),
            _outlasted(calls),
        ):
            if sentence:
                yield f"{dependency.name}: {sentence}"
    if good:
        yield f"{_count(len(good), 'good message')} {'became dead letters' if facts.has_dead_letters else 'skipped, and lost'}"
    if left:
        blocking = next((place for place in left if _is_good(place, facts) and _is_blocked(place, facts)), None)
        why = "" if blocking is None else f": {blocking[0]}[0]@{blocking[1]} was charged for the outage alone, and blocks its partition"
        yield f"{_were(len(left))} not processed{why}"


def _met_nothing(calls: Sequence[Calls], outages: Sequence[Outage], facts: Facts) -> str | None:
    if any(each.failed for each in calls):
        return None
    ran = sum(any(outage.start <= attempt.at < outage.end for outage in outages) for attempt in facts.attempts)
    if not ran:
        return "no handler ran while it was down: deliver more, or let the outage begin before the last delivery"
    return (
        f"no call met its outage, though {_count(ran, 'handler')} ran meanwhile: give the handler's client a stand-in of "
        "holdgate.testing.scripted, or ask a ScriptedDependency in your fake"
    )


def _swallowed(lost: Sequence[Calls], outages: Sequence[Outage]) -> str | None:
    if not lost:
        return None
    which = "every call" if all(each.failed == each.made for each in lost) else "the last call"
    status = ", or does not look at the status" if any(isinstance(outage.fault, Answered) for outage in outages) else ""
    return f"{_were(len(lost))} reported as done while {which} failed: the handler swallows errors{status}"


def _unmatched(dependency: Dependency, facts: Facts, *, charged: bool) -> str | None:
    errors = sorted({attempt.error for attempt in facts.attempts if attempt.error and dependency in attempt.unmatched})
    opened = any(isinstance(event, CircuitOpened) and event.name == dependency.name for event in facts.events)
    if not errors or (opened and not charged):
        return None
    named = (
        f"error {errors[0]} matches no failures; add it"
        if len(errors) == 1
        else f"errors {' and '.join(errors)} match no failures; add them"
    )
    return f"{'' if opened else 'the circuit never opened: '}the handler's {named}"


def _outlasted(calls: Sequence[Calls]) -> str | None:
    count = sum(each.outlasted for each in calls)
    return f"{_count(count, 'call')} hung until the outage was over: the client has no time limit" if count else None


def _is_good(place: Place, facts: Facts) -> bool:
    """Return whether nothing but outages was against a message: each of its attempts that failed had a call that met one."""
    failed = [attempt for attempt in facts.attempts if place in attempt.places and place not in attempt.done]
    return bool(failed) and all(attempt.has_failed_call for attempt in failed)


def _is_blocked(place: Place, facts: Facts) -> bool:
    return any(isinstance(event, SourceBlocked) and (event.source.name, event.position) == place for event in facts.events)


def _notes(facts: Facts, processed: int, failed: int, back_after: float | None) -> Iterator[str]:
    yield f"{processed} of {_count(len(facts.produced))} processed"
    if facts.fallen_back:
        yield f"the fallback took {_count(len(facts.fallen_back))}"
    if facts.outages:
        yield f"{_count(failed, 'call')} failed in {'the outage' if len(facts.outages) == 1 else f'{len(facts.outages)} outages'}"
    if back_after is not None:
        yield f"all came back within {back_after:.1f} s"


def _were(count: int) -> str:
    return f"{_count(count)} {'was' if count == 1 else 'were'}"


def _count(count: int, what: str = "message") -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
