"""The settings of one circuit: frozen, checked at construction, durations in seconds.

Checks come in this order: each value by itself; then defaults give way to values that were given (`Usual` in validation.py); then values
that still clash were all given, and raise.
"""

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

    - `initial`: the limit of the first stage in calls in flight, from 1. The default is what the probe has proved.
    - `growth`: the factor of the limit after a good stage, above 1. With the default 16 is reached in four stages.
    - `full`: the limit whose good stage closes the circuit, from `initial`. None means what `Circuit.set_full` sets: a guard sets the
      concurrency of its runs, and a circuit alone has 16. A given value is lowered by `set_full`, never raised.
    - `bad_rate`: the ratio of failed or slow results that a good stage may have, in [0, 1], and below the failure rate that opens. The
      default tolerates background errors; in a circuit's settings it is at most half of the rate that opens.
    - `minimum_verdicts`: how many results a stage needs at least, from 1. Fewer than the default could be luck.
    - `stage_timeout`: seconds after which a stage without refusals is judged by the results that it has, above 0, or a timedelta.
    - `stage_per_relapse`: seconds that every stage lasts at least, for each relapse that is not forgotten (at most four count), from 0.

    Raises SettingsError, with the values that clash and the remedy.
    """

    initial: int = 1  # the probe has proved one call at a time, no more
    growth: float = 2.0  # log2(full) stages: 16 is reached in four
    full: int | None = None
    bad_rate: float = Usual(0.1)  # tolerates background errors; half of the rate that opens, if that is less
    minimum_verdicts: int = 3  # one good result that doubles the limit three times would be luck
    stage_timeout: float = 10.0  # low traffic is never stuck
    stage_per_relapse: float = 1.0  # up for five seconds, down again: from the second time on it is not back at the full rate by then

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
            stage_per_relapse: float | timedelta = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        validation.count("ramp.initial", self.initial)
        validation.count("ramp.minimum_verdicts", self.minimum_verdicts)
        object.__setattr__(self, "stage_timeout", validation.seconds("ramp.stage_timeout", self.stage_timeout))
        if self.stage_per_relapse != 0 or isinstance(self.stage_per_relapse, bool):
            object.__setattr__(self, "stage_per_relapse", validation.seconds("ramp.stage_per_relapse", self.stage_per_relapse))
        object.__setattr__(self, "growth", validation.number("ramp.growth", self.growth))
        if self.growth <= 1:
            raise SettingsError(f"ramp.growth must be above 1, got {self.growth:g}: the limit would never reach the full rate")
        if self.bad_rate != 0 or isinstance(self.bad_rate, bool):
            object.__setattr__(self, "bad_rate", validation.ratio("ramp.bad_rate", self.bad_rate))
        if self.full is not None and validation.count("ramp.full", self.full) < self.initial:
            raise SettingsError(f"ramp.initial={self.initial} is above ramp.full={self.full}: lower initial or raise full")


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitSettings:
    """When a circuit opens, for how long, and how it comes back.

    All durations are seconds above 0, or a timedelta. The wait is `open_share` of the age of the outage, at least `open_duration`, spread
    by `open_jitter`, and at most `open_duration_max`. After a relapse it is longer.

    - `window`: the results that the rates are computed from.
    - `minimum_calls`: the number of results below which no rate opens, from 1, and never more than a count window holds.
    - `failure_rate_threshold`: the ratio of failures that opens when it is reached, in (0, 1]. The default is that of Resilience4j and
      Hystrix.
    - `slow_call_duration`: the time past which a call is slow. None means that no call is slow.
    - `slow_call_rate_threshold`: the ratio of slow calls that opens when it is reached, in (0, 1].
    - `consecutive_failures`: how many failures in a row open, from 1. None means that this rule is off. The default is Envoy's.
    - `open_duration`: the first and shortest wait; it gives way to a shorter `open_duration_max`.
    - `open_share`: the wait as a ratio of the time since the outage began, in (0, 1]. It is measured from when the failed probe was sent.
    - `open_multiplier`: None means that waits follow `open_share`. A number, from 1, means that they do not: the wait at level n is
      `open_duration * open_multiplier ** (n - 1)`, and each opening raises the level by one.
    - `open_duration_max`: the longest wait. The default is Envoy's; it gives way to a longer `open_duration`.
    - `open_jitter`: the ratio by which a wait may be longer or shorter, in [0, 1).
    - `healthy_interval`: the time of unbroken CLOSED that lowers the level by one. An outage that comes sooner is a relapse.
    - `retry_after_max`: the longest wait that a server may ask for.
    - `permit_lease`: the time after which a half-open permit is taken back as a failure, or twice the longest success if that is longer.
      The default gives way to twice `slow_call_duration`.
    - `ramp`: how the circuit comes back. The default of its `bad_rate` gives way to half of the rates that open.

    Raises SettingsError, with the values that clash and the remedy.
    """

    window: CountWindow | TimeWindow = CountWindow(20)  # noqa: RUF009 - frozen. Judges within twenty calls, at any traffic
    minimum_calls: int = 10  # half a default window: two failures out of three calls are not a rate
    failure_rate_threshold: float = 0.5  # Resilience4j and Hystrix: a dependency that fails every second call is down
    slow_call_duration: float | None = None  # only the caller knows what is slow
    slow_call_rate_threshold: float = 0.5  # as for failures
    consecutive_failures: int | None = 5  # Envoy's; opens in a full outage after five calls, whatever the window holds
    open_duration: float = Usual(3.5)  # with the ramp, a worker is back within five seconds of a short restart, even if a probe hung
    open_share: float = 0.1  # with jitter and ramp, a worker is back within 12 % of an outage
    open_multiplier: float | None = None  # a wait that follows the outage's age is never far too long
    open_duration_max: float = Usual(300.0)  # Envoy's, a tenth of 50 minutes; less only makes longer outages dearer (benchmarks/waits.py)
    open_jitter: float = 0.1  # workers that opened together must not probe together; ten per cent spreads them within a few probes
    healthy_interval: float = 30.0  # a dependency that is well for half a minute has come back; one that flaps faster has not
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
            open_share: float = ...,
            open_multiplier: float | None = ...,
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
        _check_type("window", self.window, CountWindow | TimeWindow, "a CountWindow or a TimeWindow")
        _check_type("ramp", self.ramp, RampSettings, "RampSettings")
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
        self._keep("open_share", validation.ratio("open_share", self.open_share))
        if self.open_multiplier is not None:
            self._keep("open_multiplier", validation.number("open_multiplier", self.open_multiplier))
            if self.open_multiplier < 1:
                raise SettingsError(
                    f"open_multiplier must be at least 1, got {self.open_multiplier:g}: waits would become shorter in an outage"
                )
        self._keep("open_jitter", validation.number("open_jitter", self.open_jitter))
        if not 0 <= self.open_jitter < 1:
            raise SettingsError(f"open_jitter must be in [0, 1), got {self.open_jitter:g}: at 1 a wait could be 0 seconds")

    def _give_way(self) -> None:
        """Let defaults give way to values that were given, so that `_check_clashes` finds only clashes between given values."""
        wait, longest = validation.make_room(self.open_duration, self.open_duration_max)
        self._keep("open_duration", wait)
        self._keep("open_duration_max", longest)
        if isinstance(self.permit_lease, Usual):
            # Twice, because a call that has just become slow is not lost yet.
            self._keep("permit_lease", self.permit_lease.at_least(2 * (self.slow_call_duration or 0)))
        if isinstance(self.ramp.bad_rate, Usual):
            opens = min(self.failure_rate_threshold, 1 if self.slow_call_duration is None else self.slow_call_rate_threshold)
            # Half, because a circuit that closes at a rate just below the one that opens would open again by chance within a window.
            object.__setattr__(self, "ramp", replace(self.ramp, bad_rate=self.ramp.bad_rate.at_most(opens / 2)))

    def _check_clashes(self) -> None:
        if self.open_duration > self.open_duration_max:
            raise SettingsError(
                f"open_duration={self.open_duration:g} is above open_duration_max={self.open_duration_max:g}: raise open_duration_max"
            )
        # The threshold does not give way to a given bad_rate: it says how to come back, and must not make the circuit open later.
        if self.ramp.bad_rate >= self.failure_rate_threshold:
            raise SettingsError(
                f"ramp.bad_rate={self.ramp.bad_rate:g} must be below failure_rate_threshold={self.failure_rate_threshold:g}, or the circuit"
                " would close at a rate that opens it: lower ramp.bad_rate"
            )
        if self.slow_call_duration is not None and self.permit_lease < self.slow_call_duration:
            raise SettingsError(
                f"permit_lease={self.permit_lease:g} must be at least slow_call_duration={self.slow_call_duration:g}, or calls that are not"
                " even slow would be taken back as failures: raise permit_lease"
            )


def _check_type(name: str, value: object, wanted: type | object, shown: str) -> None:
    if not isinstance(value, wanted):  # type: ignore[arg-type]
        raise SettingsError(f"{name} must be {shown}, got {value!r}")


def checked(settings: object) -> CircuitSettings:
    """Return the settings. Raises SettingsError unless they are CircuitSettings."""
    if not isinstance(settings, CircuitSettings):
        raise SettingsError(f"settings must be CircuitSettings, got {settings!r}: leave it out, or write CircuitSettings(...)")
    return settings
