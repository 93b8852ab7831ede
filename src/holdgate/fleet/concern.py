"""One dependency as one worker of a fleet sees it: its own circuit on one side, the agreement on the other, and what follows for both.

    look      the circuit's facts come in; guidance for it goes out
    decide    what this worker writes: marks, results, claims, and the verdicts of a term as conductor
    guidance  the agreement, but for three cases. A log that is silent means LOCAL. A worker that is well and whose last call was good stays
              by itself: its own evidence is a veto, and it follows with its first failure. The conductor makes the probe

A worker whose last call was bad does not wait for the claim: as soon as it sees that the failures of several workers are one outage, it
stops calling. If no claim follows, it goes by its own rules again. It even stops for a moment when it has the hunch of one (opening.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf
from typing import TYPE_CHECKING

from holdgate.core.guidance import Guidance, Phase
from holdgate.core.outages import Outage
from holdgate.core.states import Reason, State
from holdgate.fleet import events
from holdgate.fleet.agreement import Agreement, Course
from holdgate.fleet.bidding import LOST_AFTER, SILENT_AFTER, Bid, Occasion, Vacancy
from holdgate.fleet.conducting import Conductor, ConductorView, probe_due
from holdgate.fleet.marking import Marking
from holdgate.fleet.opening import HUNCH_COUNTS, BadMark, is_hunch, is_outage
from holdgate.fleet.records import LONGEST_SECONDS, Claim, Need, Rest, ToldToWait
from holdgate.fleet.shares import checksum, parts_of
from holdgate.fleet.snapshot import AgreementSnapshot, SharerSnapshot, shown
from holdgate.fleet.words import Word

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdgate.core.guidance import OwnFacts
    from holdgate.core.settings import CircuitSettings
    from holdgate.fleet.events import FleetEvent
    from holdgate.fleet.members import Roster
    from holdgate.fleet.records import FleetOrder, Said
    from holdgate.fleet.settings import FleetSettings
    from holdgate.fleet.words import Standing

# How long a good call is a veto (seconds). A worker that has called nobody for longer knows no better than the fleet.
GOOD_LASTS = 10.0

# A conductor on a log that is slow is not silent: so many round trips of our own records it may take, if that is longer.
SILENT_TRIPS = 2.0

# Between two verdicts of a conductor that have nothing new (seconds): three are missed before another worker tries.
LEAD_EVERY = 1.0

# A fleet that gets no further is worse than none. After so long without one step of the ramp, or since the probe was due (seconds), a
# worker goes by its own rules. It is longer than two stages that nobody has answered, and with a good log nothing takes as long.
STUCK_AFTER = 20.0

# How long a hunch stops a worker (seconds): a record has come to all by then, and the last worker with ten calls a second has failed. And
# how long it has no other: what fails now and then must not stop it again and again.
HUNCH_LASTS = 0.15
# A worker with more failures in a row is about to open by itself: it must not forget them for a hunch.
HUNCH_RUN = 2
HUNCH_AGAIN = 10.0

# An opening of its own is a local cause if after this time (seconds) fewer workers than the quorum have failures.
ALONE_AFTER = 2.0

# Of a stage of the ramp not everybody writes what came of its calls (shares.py), but for who has so many failures in a row.
ALARM = 2

_LOCAL = Guidance(Phase.LOCAL)


@dataclass(frozen=True, slots=True)
class Around:
    """What a dependency needs to know of the fleet.

    `until`: until when what the log has said holds. `is_silent`: it holds no longer. `callers`, `full`: how many workers need the
    dependency, and how many calls those with messages can make together.
    """

    now: float
    until: float
    is_silent: bool
    round_trip: float
    callers: int
    full: int


class Concern:
    """What one worker knows, writes and follows of one dependency."""

    # fmt: off
    __slots__ = (
        "_alone_since", "_burst_at", "_closed_at", "_hunch", "_led", "_led_at", "_lot", "_me", "_moved_at",
        "_moved_to", "_outage", "_quorum", "_rested", "_settings", "_told_until",
        "_was", "_wish", "_word", "agreement", "backlog", "bid", "conductor", "draw", "facts", "full", "guided", "marking", "own_settings",
        "phase", "was_reset",
    )
    # fmt: on

    def __init__(
        self, name: str, me: str, settings: CircuitSettings, fleet: FleetSettings, *, now: float, draw: Callable[[], float]
    ) -> None:
        self.reconfigure(settings, fleet)
        self._me = me
        self.draw = draw
        self.agreement = Agreement(name, now)
        self.marking = Marking(name, now)
        self.bid = Bid(draw)
        self.conductor: Conductor | None = None
        self.facts: OwnFacts | None = None
        self.backlog = False
        self.full = 0
        self.guided = False  # whether the circuit has followed the fleet in this outage
        self.phase = Phase.LOCAL
        self._wish: float | None = None  # since when we see an outage that the fleet has not opened for
        self._rested = -1  # the epoch that we have given back
        self._led: object = None  # our last verdict as written, and when
        self._led_at = now
        self._outage = Outage()
        self._closed_at = now
        self._alone_since: float | None = None
        self._was = (Course.WELL, 0, False)
        self._moved_to = (Course.WELL, 0, 0, 0, 0, 0)  # where the agreement was when it last got on, and when that was
        self._moved_at = now
        self._word: Standing | None = None  # the last that was announced
        self.was_reset = False  # by an operator's word that nobody has acted on yet
        self._lot = draw()  # of the repetition of a word
        self._told_until = -inf  # what we have said of a server's wish
        self._hunch = -inf  # when we last had one
        self._burst_at = -inf  # when others may have had one last

    def reconfigure(self, settings: CircuitSettings, fleet: FleetSettings) -> None:
        """Go on by other settings. The wait of a fleet ends sooner: one probe serves all."""
        self.own_settings = settings
        self._quorum = fleet.quorum
        longest = min(settings.open_duration_max, fleet.open_duration_max)
        self._settings = replace(
            settings,
            open_duration=min(settings.open_duration, longest),
            open_duration_max=longest,
            open_share=max(settings.open_share, fleet.open_share),
            open_jitter=0.0,  # there is one conductor, and nobody else to probe in the same moment
        )

    # -- What others may know ------------------------------------------------------------------------------------------------------

    @property
    def need(self) -> Need:
        """What this worker says of itself."""
        # In a ramp, whose own calls have opened it takes no part for a while. What opened it before was the outage.
        is_breached = self.agreement.course is Course.RAMP and self._opened() and self.facts is not None and self.facts.stage > 0
        takes_part = self.backlog and not is_breached
        return Need(self.agreement.dependency, takes_part, self.full, self.agreement.epoch)

    @property
    def is_out(self) -> bool:
        """Whether the fleet has an outage of it."""
        return self.agreement.course is not Course.WELL

    @property
    def is_unwell(self) -> bool:
        """Whether this worker has to look at it in each turn."""
        is_own = self.facts is not None and (self.facts.state is not State.CLOSED or self.facts.in_a_row > 0)
        return self.is_out or is_own or self.phase is not Phase.LOCAL or self.marking.is_bad

    def _opened(self) -> bool:
        """Return whether the circuit has opened by its own rules."""
        facts = self.facts
        return facts is not None and facts.state is State.OPEN and facts.opened_by is not None and facts.opened_by is not Reason.FLEET

    def overslept(self, now: float) -> None:
        """Note that this worker has not listened for a while: a member that seems silent was not heard."""
        self.agreement.heard_at = now

    # -- A look --------------------------------------------------------------------------------------------------------------------

    def look(self, facts: OwnFacts, backlog: bool, full: int, around: Around) -> tuple[Guidance, list[Said]]:
        """Take in the circuit's facts. Returns its guidance, and what is to be written."""
        self.facts, self.backlog, self.full = facts, backlog, full
        said = self.decide(around)
        guidance = self._guidance(facts, around)
        self.phase = guidance.phase
        return guidance, said

    def _guidance(self, facts: OwnFacts, around: Around) -> Guidance:
        agreement, now = self.agreement, around.now
        order = agreement.words.in_force(now)
        if order is not None:
            self.guided = True
            return Guidance(Phase.WAIT, epoch=agreement.epoch, until=order.until)
        if around.is_silent:
            self.guided = False  # what its calls say meanwhile is its own, and counts when the log is back
            return _LOCAL
        if agreement.course is Course.WELL:
            return self._when_well(facts, around)
        if self._is_stuck(now):
            self.guided = False
        if not self.guided and (self._is_stuck(now) or self._vetoes(facts, now)):
            return _LOCAL
        self.guided = True
        return self._when_out(around)

    def _when_out(self, around: Around) -> Guidance:
        agreement, conductor = self.agreement, self.conductor
        if conductor is not None and (agreement.course is Course.WAIT or conductor.is_waiting):
            return conductor.guidance(agreement, self._due(), around.until, around.now)
        if agreement.course is Course.WAIT:
            return Guidance(Phase.WAIT, epoch=agreement.epoch, until=around.until)
        return Guidance(Phase.RAMP, agreement.shares.get(self._me, 0), agreement.stage, agreement.epoch, around.until)

    def _when_well(self, facts: OwnFacts, around: Around) -> Guidance:
        if self._wish is not None and around.now < self._wish + LOST_AFTER:  # later, nobody has followed
            self.guided = True
            return Guidance(Phase.WAIT, epoch=self.agreement.epoch, until=min(around.until, self._wish + LOST_AFTER))
        if around.now < self._hunch + HUNCH_LASTS:
            self.guided = True
            # Until later than its end, when the circuit is closed again: what lapses goes on by its own wait.
            return Guidance(Phase.WAIT, epoch=self.agreement.epoch, until=min(around.until, self._hunch + LOST_AFTER))
        was_hunch = around.now < self._hunch + HUNCH_AGAIN and facts.opened_by is Reason.FLEET
        if self.guided and facts.state is not State.CLOSED and (was_hunch or self.agreement.recovered_at is not None):
            return Guidance(Phase.UP, epoch=self.agreement.epoch, until=around.until)
        self.guided = False
        return _LOCAL

    def _is_stuck(self, now: float) -> bool:
        """Return whether the agreement has got no further for so long that nobody should wait for it."""
        if self.agreement.course is Course.WELL or now - self._moved_at < STUCK_AFTER:
            return False
        return self.agreement.course is not Course.WAIT or now - self._due() >= STUCK_AFTER

    def _note_progress(self, now: float) -> None:
        # A conductor that takes over begins a stage, with a lower limit if fewer have messages, and one that hears of nobody another turn:
        # neither gets on by that. In a fleet that has run out of messages they would follow each other for ever.
        agreement = self.agreement
        course, failed, limit, epoch, turn, stage = self._moved_to
        here = (agreement.course, agreement.failed, agreement.limit, agreement.epoch, agreement.turn, agreement.stage)
        self._moved_to = here
        if agreement.words.holds(now):  # nobody is to get on: when the hold ends, after hours, one worker probes and not each of them
            self._moved_at = now
        if here[:2] != (course, failed) or here[2] > limit or (here[3:5] == (epoch, turn) and here[5] > stage):
            self._moved_at = now

    def _vetoes(self, facts: OwnFacts, now: float) -> bool:
        is_well = facts.state is State.CLOSED and facts.in_a_row == 0
        return is_well and facts.last_good is not None and now - facts.last_good <= GOOD_LASTS

    def _due(self) -> float:
        """Return when the fleet's next probe is due."""
        agreement = self.agreement
        # A ramp that has broken shows that the dependency was there, so its age says nothing of when it will be there again.
        since = agreement.began if agreement.resumed_at is None else agreement.resumed_at
        due = probe_due(replace(self._outage, since=since), self._settings, agreement.wait_at)
        return max(due, min(agreement.told_until(self._quorum), agreement.wait_at + self._settings.retry_after_max))

    # -- What we write -------------------------------------------------------------------------------------------------------------

    def decide(self, around: Around) -> list[Said]:
        """Return what is to be written now."""
        facts = self.facts
        if facts is None or around.is_silent:
            self.bid.consider(None)
            self._wish = self.conductor = None
            return []
        well = self.agreement.course is Course.WELL
        said: list[Said] = self._marks(facts, around) if well else self._tallies(facts, around.now)
        said += self._told(facts, around.now)
        said += self._conduct(facts, around)
        said += self._claims(facts, around)
        return said

    def _marks(self, facts: OwnFacts, around: Around) -> list[Said]:
        opened = self._opened()
        run = max(facts.in_a_row, opened) if facts.in_a_row or opened else 0
        self._consider_opening(run, opened, facts.state is State.CLOSED, around)
        known = self.agreement.marks.get(self._me)
        is_old = known is not None and known.at == -inf
        mark = self.marking.mark(run, opened, around.now, always=self._wish is not None, is_old=is_old)
        return [] if mark is None else [mark]

    def _consider_opening(self, run: int, opened: bool, is_closed: bool, around: Around) -> None:
        marks = self.agreement.marks
        if run:
            marks = {**marks, self._me: BadMark(run, opened, around.now)}
        callers = max(around.callers, len(marks))
        may_be = 0 < run <= HUNCH_RUN and is_closed and around.now >= self._hunch + HUNCH_AGAIN
        if may_be and is_hunch(marks, callers, self._quorum, self._settings, around.now, good_at=self.agreement.good_at):
            self._hunch = self._burst_at = around.now
        hunched = around.now < self._burst_at + HUNCH_COUNTS
        if run and is_outage(marks, callers, self._quorum, self._settings, around.now, hunched=hunched):
            if self._wish is None:
                self._wish = around.now
        elif self._wish is not None and around.now >= self._wish + LOST_AFTER:
            self._wish = None

    def _tallies(self, facts: OwnFacts, now: float) -> list[Said]:
        agreement = self.agreement
        self._wish = None
        if self.conductor is not None or facts.stage != agreement.stage or agreement.course is not Course.RAMP:
            return []
        need = max(self._settings.ramp.minimum_verdicts, agreement.limit)
        part = parts_of(need, agreement.shares, agreement.limit, agreement.stage).get(self._me, 0)
        if not part and facts.in_a_row < ALARM:
            return []
        tally = self.marking.tally(facts.stage, facts.stage_good, facts.stage_bad, part, now, took=facts.stage_seconds)
        return [] if tally is None else [tally]

    def _told(self, facts: OwnFacts, now: float) -> list[Said]:
        until = facts.told_until
        if until is None or until == self._told_until or until <= now:
            return []
        self._told_until = until
        return [ToldToWait(self.agreement.dependency, min(LONGEST_SECONDS, ceil(until - now)))]

    # -- Claims --------------------------------------------------------------------------------------------------------------------

    def _claims(self, facts: OwnFacts, around: Around) -> list[Said]:
        self.bid.consider(self._chance(facts, around))
        if not self.bid.is_due(around.now):
            return []
        return [Claim(self.agreement.dependency, self.agreement.epoch + 1)]

    def _chance(self, facts: OwnFacts, around: Around) -> Occasion | None:
        agreement, now = self.agreement, around.now
        if facts.override is not None or agreement.words.holds(now) or (not self.guided and self._vetoes(facts, now)):
            return None
        last_choice = not self.backlog or self._rested == agreement.epoch
        heard_at = max(agreement.heard_at, agreement.words.ended_at(now))
        if agreement.course is Course.WELL:
            return None if self._wish is None else Occasion(Vacancy.OPENING, agreement.epoch, self._wish, not self.backlog)
        if agreement.conductor is None:
            return Occasion(Vacancy.VACANT, agreement.epoch, heard_at, last_choice)
        silent_at = heard_at + max(SILENT_AFTER, SILENT_TRIPS * around.round_trip)
        if agreement.conductor != self._me and now >= silent_at:
            return Occasion(Vacancy.SILENT, agreement.epoch, silent_at, last_choice)
        return None

    # -- A term as conductor -------------------------------------------------------------------------------------------------------

    def _conduct(self, facts: OwnFacts, around: Around) -> list[Said]:
        agreement = self.agreement
        if agreement.conductor != self._me or agreement.course is Course.WELL or agreement.words.holds(around.now):
            self.conductor = None
            return []
        seen = ConductorView(facts, around.full, around.round_trip, around.now)
        relapses = self._outage.relapses(self._settings)
        if self.conductor is None or self.conductor.epoch != agreement.epoch:
            self.conductor = Conductor(agreement, self._settings, relapses, seen)
            self._led = None
        self.conductor.step(agreement, relapses, seen)
        if self._rested == agreement.epoch:
            return []
        if not self.guided and self._is_stuck(around.now) and self._vetoes(facts, around.now):
            self.conductor.finished = True  # everybody goes alone by now, and so it is over
        if self._gives_up(facts, around.now):
            self._rested = agreement.epoch
            return [Rest(agreement.dependency, agreement.epoch)]
        return self._lead(self.conductor, around)

    def _gives_up(self, facts: OwnFacts, now: float) -> bool:
        """Return whether to give the epoch back: after two failed probes, or without a message or a right to probe with."""
        conductor, agreement = self.conductor, self.agreement
        if conductor is None or not any(worker != self._me for worker in agreement.sharers):
            return False
        if conductor.finished:
            return False
        if self._is_stuck(now):
            return True
        if conductor.wants_rest:
            return conductor.is_agreed(agreement)
        cannot_probe = facts.override is not None or (not self.backlog and facts.in_flight == 0)
        return agreement.course is Course.WAIT and cannot_probe and now >= self._due()

    def _lead(self, conductor: Conductor, around: Around) -> list[Said]:
        agreement, now = self.agreement, around.now
        told = max(0.0, min(agreement.told_until(self._quorum) - now, LONGEST_SECONDS))
        verdict = conductor.verdict(agreement, checksum(agreement.sharers), now, int(told))
        news = replace(verdict, age=0, told=0)
        pause = LEAD_EVERY
        if news != self._led:
            pause = 0.0
        elif not conductor.is_agreed(agreement):
            pause = LOST_AFTER  # it is on its way
        if now < self._led_at + pause:
            return []
        self._led, self._led_at = news, now
        return [verdict]

    # -- News ----------------------------------------------------------------------------------------------------------------------

    def notice(self, around: Around) -> list[FleetEvent]:
        """Return what has become of the agreement since the last call."""
        agreement, now = self.agreement, around.now
        self._note_progress(now)
        if agreement.marks and is_hunch(agreement.marks, around.callers, self._quorum, self._settings, now, good_at=agreement.good_at):
            self._burst_at = now
        course, epoch, alone = self._was
        news: list[FleetEvent] = []
        if course is Course.WELL and agreement.course is not Course.WELL:
            self._outage = self._outage.healthy_for(now - self._closed_at, self._settings).opened(now, self._settings)
            failures = sum(mark.run for mark in agreement.marks.values())
            news.append(events.FleetOpened(now, agreement.dependency, agreement.epoch, len(agreement.marks), failures))
        if agreement.epoch != epoch and agreement.course is not Course.WELL and agreement.conductor is not None:
            own = agreement.conductor == self._me
            news.append(
                events.ConductorChanged(
                    now, agreement.dependency, agreement.epoch, shown(agreement.conductor), own, course is not Course.WELL
                )
            )
        if course is not Course.WELL and agreement.course is Course.WELL:
            self._outage, self._closed_at = self._outage.closed(), now
            self.marking.forget()
            news.append(events.FleetRecovered(now, agreement.dependency, agreement.epoch, now - agreement.began, agreement.failed))
        is_alone = self._is_alone(around)
        if is_alone and not alone:
            news.append(events.LocalCauseFound(now, agreement.dependency, around.callers, len(agreement.marks)))
        self._was = (agreement.course, agreement.epoch, is_alone)
        return news + self._word_news(around)

    def _word_news(self, around: Around) -> list[FleetEvent]:
        now = around.now
        standing = self.agreement.words.last
        if standing is None or standing is self._word:
            return []
        self._word = standing
        # Who has just come, or was cut off, reads words of the past in one moment. A reset of minutes ago says nothing of the present.
        self.was_reset = standing.word is Word.RESET and not around.is_silent
        lasts = None if standing.until == inf else standing.until - now
        name = self.agreement.dependency
        return [events.FleetOrdered(now, name, standing.word.value, standing.reason, standing.actor, lasts)]

    def _is_alone(self, around: Around) -> bool:
        """Return whether our circuit has opened by itself, and the others have been well since."""
        may_be = self.facts is not None and self.facts.state is not State.CLOSED and around.callers > 1 and not around.is_silent
        if not may_be or self.is_out or len(self.agreement.marks) >= self._quorum:
            self._alone_since = None
            return False
        if self._alone_since is None:
            if not self._opened():
                return False
            self._alone_since = around.now
        return around.now >= self._alone_since + ALONE_AFTER

    # -- Time ----------------------------------------------------------------------------------------------------------------------

    def next_deadlines(self, now: float) -> list[float]:
        """Return when time alone changes something here."""
        agreement = self.agreement
        found = [self.bid.at, self.marking.due, agreement.words.ends_at(now), agreement.words.repeat_at(self._lot, now)]
        if self._wish is not None:
            found.append(self._wish + LOST_AFTER)
        found.append(self._hunch + HUNCH_LASTS)
        if self.conductor is not None:
            found += [self._led_at + LEAD_EVERY, self._due()]
        return [at for at in found if at is not None and at > now]

    def repetition(self, now: float) -> FleetOrder | None:
        """Return the record that repeats an operator's word, if nobody else has for a while."""
        words = self.agreement.words
        if not words.wants_repetition(self._lot, now):
            return None
        self._lot = self.draw()
        words.repeated(now)
        return words.repetition(self.agreement.dependency, now)

    def snapshot(self, roster: Roster, now: float) -> AgreementSnapshot:
        agreement = self.agreement
        order = agreement.words.in_force(now)
        is_well = agreement.course is Course.WELL
        ends_at = agreement.words.ends_at(now)
        return AgreementSnapshot(
            dependency=agreement.dependency,
            course=agreement.course.value,
            epoch=agreement.epoch,
            conductor=None if is_well or agreement.conductor is None else shown(agreement.conductor),
            own=not is_well and agreement.conductor == self._me,
            phase=self.phase.value,
            stage=agreement.stage,
            limit=agreement.limit if agreement.course is Course.RAMP else 0,
            since=None if is_well else now - agreement.began,
            failed_probes=0 if is_well else agreement.failed,
            probe_in=max(0.0, self._due() - now) if agreement.course is Course.WAIT and order is None else None,
            bad=len(agreement.marks),
            failures=sum(mark.run for mark in agreement.marks.values()),
            word=None if order is None else order.word.value,
            reason=None if order is None else order.reason,
            actor=None if order is None else order.actor,
            word_ends_in=None if ends_at is None else ends_at - now,
            sharers=tuple(
                SharerSnapshot(shown(worker), need.backlog, need.full, agreement.shares.get(worker, 0))
                for worker, need in roster.needs(agreement.dependency)
            ),
        )
