"""The settings of one circuit: frozen, checked at construction, durations in seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from holdgate.core import validation
from holdgate.core.validation import Usual
from holdgate.core.windows import CountWindow, TimeWindow
from holdgate.errors import SettingsError

if TYPE_CHECKING:
    from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RampSettings:
    """How a circuit goes from one probe to the full rate.

    `initial`: the limit of the first stage, from 1. `growth`: factor of the limit after a good stage, above 1. `full`: the limit whose good
    stage closes the circuit; None: what `Circuit.set_full` says (a guard: the concurrency of its runs), 16 for a circuit alone; a given
    value is lowered by `set_full`, never raised. `bad_rate`: the share of failed or slow results a good stage may have, in [0, 1); left out
    and in a circuit's settings, half of the rate that opens at most.
    `minimum_verdicts`: results that a stage needs at least. `stage_timeout`: seconds after which a stage without refusals is judged by
    what it has. Raises SettingsError.
    """

    initial: int = 1  # the probe proved one call at a time, no more
    growth: float = 2.0  # log2(full) stages: 16 is reached in four
    full: int | None = None
    bad_rate: float = Usual(0.1)  # tolerates background errors; half of what opens, where that is less
    minimum_verdicts: int = 3  # one good result doubled three times is luck
    stage_timeout: float = 10.0  # low traffic is never stuck

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            initial: int = ...,
            growth: float = ...,
            full: int | None = ...,
            bad_rate: float = ...,
            minimum_verdicts: int = ...,
            stage_timeout: float | timedelta = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        validation.count("ramp.initial", self.initial)
        validation.count("ramp.minimum_verdicts", self.minimum_verdicts)
        object.__setattr__(self, "stage_timeout", validation.seconds("ramp.stage_timeout", self.stage_timeout))
        object.__setattr__(self, "growth", validation.number("ramp.growth", self.growth))
        if self.growth <= 1:
            raise SettingsError(f"ramp.growth={self.growth:g} never reaches the full rate; give a factor above 1")
        if self.bad_rate != 0 or isinstance(self.bad_rate, bool):
            object.__setattr__(self, "bad_rate", validation.ratio("ramp.bad_rate", self.bad_rate))
        if self.full is not None and validation.count("ramp.full", self.full) < self.initial:
            raise SettingsError(f"ramp.initial={self.initial} is above ramp.full={self.full}; lower initial or raise full")


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitSettings:
    """When a circuit opens, for how long, and how it comes back.

    `window`: what the rates are read from. `minimum_calls`: below it no rate trips (never more than a count window holds).
    `failure_rate_threshold`, `slow_call_rate_threshold`: ratios in (0, 1], reached means open. `slow_call_duration`: past it a call is
    slow; None: none is. `consecutive_failures`: failures in a row that open; None: off. `open_duration`, `open_multiplier`,
    `open_duration_max`, `open_jitter`: the wait at level n is open_duration * open_multiplier ** (n - 1), spread by the jitter, capped.
    `healthy_interval`: seconds of unbroken CLOSED that lower the level by one. `retry_after_max`: the longest wait a server may ask for.
    `permit_lease`: seconds after which a half-open permit is taken back, or twice the longest success if that is longer. Durations take a
    timedelta too. A default gives way to what was given: `open_duration` and `open_duration_max` to each other, `permit_lease` to twice
    `slow_call_duration`, `ramp.bad_rate` to half of the rates that open. Raises SettingsError with the given values that clash and the
    remedy.
    """

    window: CountWindow | TimeWindow = CountWindow(20)  # noqa: RUF009 - frozen. Judges within twenty calls, at any traffic
    minimum_calls: int = 10  # half a default window: two failures out of three calls are no rate
    failure_rate_threshold: float = 0.5  # Resilience4j and Hystrix: a dependency that fails every second call is down
    slow_call_duration: float | None = None  # only the caller knows what is slow
    slow_call_rate_threshold: float = 0.5  # as for failures
    consecutive_failures: int | None = 5  # Envoy's; opens a full outage after five calls, whatever the window holds
    open_duration: float = Usual(5.0)  # Hystrix and Polly: a restart of the dependency is not missed by much
    open_multiplier: float = 2.0  # six openings to the maximum
    open_duration_max: float = Usual(300.0)  # Envoy's; nobody waits longer than five minutes after a recovery
    open_jitter: float = 0.2  # a fleet that opened together must not probe together
    healthy_interval: float = 60.0  # flapping faster than once a minute keeps backing off
    retry_after_max: float = 3600.0  # a wrong header must not stop a worker for a day
    permit_lease: float = Usual(300.0)  # longer than any sane call: a lost permit cannot hold half-open for ever
    ramp: RampSettings = RampSettings()

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            window: CountWindow | TimeWindow = ...,
            minimum_calls: int = ...,
            failure_rate_threshold: float = ...,
            slow_call_duration: float | timedelta | None = ...,
            slow_call_rate_threshold: float = ...,
            consecutive_failures: int | None = ...,
            open_duration: float | timedelta = ...,
            open_multiplier: float = ...,
            open_duration_max: float | timedelta = ...,
            open_jitter: float = ...,
            healthy_interval: float | timedelta = ...,
            retry_after_max: float | timedelta = ...,
            permit_lease: float | timedelta = ...,
            ramp: RampSettings = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        self._check_rules()
        self._check_wait()
        for name in ("healthy_interval", "retry_after_max", "permit_lease"):
            self._keep(name, validation.seconds(name, getattr(self, name)))
        self._give_way()
        self._check_clashes()

    def _keep(self, name: str, value: float) -> None:
        object.__setattr__(self, name, value)

    def _check_rules(self) -> None:
        _check_type("window", self.window, CountWindow | TimeWindow, "CountWindow(20) or TimeWindow(30.0)")
        _check_type("ramp", self.ramp, RampSettings, "RampSettings()")
        validation.count("minimum_calls", self.minimum_calls)
        for name in ("failure_rate_threshold", "slow_call_rate_threshold"):
            self._keep(name, validation.ratio(name, getattr(self, name)))
        if self.slow_call_duration is not None:
            self._keep("slow_call_duration", validation.seconds("slow_call_duration", self.slow_call_duration))
        if self.consecutive_failures is not None:
            validation.count("consecutive_failures", self.consecutive_failures)

    def _check_wait(self) -> None:
        for name in ("open_duration", "open_duration_max"):
            self._keep(name, validation.seconds(name, getattr(self, name)))
        self._keep("open_multiplier", validation.number("open_multiplier", self.open_multiplier))
        if self.open_multiplier < 1:
            raise SettingsError(f"open_multiplier={self.open_multiplier:g} would shorten the wait of a longer outage; give 1 or more")
        self._keep("open_jitter", validation.number("open_jitter", self.open_jitter))
        if not 0 <= self.open_jitter < 1:
            raise SettingsError(f"open_jitter={self.open_jitter:g} is not in [0, 1): at 1 a wait could be no wait at all")

    def _give_way(self) -> None:
        """What was left out makes room for what was given; what is left for `_check_clashes` was given by somebody."""
        wait, longest = validation.make_room(self.open_duration, self.open_duration_max)
        self._keep("open_duration", wait)
        self._keep("open_duration_max", longest)
        if isinstance(self.permit_lease, Usual):
            # Twice: a call that has just become slow is not lost yet.
            self._keep("permit_lease", self.permit_lease.at_least(2 * (self.slow_call_duration or 0)))
        if isinstance(self.ramp.bad_rate, Usual):
            opens = min(self.failure_rate_threshold, 1 if self.slow_call_duration is None else self.slow_call_rate_threshold)
            # Half: a circuit that closes onto a rate just below what opens would open again by chance, within its first window.
            object.__setattr__(self, "ramp", replace(self.ramp, bad_rate=self.ramp.bad_rate.at_most(opens / 2)))

    def _check_clashes(self) -> None:
        if self.open_duration > self.open_duration_max:
            raise SettingsError(
                f"open_duration={self.open_duration:g} is above open_duration_max={self.open_duration_max:g}; raise open_duration_max"
            )
        # The threshold does not give way to a given bad_rate: nobody who says how to come back means to open later.
        if self.ramp.bad_rate >= self.failure_rate_threshold:
            raise SettingsError(
                f"ramp.bad_rate={self.ramp.bad_rate:g} is not below failure_rate_threshold={self.failure_rate_threshold:g}: the ramp would"
                " close onto a rate that opens; lower ramp.bad_rate"
            )
        if self.slow_call_duration is not None and self.permit_lease < self.slow_call_duration:
            raise SettingsError(
                f"permit_lease={self.permit_lease:g} is below slow_call_duration={self.slow_call_duration:g}: calls that are not even slow"
                " would be taken back as failures; raise permit_lease"
            )


def _check_type(name: str, value: object, wanted: type | object, example: str) -> None:
    if not isinstance(value, wanted):  # type: ignore[arg-type]
        raise SettingsError(f"{name}={value!r} is not understood; give {example}")
