"""How a circuit goes by its fleet: which guidance it follows, what it is to do about it, and the half-open whose limit comes from outside.

Theory of operation
===================

`Following` keeps the last guidance and decides what it means for the state; circuit.py acts. Guidance is desired state: it comes in every
turn, and only what has changed in it does anything. Three things are not followed:

    an override       rests the guidance. An operator decides alone, and what the fleet wants by then is looked at when the override ends
    an operator here  who resets this circuit, or has it tried, has left the fleet's phase: it is followed again from the next one on
    own breaches      of the fleet's ramp open the circuit for its own wait. Then it takes up its share again, since its own probe would be
                      one too many. When the fleet has recovered, such a circuit closes only if a call of its own was good since

A guidance lapses at its `until`, or when none comes any more. A wait that was the fleet's is over long since by the circuit's own times, as
in every worker whose log fell silent at the same moment. So each one's next try is put somewhere within its next wait, by chance: as if it
had asked by itself all along. A half-open goes on from its share by its own stages; without a share it begins with a probe.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Protocol, cast

from holdgate.core.guidance import OwnFacts, Phase
from holdgate.core.ramp import PROBE_LIMIT, Ramp, StageResult
from holdgate.core.states import Reason, State
from holdgate.core.transitions import OF_NO_CALL

if TYPE_CHECKING:
    from holdgate.core.evidence import Evidence
    from holdgate.core.guidance import Guidance
    from holdgate.core.permits import PermitsInFlight
    from holdgate.core.ramp import HalfOpen
    from holdgate.core.settings import RampSettings
    from holdgate.core.states import Breach, Override
    from holdgate.core.totals import CircuitTotals
    from holdgate.core.transitions import Situation


class Judged(Protocol):
    """A circuit, as far as its own facts are made of it."""

    state: State
    override: Override | None
    evidence: Evidence
    permits: PermitsInFlight
    totals: CircuitTotals
    latest: float


class Want(Enum):
    """What a guidance asks of the circuit in its present state."""

    NOTHING = "nothing"
    OPEN = "open"
    LEAD = "lead"  # half-open, by the guidance's limit
    CLOSE = "close"
    RESUME = "resume"  # go on by its own rules


class GuidedRamp(Ramp):
    """A half-open whose limit and stages come from a fleet. No stage is judged here; a breach still opens."""

    __slots__ = ("proved",)

    def __init__(self, settings: RampSettings, full: int, relapses: int = 0) -> None:
        super().__init__(settings, full, relapses)
        self.proved = False  # a call of it was good

    @property
    def good(self) -> int:
        """The good results of calls that were admitted in this stage."""
        return self.results - self._bad

    @property
    def bad(self) -> int:
        """The other results of calls that were admitted in this stage."""
        return self._bad

    @property
    def is_share(self) -> bool:
        """Whether its limit is a share of the fleet's: a probe, which may be another worker's, was good."""
        return not self.is_probing

    @property
    def stage_ends(self) -> float | None:
        """Return None, because time ends no stage."""
        return None

    def is_due(self, now: float) -> bool:  # noqa: ARG002 - as that of `Ramp`
        """Return False: the fleet judges."""
        return False

    def count(self, stage: int, result: StageResult, now: float, weight: int = 1, took: float = 0.0) -> Breach | None:
        """Count one result, as `Ramp.count` does."""
        self.proved = self.proved or result is StageResult.GOOD
        return super().count(stage, result, now, weight, took)

    def _end_probe(self, result: StageResult, now: float) -> Breach | None:
        breach = super()._end_probe(result, now)
        self.limit = PROBE_LIMIT  # what the probe has proved. How it goes on is for the fleet to say
        return breach

    def ask(self, now: float) -> None:
        """Begin with a probe for all."""
        if not self.is_probing:
            self.is_probing = True
            self.limit = PROBE_LIMIT
            self._begin_stage(now)

    def lead(self, limit: int, now: float, *, is_new: bool) -> None:
        """Go by this limit; `is_new`: a stage of the fleet begins."""
        self.is_probing = False
        self.limit = limit
        if is_new:
            self._begin_stage(now)

    def set_full(self, full: int) -> None:
        """Note the limit at which a ramp of its own would end. The fleet's limit stays."""
        self.full = full


