"""One worker of a fleet as a model: a real circuit and a real member of the fleet, lanes that call, and a link to the log.

It does what the runtime does between them, in its order: what was heard goes to the member, what the circuit knows goes to the member, what
the member wants goes to the circuit, what it says goes to the log. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from holdgate.core import Circuit, Outcome, Permit, State
from holdgate.core.events import Event
from holdgate.core.guidance import Guidance, Phase
from holdgate.fleet.member import FleetMember
from holdgate.fleet.settings import FleetSettings
from holdgate_lab.fleet.clock import Schedule
from holdgate_lab.fleet.dependency import ModelDependency
from holdgate_lab.together.log import Link, SharedLog
from holdgate_lab.together.scenario import Together

# A sick worker's calls fail as fast as a refused connection.
_SICK_TAKES = 0.02
# A message whose call has failed waits so long, as a guard has it by default.
_TRIED_AGAIN = 1.0
# How often a link that cannot read says so.
_LOOKS_EVERY = 1.0


class Watching(Protocol):
    """Who looks on. Everything is told after it has happened."""

    def admitted(self, worker: TogetherWorker) -> None: ...

    def ended(self, worker: TogetherWorker, good: bool, began: float) -> None: ...

    def moved(self, worker: TogetherWorker, event: Event) -> None: ...

    def guided(self, worker: TogetherWorker, guidance: Guidance) -> None: ...


@dataclass(frozen=True, slots=True)
class RunOfWorkers:
    """What the workers of a run have around them."""

    scenario: Together
    seed: int
    schedule: Schedule
    log: SharedLog
    watching: Watching


class TogetherWorker:
    """Worker `number`, in its life number `life`. `service` is what it calls: another one in a second fleet."""

    def __init__(self, place: RunOfWorkers, number: int, life: int, service: ModelDependency) -> None:
        scenario, schedule, seed = place.scenario, place.schedule, place.seed
        chance = Random(f"{seed}/{number}/{life}")
        # The fleet's chance is apart, so that the circuit's is the same with a fleet and without.
        fleets = Random(f"{seed}/{number}/{life}/fleet")
        self.scenario = scenario
        self.number = number
        self.name = name = service.spec.name
        self.circuit = Circuit(name, scenario.circuit, now=schedule.now, draw=chance.random)
        self.circuit.set_full(scenario.lanes, schedule.now)
        self.is_alive = True
        self.is_frozen = False
        self.in_flight = 0  # admitted in half-open, and not ended
        self.me: str | None = None
        self.member: FleetMember | None = None
        self.guidance: Guidance | None = None
        self._schedule = schedule
        self._service = service
        self._watching = place.watching
        self._busy = 0
        self._armed = float("inf")
        self._held: list[Callable[[], None]] = []
        self._outbox: list[bytes] = []
        self._is_sending = False
        self._begun = schedule.now + chance.random() / (scenario.rate or 1.0)
        self._came = self._taken = 0
        self._was_good = True  # the last call
        self._is_plain = False
        self.link: Link | None = None
        if scenario.fleet:
            self.me = f"{fleets.getrandbits(48):012x}"
            self.member = FleetMember(self.me, FleetSettings(), fleets.random)
            self.member.add(name, scenario.circuit, schedule.now)
            self.link = Link(place.log, number, Random(f"{seed}/{number}/{life}/link"), self._has_read)

    # -- its life ---------------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        if self.link is not None:
            self.link.open()
            self._look_at_link()
        self._await_next()
        self.turn()

    def kill(self) -> None:
        """Be gone."""
        self.is_alive = False
        if self.link is not None:
            self.link.close()

    def leave(self) -> None:
        """Say so, and be gone."""
        if self.member is not None and self.link is not None:
            self.link.send(self.member.leave(self._schedule.now), lambda _: None)
        self.kill()

    def freeze(self, seconds: float) -> None:
        """Do nothing for so long, and then go on with all that has come."""
        self.is_frozen = True
        self._schedule.after(seconds, self._thaw)

    def _thaw(self) -> None:
        self.is_frozen = False
        held, self._held = self._held, []
        for act in held:
            self._when_awake(act)
        self._when_awake(self.turn)

    def _when_awake(self, act: Callable[[], None]) -> None:
        if self.is_frozen:
            self._held.append(act)
        elif self.is_alive:
            act()

    def _later(self, when: float, act: Callable[[], None]) -> None:
        self._schedule.at(when, lambda: self._when_awake(act))

    # -- the log ----------------------------------------------------------------------------------------------------------------------

    def _look_at_link(self) -> None:
        assert self.link is not None and self.member is not None  # noqa: S101, PT018 - for type checkers: both or neither
        if not self.link.is_readable():
            self.member.log_state(readable=False, now=self._schedule.now)
            self._turn_if_stirred()
        self._later(self._schedule.now + _LOOKS_EVERY, self._look_at_link)

    def _has_read(self, records: list[bytes]) -> None:
        self._when_awake(lambda: self._hear(records))

    def _hear(self, records: list[bytes]) -> None:
        assert self.member is not None  # noqa: S101 - for type checkers: it has a link
        now = self._schedule.now
        self.member.heard(records, now)
        self.member.log_state(readable=True, now=now)
        self._turn_if_stirred()

    def _turn_if_stirred(self) -> None:
        if self.member is not None and self.member.is_stirred:
            self.turn()

    def _send(self) -> None:
        if self.member is None or self.link is None:
            return
        self._outbox += self.member.take_records(self._schedule.now)
        if self._outbox and not self._is_sending:
            records, self._outbox = self._outbox, []
            self._is_sending = True
            self.link.send(records, lambda done: self._when_awake(lambda: self._sent(done)))

    def _sent(self, done: bool) -> None:
        assert self.member is not None  # noqa: S101 - for type checkers: it has a link
        self._is_sending = False
        if not done:
            self.member.log_state(readable=False, now=self._schedule.now)
        if self._outbox:
            self.turn()
        else:
            self._turn_if_stirred()

    # -- a turn -----------------------------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Let time pass, ask the fleet, begin what may begin, and say what is to be said."""
        now = self._schedule.now
        if self._armed <= now:
            self._armed = float("inf")
        self.circuit.advance(now)
        self._ask(now)
        self._fill(now)
        self._send()
        self._tell()
        self._arm(now)

    def _ask(self, now: float) -> None:
        # Not in each turn: only while something is the matter, here or in the fleet, and once more when nothing is any more.
        if self.member is None:
            return
        is_plain = self.circuit.state is State.CLOSED and self._was_good and not self.member.watches(self.name)
        if is_plain and self._is_plain:
            return
        self._is_plain = is_plain
        backlog = self._busy > 0 or self._waits() or not self._was_good
        guidance = self.member.look(self.name, self.circuit.own_facts(now), backlog, self.scenario.lanes, now)
        self.circuit.guide(guidance, now)
        if guidance != self.guidance:
            self.guidance = guidance
        self._watching.guided(self, guidance)
        self._tell()

    def _fill(self, now: float) -> None:
        while self._busy < self.scenario.lanes and self._waits():
            permit = self.circuit.try_acquire(now)
            if not isinstance(permit, Permit):
                return
            self._call(permit, now)

    def _waits(self) -> bool:
        """Return whether a message waits for a lane."""
        if self.number in self.scenario.idle:
            return False
        return self.scenario.rate is None or self._came > self._taken

    def _arrived(self) -> None:
        # At its own time, also while nothing may begin: what a circuit makes of that must not follow from when somebody looks.
        self._came += 1
        self._fill(self._schedule.now)
        self._await_next()

    def _await_next(self) -> None:
        if self.scenario.rate is not None and self.number not in self.scenario.idle:
            self._later(self._begun + self._came / self.scenario.rate, self._arrived)

    def _call(self, permit: Permit, now: float) -> None:
        self._busy += 1
        self._taken += 1
        is_counted = self.circuit.state is State.HALF_OPEN
        self.in_flight += is_counted
        good, takes, asks = self._answer(now)
        self._watching.admitted(self)
        self._later(now + takes, lambda: self._ended(permit, good, is_counted, asks))

    def _answer(self, now: float) -> tuple[bool, float, float | None]:
        """Return whether a call is good, how long it takes, and for how long the service asks to be left alone."""
        if any(number == self.number and begin <= now < end for number, begin, end in self.scenario.sick):
            return False, _SICK_TAKES, None
        answer = self._service.call(now)
        patience = self._service.spec.timeout
        if answer.occupies:
            self._schedule.after(answer.seconds, self._service.leave)
        is_late = answer.seconds > patience
        asks = None if answer.good or is_late else self.scenario.retry_after
        return answer.good and not is_late, min(answer.seconds, patience), asks

    def _ended(self, permit: Permit, good: bool, is_counted: bool, asks: float | None) -> None:
        now = self._schedule.now
        self._busy -= 1
        self.in_flight -= is_counted
        self._was_good = good
        if not good:
            self._later(now + _TRIED_AGAIN, self._try_again)
        self.circuit.record(permit, Outcome.SUCCESS if good else Outcome.FAILURE, now, retry_after=asks)
        self._watching.ended(self, good, permit.acquired_at)
        self._tell()
        guidance = self.guidance
        is_plain = good and self.circuit.state is State.CLOSED and (guidance is None or guidance.phase is Phase.LOCAL)
        if is_plain and now < self._armed:
            self._fill(now)  # what the usual case costs: no turn for each good call
        else:
            self.turn()

    def _try_again(self) -> None:
        self._taken -= 1
        self._fill(self._schedule.now)

    def _tell(self) -> None:
        if self.circuit.events_pending:
            for event in self.circuit.take_events():
                self._watching.moved(self, event)
        if self.member is not None:
            self.member.take_news()

    def _arm(self, now: float) -> None:
        ends = [self.circuit.next_deadline(), None if self.member is None else self.member.next_deadline()]
        due = max(min((at for at in ends if at is not None), default=float("inf")), now + 1e-6)
        if due < self._armed:
            self._armed = due
            self._later(due, self._is_due)

    def _is_due(self) -> None:
        if self._schedule.now >= self._armed:
            self.turn()
