"""One worker in a fleet: it reads the log, and says how its circuits are to go and what is to be written.

Theory of operation
===================

    heard         records of the log, in their order. They change what the fleet has agreed on, and nothing else does
    look          a circuit's own facts come in, its guidance goes out
    take_records  what is to be written now. It takes effect when it is read, for its writer as for everybody else
    next_deadline when to take records again, and to look again, if nothing happens before
    is_stirred    whether what was heard is a reason to do both now. Most of it is none: others say that they are there, or write of an
                  outage of what this worker does not need. What they say is kept; what follows from it later has its deadline

Nothing here waits, reads a clock or draws a lot: `now` and `draw` are arguments. All times are this worker's own. Whatever a time decides
here (who is silent, when to claim) only decides what is written; what has been agreed on follows from the order of the log alone.

Whether the log is well is seen by our own records: one that has not come back for `silence` seconds means that it cannot be read, cannot be
written, or is as far behind as that. Then every circuit goes by its own rules, and `Guidance.until` says so in advance, so that a circuit
needs nobody to tell it. In quiet times nothing is written for half a minute, and nothing is missed: nothing is guided.

A worker that was silent may have missed records, as one that has just come has. Until it reads a word of its own again it believes the last
verdict that it finds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from math import ceil, inf
from typing import TYPE_CHECKING, cast

from holdgate.errors import CommandError, SettingsError
from holdgate.fleet import events
from holdgate.fleet.agreement import JUMP, Course, ReadAs
from holdgate.fleet.concern import Around, Concern
from holdgate.fleet.members import BEATS, LONG_BEAT, Budgets, Roster
from holdgate.fleet.records import (
    LONGEST_ACTOR,
    LONGEST_NAME,
    LONGEST_REASON,
    LONGEST_SECONDS,
    Bad,
    Bye,
    FleetOrder,
    FleetRecord,
    Gone,
    Here,
    Need,
    decode,
    encode,
    is_name,
    readable,
)
from holdgate.fleet.settings import FleetSettings
from holdgate.fleet.snapshot import FleetSnapshot, MemberSnapshot, shown
from holdgate.fleet.words import Word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from holdgate.core.guidance import Guidance, OwnFacts
    from holdgate.core.settings import CircuitSettings
    from holdgate.fleet.events import FleetEvent
    from holdgate.fleet.records import Said

# How soon a worker answers a newcomer, or speaks when trouble has begun, spread by chance (seconds).
ANSWER_WITHIN = 1.0

# What a worker writes at most: in one burst, and per second. It is for a defect of ours: by the rules it writes less than two a second.
RECORDS = 30.0
RECORDS_PER_SECOND = 10.0

# Of the needs in one record: with what else it says there is room for two thirds of a KiB.
NEEDS_BYTES = 640

# Of one of them beside its name, which may be twice as long where it has quotes.
NEED_BYTES = 32

# In trouble it looks around twice a second: at who is silent, and at what others have changed.
LOOK_AROUND_EVERY = 0.5

# A long beat may come earlier by a part of it that chance says: workers that were deployed together would all speak in the same second.
EARLIER = 0.3

# Later than its own deadline by so much (seconds), a worker was frozen, and what it takes for the silence of others was its own.
OVERSLEPT = 1.0

# Our records that have not come back: more need not be remembered.
MOST_OUTSTANDING = 30

# Events that are never taken must not fill a worker's memory.
NEWS_KEPT = 256

# Of the round trip: how much of it a shorter one takes off. A longer one is believed immediately, because a stage must not end too early.
_SETTLES = 0.1


class FleetMember:
    """One worker of a fleet, without I/O.

    - `me`: a random number of 12 hexadecimal digits, new in each process.
    - `settings`: the name of the fleet, its quorum and its times.
    - `draw`: returns a number in [0, 1), so that workers do not all write in the same moment.

    Must be used from one thread. Raises SettingsError for another kind of `me`.
    """

    # fmt: off
    __slots__ = (
        "_allowed",
        "_allowed_at",
        "_beat_at",
        "_budgets",
        "_concerns",
        "_draw",
        "_expected_by",
        "_failing_since",
        "_heard_at",
        "_is_stirred",
        "_latest",
        "_me",
        "_members_before",
        "_miss_at",
        "_missed_at",
        "_news",
        "_number",
        "_outstanding",
        "_queue",
        "_roster",
        "_round_trip",
        "_said_at",
        "_said_needs",
        "_settings",
        "_silent_since",
        "_skipped",
        "_witness",
    )
    # fmt: on

    def __init__(self, me: str, settings: FleetSettings, draw: Callable[[], float]) -> None:
        if decode("f", encode("f", FleetRecord(me, 0, Bye()))) is None:
            raise SettingsError(f"me must be 12 hexadecimal digits, got {me!r}")
        if not isinstance(cast("object", settings), FleetSettings):
            raise SettingsError(f"settings must be FleetSettings, got {settings!r}")
        self._me = me
        self._settings = settings
        self._draw = draw
        self._roster = Roster()
        self._budgets = Budgets()
        self._concerns: dict[str, Concern] = {}
        self._queue: deque[Said] = deque()
        self._news: deque[FleetEvent] = deque(maxlen=NEWS_KEPT)
        self._number = 0
        self._outstanding: dict[int, float] = {}  # our records that have not come back: when we gave them out
        self._beat_at = -inf
        self._expected_by = inf  # when we are to be called again
        self._allowed = RECORDS
        self._allowed_at = -inf
        self._heard_at = -inf
        self._latest = -inf
        self._round_trip = 0.0
        self._failing_since: float | None = None  # by the link
        self._silent_since: float | None = None
        self._witness = False  # whether we have read everything since a word of our own
        self._members_before: frozenset[str] = frozenset()
        self._said_needs: list[tuple[str, bool, int]] = []
        self._said_at = -inf
        self._missed_at = -inf
        self._miss_at = inf  # when somebody may have been silent for too long
        self._skipped = 0
        self._is_stirred = False  # something was heard that a guard acts on

    def add(self, dependency: str, settings: CircuitSettings, now: float) -> None:
        """Take part in `dependency`, too; a second time changes its settings. Raises SettingsError for a name that fits into no record."""
        if not is_name(dependency):
            raise SettingsError(f"the name of a dependency must have 1 to {LONGEST_NAME} bytes in one line for a fleet, got {dependency!r}")
        known = self._concerns.get(dependency)
        if known is None:
            self._concerns[dependency] = Concern(dependency, self._me, settings, self._settings, now=self._monotonic(now), draw=self._draw)
            self._beat_at = -inf
        else:
            known.reconfigure(settings, self._settings)

    def reconfigure(self, settings: FleetSettings) -> None:
        """Go on by other settings of the fleet. Its name stays: another one is another fleet."""
        self._settings = replace(settings, name=self._settings.name)
        for concern in self._concerns.values():
            concern.reconfigure(concern.own_settings, self._settings)

    def _monotonic(self, now: float) -> float:
        self._latest = max(self._latest, now)
        if self._latest > self._expected_by + OVERSLEPT:
            self._expected_by = inf
            self._listen_anew()
        return self._latest

    def _listen_anew(self) -> None:
        self._roster.refresh(self._latest)
        for concern in self._concerns.values():
            concern.overslept(self._latest)

    # -- Reading ------------------------------------------------------------------------------------------------------------------

    def heard(self, entries: Iterable[bytes], now: float) -> None:
        """Take in what the log has next, in its order. What cannot be understood is counted and skipped. See `is_stirred`."""
        now = self._monotonic(now)
        for data in entries:
            record = decode(self._settings.name, data)
            if record is None or not self._budgets.take(record.worker, now):
                self._skipped += 1
                continue
            if not self._is_new(record):
                continue
            self._heard_at = now
            self._read(record, now)
        for concern in self._concerns.values():
            if concern.is_unwell:
                self._notice(concern, now)
        self._notice_members(now)

    @property
    def is_stirred(self) -> bool:
        """Whether to look and to take records now, and not only at the deadline that was given last.

        What was heard since is about an outage, or this worker has to write or to tell something sooner.
        """
        return bool(self._concerns) and (self._is_stirred or bool(self._news) or self._own_deadline() < self._expected_by)

    def _is_new(self, record: FleetRecord) -> bool:
        """Return whether a record does not come again."""
        # Our own are known one by one, so nobody makes us deaf to them by a number that we have not used.
        is_ours = record.worker == self._me and record.number in self._outstanding
        return self._budgets.is_new(record.worker, record.number) or is_ours

    def _read(self, record: FleetRecord, now: float) -> None:
        reading = ReadAs(now, self._witness, self._settings.quorum)
        worker, said = record.worker, record.said
        self._roster.spoke(worker, now)
        match said:
            case Here():
                self._read_here(worker, said, reading)
            case Bye():
                self._left(worker, now)
            case Gone(worker=gone):
                self._read_gone(worker, gone, now)
            case _:
                concern = self._concerns.get(said.dependency)
                if concern is not None:
                    self._read_of(concern, record, reading)
        if worker == self._me:
            self._read_own(record.number, now)

    def _read_of(self, concern: Concern, record: FleetRecord, reading: ReadAs) -> None:
        agreement = concern.agreement
        epoch, was_unwell = agreement.epoch, concern.is_unwell
        agreement.read(record, reading)
        if isinstance(record.said, Bad):
            concern.marking.heard(self._roster.callers(agreement.dependency)[0], reading.now)
        if agreement.epoch != epoch and agreement.course is Course.RAMP:
            self._speak_within(ANSWER_WITHIN, reading.now)  # the new conductor asks who shares, and the ramp goes on meanwhile
        self._notice(concern, reading.now)
        self._stir(was_unwell or concern.is_unwell)

    def _stir(self, is_reason: bool) -> None:
        self._is_stirred = self._is_stirred or is_reason

    def _read_here(self, worker: str, said: Here, reading: ReadAs) -> None:
        if worker not in self._roster and worker != self._me:
            self._speak_within(ANSWER_WITHIN, reading.now)
        self._roster.here(worker, said, reading.now, self._concerns)
        self._miss_at = min(self._miss_at, self._roster.silent_at(worker))
        for need in said.needs:
            concern = self._concerns.get(need.dependency)
            if concern is not None:
                concern.agreement.here(worker, need, reading)
                if worker != self._me and need.epoch + JUMP < concern.agreement.epoch:
                    concern.agreement.doubt(
                        [each.epoch for other, each in self._roster.needs(need.dependency) if other != self._me], reading.now
                    )
                self._stir(concern.is_unwell)

    def _left(self, worker: str, now: float) -> None:
        self._roster.bye(worker)
        for concern in self._concerns.values():
            concern.agreement.left(worker, now)
            self._stir(concern.is_unwell)

    def _read_gone(self, writer: str, gone: str, now: float) -> None:
        """Take in that a conductor misses a worker. Only where it conducts: nobody else is to send workers away."""
        for concern in self._concerns.values():
            if concern.agreement.conductor == writer:
                concern.agreement.left(gone, now)
                self._stir(concern.is_unwell)
        if gone == self._me:
            self._speak_within(0.0, now)

    def _read_own(self, number: int, now: float) -> None:
        written_at = self._outstanding.get(number)
        if written_at is None:
            return  # of somebody who uses our number
        took = now - written_at
        self._round_trip = took if took > self._round_trip else self._round_trip + _SETTLES * (took - self._round_trip)
        # What was written before and has not come by now never will: the log has an order.
        self._outstanding = {each: at for each, at in self._outstanding.items() if each > number}
        self._stir(not self._witness)
        self._witness = True
        self._judge_silence(now)

    def _notice(self, concern: Concern, now: float) -> None:
        self._news.extend(concern.notice(self._around(concern, now)))

    def _notice_members(self, now: float) -> None:
        before, members = self._members_before, self._roster.workers()
        if members != before:
            self._members_before = members
            self._news.append(events.FleetMembersChanged(now, len(members), len(members - before), len(before - members)))

    def _around(self, concern: Concern, now: float) -> Around:
        callers, full = self._roster.callers(concern.agreement.dependency)
        proved = min(self._heard_at, *self._outstanding.values()) if self._outstanding else self._heard_at
        return Around(
            now=now,
            until=proved + self._settings.silence,
            is_silent=self._silent_since is not None or not self._witness,
            round_trip=self._slowest(now),
            callers=callers,
            full=full,
        )

    def _slowest(self, now: float) -> float:
        """Return the round trip of the log: the last ones, or a record that is out for longer."""
        return max(self._round_trip, now - min(self._outstanding.values(), default=now))

    # -- The log itself ------------------------------------------------------------------------------------------------------------

    def log_state(self, readable: bool, now: float) -> None:
        """Note whether the log could be read and written just now, as far as the link knows. What comes back says more."""
        now = self._monotonic(now)
        if readable:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = now
        self._judge_silence(now)

    def _unproved_since(self) -> float:
        """Return since when the log owes us something."""
        oldest = min(self._outstanding.values(), default=inf)
        return oldest if self._failing_since is None else min(oldest, self._failing_since)

    def _judge_silence(self, now: float) -> None:
        since = self._unproved_since()
        is_silent = now - since >= self._settings.silence
        if is_silent and self._silent_since is None:
            self._silent_since = since
            self._witness = False
            self._news.append(events.FleetLogFellSilent(now, now - since))
        elif not is_silent and self._silent_since is not None:
            self._news.append(events.FleetLogCameBack(now, now - self._silent_since))
            self._silent_since = None
            self._listen_anew()
            self._speak_within(ANSWER_WITHIN, now)

    # -- A circuit -----------------------------------------------------------------------------------------------------------------

    def look(self, dependency: str, facts: OwnFacts, backlog: bool, full: int, now: float) -> Guidance:
        """Take in what a circuit knows, and return how it goes.

        `backlog`: messages wait for it here. `full`: how many calls this worker can make in parallel, from 0. Must be called whenever
        something has changed as long as `watches` says so, and after every failure.
        """
        now = self._monotonic(now)
        self._judge_silence(now)
        concern = self._concerns[dependency]
        guidance, said = concern.look(facts, backlog, full, self._around(concern, now))
        self._queue.extend(said)
        return guidance

    def watches(self, dependency: str) -> bool:
        """Return whether `look` is to be called in each turn. Otherwise a failure is the next reason to."""
        return self._concerns[dependency].is_unwell

    def take_reset(self, dependency: str) -> bool:
        """Return whether an operator has reset the dependency for all since the last call. A circuit that is open by its own rules closes
        by that, too, and no guidance says so."""
        concern = self._concerns[dependency]
        was_reset, concern.was_reset = concern.was_reset, False
        return was_reset

    # -- Writing -------------------------------------------------------------------------------------------------------------------

    def take_records(self, now: float) -> list[bytes]:
        """Return what is to be appended to the log now, in this order."""
        now = self._monotonic(now)
        self._judge_silence(now)
        for concern in self._concerns.values():
            self._queue.extend(concern.decide(self._around(concern, now)))
            self._notice(concern, now)
        self._miss(now)
        self._beat(now)
        self._repeat_words(now)
        taken: list[bytes] = []
        while self._queue and self._may_write(now):
            self._number += 1
            taken.append(encode(self._settings.name, FleetRecord(self._me, self._number, self._queue.popleft())))
            self._outstanding[self._number] = now
        while len(self._outstanding) > MOST_OUTSTANDING:  # the oldest says since when the log is silent, and the latest how it is now
            del self._outstanding[sorted(self._outstanding)[1]]
        return taken

    def leave(self, now: float) -> list[bytes]:
        """Return the last record of a worker that leaves in order, so that nobody waits for it."""
        self._monotonic(now)
        self._number += 1
        return [encode(self._settings.name, FleetRecord(self._me, self._number, Bye()))]

    def _may_write(self, now: float) -> bool:
        self._allowed = min(RECORDS, self._allowed + max(0.0, now - self._allowed_at) * RECORDS_PER_SECOND)
        self._allowed_at = now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True

    def _miss(self, now: float) -> None:
        """Miss who is silent: for ourselves, and as a conductor for all."""
        if now < self._missed_at + LOOK_AROUND_EVERY or self._silent_since is not None:
            return
        self._missed_at = now
        conducts = any(concern.conductor is not None for concern in self._concerns.values())
        long_out = {
            name for name, each in self._concerns.items() if each.is_out and now - each.agreement.began >= BEATS * self._roster.short_beat
        }
        for worker in self._roster.silent(now, long_out):
            if worker != self._me:
                self._roster.bye(worker)
                for concern in self._concerns.values():
                    concern.agreement.missed(worker)
                if conducts:
                    self._queue.append(Gone(worker))
        self._miss_at = self._roster.next_silent_at(but=self._me)
        self._notice_members(now)

    def _speak_within(self, seconds: float, now: float) -> None:
        self._beat_at = min(self._beat_at, now + seconds * self._draw())

    def _beat(self, now: float) -> None:
        is_out = any(concern.is_out for concern in self._concerns.values())
        if is_out and self._beat_at > now + self._roster.short_beat:
            self._speak_within(ANSWER_WITHIN, now)
        needs = [concern.need for concern in self._concerns.values()]
        if is_out and self._said_needs != [need[:3] for need in needs]:
            self._beat_at = min(self._beat_at, self._said_at + ANSWER_WITHIN)
        if now < self._beat_at:
            return
        beat = self._roster.short_beat if is_out else LONG_BEAT
        self._said_needs, self._said_at = [need[:3] for need in needs], now
        self._beat_at = now + (beat if is_out else beat * (1 - EARLIER * self._draw()))
        self._queue.extend(Here(beat, part) for part in parts(needs))

    def _repeat_words(self, now: float) -> None:
        for concern in self._concerns.values():
            order = concern.repetition(now)
            if order is not None:
                self._queue.append(order)

    # -- Operators -----------------------------------------------------------------------------------------------------------------

    def command(self, dependency: str, word: Word, *, reason: str, actor: str, lasts: float | None, now: float) -> None:
        """Give an operator's word to the whole fleet. It is in force when it is read.

        `lasts`: after how many seconds it ends, above 0; None means that another word ends it. Raises CommandError where the fleet does not
        know the dependency, for more than a month, and while the log is silent.
        """
        now = self._monotonic(now)
        self._judge_silence(now)
        concern = self._concerns.get(dependency)
        if concern is None:
            raise CommandError(f"the fleet has no dependency {dependency!r}: it has {', '.join(sorted(self._concerns)) or 'none'}")
        if self._silent_since is not None:
            raise CommandError(
                f"the log of the fleet has been silent for {now - self._silent_since:.0f} seconds, so no other worker would hear of"
                f" {word.value}: give the order at each worker, or wait for the log"
            )
        if lasts is not None and lasts > LONGEST_SECONDS:
            days = LONGEST_SECONDS // 86_400
            raise CommandError(f"a word for the whole fleet lasts at most {days} days, got {lasts:.0f} seconds: give it without an end")
        seconds = 0 if lasts is None else max(1, ceil(lasts))
        said = FleetOrder(
            dependency,
            word.value,
            concern.agreement.words.number + 1,
            again=False,
            lasts=seconds,
            reason=readable(reason, LONGEST_REASON),
            actor=readable(actor, LONGEST_ACTOR),
        )
        self._queue.append(said)

    # -- Readings ------------------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """Return when to call `take_records` and `look` again if nothing happens before. None means that nothing is to be written yet."""
        now = self._latest
        if not self._concerns:
            return None
        found = [self._own_deadline()]
        for concern in self._concerns.values():
            found += concern.next_deadlines(now)
        if any(concern.is_unwell for concern in self._concerns.values()):
            found.append(now + LOOK_AROUND_EVERY)
        self._expected_by = min(found)
        self._is_stirred = False
        return self._expected_by

    def _own_deadline(self) -> float:
        """Return when time alone changes something that is about no single dependency: the beat, somebody's silence, that of the log."""
        if self._silent_since is not None:
            return self._beat_at
        # Nobody is missed sooner than this worker looks around, however early somebody is due.
        misses = max(self._miss_at, self._missed_at + LOOK_AROUND_EVERY)
        return min(self._beat_at, misses, self._unproved_since() + self._settings.silence)

    def take_news(self) -> list[FleetEvent]:
        """Return what has happened since the last call, oldest first."""
        taken = list(self._news)
        self._news.clear()
        return taken

    def snapshot(self, now: float) -> FleetSnapshot:
        """Return the fleet as this worker sees it."""
        now = max(self._latest, now)
        return FleetSnapshot(
            name=self._settings.name,
            worker=shown(self._me),
            silent_for=None if self._silent_since is None else now - self._silent_since,
            round_trip=self._slowest(now),
            skipped=self._skipped,
            stale=sum(concern.agreement.stale for concern in self._concerns.values()),
            members=tuple(
                MemberSnapshot(shown(worker), now - member.heard_at, worker == self._me) for worker, member in sorted(self._roster.items())
            ),
            agreements=tuple(concern.snapshot(self._roster, now) for concern in self._concerns.values()),
        )


def parts(needs: list[Need]) -> list[tuple[Need, ...]]:
    """Return the needs in parts of which each fits into a record, at least one."""
    found: list[list[Need]] = [[]]
    used = 0
    for need in needs:
        size = len(need.dependency.encode()) * 2 + NEED_BYTES
        if found[-1] and used + size > NEEDS_BYTES:
            found.append([])
            used = 0
        found[-1].append(need)
        used += size
    return [tuple(part) for part in found]