class Following:
    """The guidance of one circuit, and how far it is followed."""

    __slots__ = ("_aside", "_breached", "_is_led", "_ramp", "_seen_succeeded", "guidance", "last_good")

    def __init__(self) -> None:
        self.guidance: Guidance | None = None
        self._aside: tuple[Phase, int] | None = None  # the phase and epoch that an operator here has left
        self._breached = False  # own calls opened it in this ramp of the fleet
        self._is_led = False  # the fleet has led it since it was last closed, or by its own rules
        self._ramp: GuidedRamp | None = None  # the last one, which still knows its results when the circuit has opened
        self._seen_succeeded = 0
        self.last_good: float | None = None

    # -- what is followed -------------------------------------------------------------------------------------------------------------

    @property
    def active(self) -> Guidance | None:
        """Return the guidance that is followed. None means that the circuit goes by its own rules."""
        guidance = self.guidance
        if guidance is None or guidance.phase is Phase.UP or (guidance.phase, guidance.epoch) == self._aside:
            return None
        return guidance

    def take(self, guidance: Guidance | None, now: float) -> bool:
        """Take the next guidance. Returns whether it differs from the last one."""
        if guidance is not None and (guidance.phase is Phase.LOCAL or guidance.until <= now):
            guidance = None
        before, self.guidance = self.guidance, guidance
        if before == guidance:
            return False
        if guidance is None or (before is not None and (before.phase, before.epoch) != (guidance.phase, guidance.epoch)):
            self._aside = None
            self._breached = self._breached and guidance is not None and guidance.phase is Phase.UP
        return True

    def is_over(self, now: float) -> bool:
        """Return whether the guidance has lapsed."""
        return self.guidance is not None and now >= self.guidance.until

    def want(self, state: State) -> Want:
        """Return what is to be done, and note that it is."""
        guidance, was_led = self.active, self._is_led
        self._is_led = guidance is not None
        if guidance is not None:
            return self._want_of(guidance.phase, state)
        if not was_led or state is State.CLOSED:
            return Want.NOTHING
        has_recovered = self.guidance is not None and self.guidance.phase is Phase.UP
        is_proved = not self._breached or (state is State.HALF_OPEN and self.is_proved)
        self._breached = False
        return Want.CLOSE if has_recovered and is_proved else Want.RESUME

    def _want_of(self, phase: Phase, state: State) -> Want:
        if phase is Phase.RAMP:
            return Want.NOTHING if self._breached and state is State.OPEN else Want.LEAD
        if phase is Phase.PROBE and state is State.HALF_OPEN:
            return Want.LEAD
        return Want.NOTHING if state is State.OPEN else Want.OPEN

    def opened(self, reason: Reason) -> None:
        """Note that the circuit opens: by its own breach in a ramp of the fleet, it will wait by its own time."""
        guidance = self.active
        self._breached = reason is not Reason.FLEET and guidance is not None and guidance.phase is Phase.RAMP
        if reason is not Reason.FLEET:
            self._aside = None

    def rest(self) -> None:
        """Note that an override decides: after it the circuit is led anew, or goes by its own rules."""
        self._is_led = False

    @property
    def is_proved(self) -> bool:
        """Whether a call of this worker was good since the last guided half-open began."""
        return self._ramp is not None and self._ramp.proved

    def leave(self) -> None:
        """Note that an operator here decides otherwise: what the fleet wants counts again from its next phase or epoch on."""
        guidance = self.guidance
        self._aside = None if guidance is None else (guidance.phase, guidance.epoch)
        self._is_led = self._breached = False

    # -- times ------------------------------------------------------------------------------------------------------------------------

    def wait_ends(self, situation: Situation) -> float:
        """Return when the wait of OPEN ends, the fleet's wish included: infinite while it waits for somebody else's probe."""
        guidance, asked = self.active, situation.asked
        if guidance is None or guidance.phase is Phase.RAMP or situation.override is not None:
            return situation.until
        if guidance.phase is Phase.WAIT:
            return inf
        return situation.until if asked is None else min(situation.until, asked.asked + guidance.wait_at_most)

    def opened_until(self, situation: Situation) -> float:
        """Return when OPEN ends by time, or the fleet's wish for it. Infinite if neither does."""
        lapses = None if situation.override is not None else self.lapses_at
        ends = self.wait_ends(situation)
        return ends if lapses is None else min(ends, lapses)

    @property
    def says_when(self) -> bool:
        """Whether the fleet says who tries next, and when. In its ramp a circuit that its own calls have opened waits by its own time."""
        guidance = self.active
        return guidance is not None and guidance.phase is not Phase.RAMP

    @property
    def lapses_at(self) -> float | None:
        """Return when the circuit will go by its own rules. None means never, or that it does."""
        guidance = self.active
        return None if guidance is None or guidance.until == inf else guidance.until

    # -- its half-open ----------------------------------------------------------------------------------------------------------------

    def new_ramp(self, settings: RampSettings, full: int, relapses: int, now: float) -> Ramp:
        """Return the ramp of a half-open that begins."""
        guidance = self.active
        if guidance is None or guidance.phase is Phase.WAIT:
            return Ramp(settings, full, relapses)
        ramp = self._ramp = GuidedRamp(settings, full, relapses)
        if guidance.phase is Phase.RAMP:
            ramp.lead(guidance.limit, now, is_new=True)
        return ramp

    def steer(self, half_open: HalfOpen, want: Want, own: Ramp, before: Guidance | None, now: float) -> None:
        """Have a half-open go by the guidance, after `before`, or by `own`, the ramp that it would have without one."""
        if want is Want.LEAD:
            self._lead(half_open, before, own.settings, now)
        else:
            half_open.ramp = own.after(half_open.ramp, now, proved=self.is_proved)

    def _lead(self, half_open: HalfOpen, before: Guidance | None, settings: RampSettings, now: float) -> None:
        guidance, ramp = cast("Guidance", self.guidance), half_open.ramp  # `want` has returned LEAD because of it
        is_new = before is None or (before.phase, before.epoch) != (guidance.phase, guidance.epoch)
        if not isinstance(ramp, GuidedRamp):
            ramp = self._ramp = GuidedRamp(settings, ramp.full).after(ramp, now, proved=True)
            half_open.ramp = ramp
            is_new = True
        if guidance.phase is Phase.RAMP:
            ramp.lead(guidance.limit, now, is_new=is_new or before is None or before.stage != guidance.stage)
        elif is_new:
            ramp.ask(now)

    def facts(self, circuit: Judged, situation: Situation, half_open: HalfOpen | None) -> OwnFacts:
        """Return what the circuit knows by its own calls."""
        totals, window = circuit.totals, circuit.evidence.window
        succeeded = totals.succeeded.count + window.passed + window.goods
        if succeeded != self._seen_succeeded:
            self._seen_succeeded = succeeded
            self.last_good = circuit.latest
        guidance = self.active
        ramp = self._ramp if guidance is not None and guidance.phase is Phase.RAMP else None
        return OwnFacts(
            state=circuit.state,
            override=circuit.override,
            in_a_row=_in_a_row(circuit, situation.opened_by, half_open),
            failed=totals.failed.count,
            succeeded=succeeded,
            last_good=self.last_good,
            opened_by=situation.opened_by,
            probes_failed=totals.probes_failed,
            probes_succeeded=totals.probes_succeeded,
            stage=0 if guidance is None else guidance.stage,
            stage_good=0 if ramp is None else ramp.good,
            stage_bad=0 if ramp is None else ramp.bad,
            in_flight=circuit.permits.weight,
            stage_seconds=0.0 if ramp is None else ramp.good_seconds,
            usual=(totals.succeeded.sum + circuit.evidence.quick_seconds) / succeeded if succeeded else None,
            told_until=situation.told_until,
        )


def _in_a_row(circuit: Judged, opened_by: Reason | None, half_open: HalfOpen | None) -> int:
    if half_open is not None and not half_open.ramp.is_probing:
        return half_open.ramp.in_a_row
    return max(int(opened_by is not None and opened_by not in OF_NO_CALL), circuit.evidence.in_a_row)
