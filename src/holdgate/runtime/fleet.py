"""A guard in a fleet: in each turn the circuits' facts go to the fleet's rules, and its guidance to the circuits.

Theory of operation. The rules are pure (`FleetMember`), and the log is somebody else's (`Wire`). What is here stands between them and the
guard's turn. A turn looks at the circuits that are not plainly well, has each go by what the fleet says, and hands the wire what is to be
written. It never waits for anything. What the wire reads goes to the rules immediately, and asks for a turn if they say so.

In quiet times a turn only compares two numbers for each dependency here: the failures in a row, and the state.

The trap of two dependencies. A message needs both, both are down, and one worker is to probe the first one, another the second. Neither
can: its message lacks the other one. So a worker that sees no probe for long goes by its own rules, by which both circuits become half-open
there. What its conductor finds out so, the fleet learns, and leads again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, cast

from holdgate.core import State
from holdgate.core.guidance import Phase
from holdgate.core.validation import seconds
from holdgate.errors import CommandError, FleetLogError, SettingsError
from holdgate.fleet.member import FleetMember
from holdgate.fleet.settings import FleetSettings
from holdgate.fleet.words import Word
from holdgate.runtime.commands import LASTS, PROGRAM
from holdgate.runtime.fleet_wire import Wire

if TYPE_CHECKING:
    from datetime import timedelta

    from holdgate.core.guidance import Guidance
    from holdgate.core.settings import CircuitSettings
    from holdgate.fleet.events import FleetEvent
    from holdgate.fleet.snapshot import FleetSnapshot
    from holdgate.flow.engine import Engine
    from holdgate.flow.events import CommandGiven, FleetCommand
    from holdgate.flow.gate import Gate
    from holdgate.ports import FleetLog, LogEntry
    from holdgate.runtime.access import GuardCircuit

# A worker is a random number of twelve hexadecimal digits.
_IDS = 2**48

# What is due again in the same moment waits for so long, so that a mistake of the rules never keeps the event loop busy (seconds).
_TICK = 0.01

# No probe for so long after it was due, three of a fleet's longest waits, means that nobody can make one; and how often to look (seconds).
_STUCK_AFTER = 90.0
_LOOK_EVERY = 5.0

# A call that was refused says that there is work, for as long as a caller may need to come again (seconds).
_REFUSAL_LASTS = 5.0


class Fleet:
    """The fleet that a guard is in: `Guard(fleet=Fleet(log, required=True))`. `Guard(fleet=log)` is the same with the defaults.

    - `log`: what the workers of the fleet share, such as `KafkaFleetLog`.
    - `required`: whether a guard that cannot open the log refuses to start. False means that it goes by its own rules until it can.
    - `name`: of the fleet. Workers with another name on the same log are none of its business.
    - `quorum`: from how many workers on failures are one outage for all, from 2.
    - `open_share`: a wait of the fleet as a ratio of the time since the outage began, in (0, 1]. A larger one of the dependency's holds.
    - `open_duration_max`: the longest wait between two probes of the fleet, seconds above 0, or a timedelta.
    - `silence`: after how many seconds without a word from the log a worker goes by its own rules, above 0, or a timedelta.

    Raises SettingsError, with the value and the remedy.
    """

    __slots__ = ("log", "required", "settings")

    def __init__(
        self,
        log: FleetLog,
        *,
        required: bool = False,  # coordination must never stop the flow
        name: str = "fleet",
        quorum: int = 2,  # one worker's failures may be its own network; those of two are most likely not
        open_share: float = 0.5,  # one probe serves all, and 25 of them reach through ten minutes: no more than the opening costs
        open_duration_max: float | timedelta = 30.0,  # one probe every half minute for the whole fleet costs nothing
        silence: float | timedelta = 6.0,  # three beats: one may be late and one lost
    ) -> None:
        if not all(callable(getattr(log, each, None)) for each in ("open", "append", "read", "close")):
            raise SettingsError(f"fleet must be a FleetLog such as KafkaFleetLog, or Fleet(log), got {type(log).__name__}")
        if not isinstance(cast("object", required), bool):
            raise SettingsError(f"fleet.required must be True or False, got {required!r}")
        self.log = log
        self.required = required
        self.settings = FleetSettings(name=name, quorum=quorum, open_share=open_share, open_duration_max=open_duration_max, silence=silence)


class GuardInFleet(Protocol):
    """What a link asks of its guard."""

    engine: Engine
    circuits: dict[str, GuardCircuit]
    now: Callable[[], float]

    @property
    def stopping(self) -> bool:
        """Whether the guard was asked to stop."""
        ...

    def wake(self) -> None:
        """Take a turn at the loop's next step."""
        ...

    def given_to_fleet(self, command: FleetCommand, target: str, reason: str, actor: str, for_: float | timedelta | None) -> CommandGiven:
        """Return a command as it will be noted, once its words and times are checked."""
        ...


class _Watched:
    """One dependency of the guard, as the fleet's rules see it."""

    __slots__ = ("_agreed", "_agreed_at", "_gate", "_looked_at", "_refused", "_refused_at", "settings", "was_troubled")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._refused = 0
        self._refused_at = float("-inf")
        self._agreed: tuple[str, int, int] | None = None  # what the fleet had come to, and since when
        self._agreed_at = self._looked_at = float("-inf")
        self.settings: CircuitSettings | None = None
        self.was_troubled = False

    def is_troubled(self) -> bool:
        """Return whether it is not plainly well."""
        circuit = self._gate.circuit
        return bool(circuit.state is not State.CLOSED or circuit.evidence.in_a_row or circuit.override is not None)

    def has_backlog(self, now: float) -> bool:
        """Return whether there is work for it: messages here, or, in a source that is held with nothing in hand, at the broker."""
        gate = self._gate
        refused = gate.circuit.rejected
        if refused != self._refused:
            self._refused, self._refused_at = refused, now
        if now < self._refused_at + _REFUSAL_LASTS:
            return True
        if any(not waiting.delivery.assignment.stopped for line in gate.lines.values() for waiting in line.values()):
            return True
        return any(not each.stopped and (each.inbox.waiting or each.in_flight or each.unstarted or each.held) for each in gate.assignments)

    def is_stuck(self, member: FleetMember, guidance: Guidance, now: float) -> bool:
        """Return whether the fleet has waited for so long that nobody seems able to probe. See the head of this file."""
        if guidance.phase not in {Phase.WAIT, Phase.PROBE}:
            self._agreed = None
            return False
        if now >= self._looked_at + _LOOK_EVERY:
            self._looked_at = now
            agreed = next(each for each in member.snapshot(now).agreements if each.dependency == self._gate.name)
            seen = (agreed.course, agreed.epoch, agreed.failed_probes)
            # Before the next probe is due nobody has failed to make it: a server may have asked to be left alone for an hour.
            if agreed.word is not None or agreed.probe_in or seen != self._agreed:
                self._agreed, self._agreed_at = seen, now
        return now >= self._agreed_at + _STUCK_AFTER


class FleetLink:
    """The fleet of one guard, and what an operator may say to all of its workers.

    The commands are for the whole fleet. Each returns when the log has it; every worker that reads the log carries it out then, and a
    worker that comes later hears of it, too. `reason` and `actor` say why and who, and go to the log, the events and the audit log of this
    guard. `for_` is the seconds (or a timedelta) after which a command ends by itself; None means that another one ends it. All raise
    CommandError: without a fleet, for a dependency that is not here, and where the log does not take the command.
    """

    def __init__(self, guard: GuardInFleet, fleet: Fleet | None, draw: Callable[[], float]) -> None:
        self._guard = guard
        self._fleet = fleet
        self.is_in_one = fleet is not None  # the guard is in a fleet; for reading, in each turn
        self._settings: FleetSettings | None = None  # None means those that the fleet was made with
        self._draw = draw
        self._member: FleetMember | None = None
        self._wire: Wire | None = None
        self._watched: dict[Gate, _Watched] = {}
        self._due: float | None = None
        self._is_news = False  # something was read, or is to be taken in
        self._has_left = False

    # -- life -------------------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to read and write. Raises FleetLogError if the log is required and cannot be opened."""
        if self._fleet is None:
            return
        settings = self._fleet.settings if self._settings is None else self._settings
        member = FleetMember(f"{int(self._draw() * _IDS):012x}", settings, self._draw)
        wire = Wire(self._fleet.log, self._heard, self._state, self._draw)
        if self._fleet.required:
            try:
                await wire.open()
            except TimeoutError as error:
                await wire.close()
                raise FleetLogError(f"the fleet's log ({self._fleet.log.place}) is required, and gave {error}") from None
            except BaseException:
                await wire.close()
                raise
        wire.start()
        self._member, self._wire = member, wire
        self._is_news = True

    def leave(self) -> None:
        """Tell the fleet that this worker goes, so that nobody waits for it. From now on it goes by its own rules."""
        if self._member is None or self._wire is None or self._has_left:
            return
        self._has_left = True
        now = self._guard.now()
        for gate in self._watched:
            gate.circuit.guide(None, now)
            self._guard.circuits[gate.name].stop_pooling()
        self._wire.send(self._member.leave(now))

    def reconfigure(self, fleet: Fleet, settings: FleetSettings) -> None:
        """Go on by other settings, if the guard is in this fleet. Its log and its name stay. Must be called on the guard's event loop."""
        if fleet is not self._fleet:
            return
        self._settings = replace(settings, name=fleet.settings.name)
        if self._member is not None:
            self._member.reconfigure(self._settings)
            self._is_news = True
            self._guard.wake()

    async def close(self) -> None:
        """Let go of the log, within a second."""
        self.leave()
        if self._wire is not None:
            await self._wire.close()

    # -- a turn -----------------------------------------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Have the circuits go by what the fleet says. At the beginning of a turn."""
        member = self._member
        if member is None or self._has_left:
            return
        if self._guard.stopping:
            self.leave()
            return
        is_due = self._is_news or (self._due is not None and now >= self._due)
        self._is_news = False
        for gate in self._guard.engine.gates.values():
            watched = self._watched.get(gate) or self._watch(gate)
            if gate.circuit.settings is not watched.settings:
                watched.settings = gate.circuit.settings
                member.add(gate.name, gate.circuit.settings, now)
                is_due = True
            troubled = watched.is_troubled()
            if is_due or troubled or watched.was_troubled:
                watched.was_troubled = troubled or member.watches(gate.name)
                self._guide(member, gate, watched, now)
                self._due = now  # what follows from it is to be written in this turn

    def _watch(self, gate: Gate) -> _Watched:
        watched = self._watched[gate] = _Watched(gate)
        self._guard.circuits[gate.name].pool_failures()  # those of calls outside of handlers, after which there is no turn otherwise
        return watched

    def _guide(self, member: FleetMember, gate: Gate, watched: _Watched, now: float) -> None:
        circuit = gate.circuit
        guidance = member.look(gate.name, circuit.own_facts(now), watched.has_backlog(now), circuit.full, now)
        circuit.guide(None if watched.is_stuck(member, guidance, now) else guidance, now)
        if member.take_reset(gate.name) and circuit.state is not State.CLOSED:
            circuit.reset(now)

    def settle(self, now: float) -> Sequence[FleetEvent]:
        """Hand over what is to be written, and return what has happened to the fleet. At the end of a turn."""
        member, wire = self._member, self._wire
        if member is None or wire is None or self._has_left or self._due is None or now < self._due:
            return ()
        records = member.take_records(now)
        if records:
            wire.send(records)
        deadline = member.next_deadline()
        self._due = None if deadline is None else max(deadline, now + _TICK)
        return member.take_news()

    def next_deadline(self) -> float | None:
        """Return when a turn will matter here. None means only when something has happened."""
        return None if self._has_left else self._due

    def _heard(self, entries: Sequence[LogEntry]) -> None:
        if self._member is not None:
            self._member.heard([entry.data for entry in entries], self._guard.now())
            self._wake_if_stirred(self._member)

    def _state(self, readable: bool) -> None:
        if self._member is not None:
            self._member.log_state(readable, self._guard.now())
            self._wake_if_stirred(self._member)

    def _wake_if_stirred(self, member: FleetMember) -> None:
        # A turn costs far more than reading a line, and twenty workers write twenty lines a second about what need not concern this one.
        # The first turn is the one that tells the rules what this worker needs.
        if not self._has_left and (member.is_stirred or self._due is None):
            self._is_news = True
            self._guard.wake()

    # -- for people -------------------------------------------------------------------------------------------------------------------

    def snapshot(self, now: float) -> FleetSnapshot | None:
        """Return the fleet as this worker sees it. None means that the guard is in none."""
        return None if self._member is None else self._member.snapshot(now)

    async def hold(self, dependency: str, *, reason: str, actor: str = PROGRAM, for_: float | timedelta | None = LASTS) -> None:
        """Keep every worker of the fleet from a dependency, until `release` or for `for_` seconds. What runs may finish."""
        await self._order("fleet_hold", Word.HOLD, dependency, reason, actor, for_)

    async def release(self, dependency: str, *, reason: str, actor: str = PROGRAM) -> None:
        """End `hold` or `force_open`. The fleet comes back as from an outage: one probe, then a ramp for all."""
        await self._order("fleet_release", Word.RELEASE, dependency, reason, actor, None)

    async def force_open(self, dependency: str, *, reason: str, actor: str = PROGRAM, for_: float | timedelta | None = LASTS) -> None:
        """Open the circuit of a dependency at every worker, and have nobody probe, until `release` or for `for_` seconds."""
        await self._order("fleet_force_open", Word.FORCE_OPEN, dependency, reason, actor, for_)

    async def reset(self, dependency: str, *, reason: str, actor: str = PROGRAM) -> None:
        """Close the circuit of a dependency at every worker, so that the full rate comes immediately."""
        await self._order("fleet_reset", Word.RESET, dependency, reason, actor, None)

    async def _order(  # noqa: PLR0917 - what a command is
        self, command: FleetCommand, word: Word, dependency: str, reason: str, actor: str, for_: float | timedelta | None
    ) -> None:
        given = self._guard.given_to_fleet(command, dependency, reason, actor, for_)
        member, wire = self._member, self._wire
        if member is None or wire is None or self._has_left:
            raise CommandError(
                "this guard is in no fleet, or about to leave it: give Guard(fleet=...) a log, or the command to each worker"
            )
        lasts = None if for_ is None else seconds("for_", for_)
        member.command(dependency, word, reason=reason, actor=actor, lasts=lasts, now=given.at)
        try:
            await wire.confirm(member.take_records(given.at))
        except (FleetLogError, TimeoutError) as error:
            raise CommandError(f"the fleet's log did not take {word.value} of {dependency!r}: {error}. Give it to each worker") from None
        self._guard.engine.note(given)
        self._guard.wake()


def check_fleet(fleet: object) -> Fleet | None:
    """Return the fleet of a guard. None means that it is in none. Raises SettingsError."""
    return fleet if fleet is None or isinstance(fleet, Fleet) else Fleet(cast("FleetLog", fleet))
