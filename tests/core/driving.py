"""Short ways to bring a circuit where a test needs it. Times are plain seconds from 0."""

from __future__ import annotations

from dataclasses import replace

from holdgate.core import Circuit, CircuitSettings, Event, Limits, Outcome, Permit, RampSettings, State

SUCCESS, FAILURE, IGNORED, THROTTLED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED, Outcome.THROTTLED

# Limits that let everything through and learn nothing, for who looks at what a circuit does with a throttled result.
NO_LIMIT = Limits(concurrency=1_000_000, adaptive=False)

# The first wait of the default settings without jitter, which the default draw leaves out.
FIRST_WAIT = 3.5

# The rule of who sets `open_multiplier`: every opening raises the level, and every level doubles the wait.
DOUBLING = CircuitSettings(open_duration=5.0, open_multiplier=2.0, healthy_interval=60.0)


def acquire(circuit: Circuit, now: float, weight: int = 1) -> Permit:
    """A permit, or the test fails."""
    permit = circuit.try_acquire(now, weight)
    assert isinstance(permit, Permit)
    return permit


def is_refused(circuit: Circuit, now: float, weight: int = 1) -> bool:
    """Whether an acquire is refused; an admitted one is given back."""
    permit = circuit.try_acquire(now, weight)
    if isinstance(permit, Permit):
        circuit.release(permit, now)
        return False
    return True


def call(circuit: Circuit, outcome: Outcome, now: float, took: float = 0.0) -> None:
    """One call that begins at `now`."""
    circuit.record(acquire(circuit, now), outcome, now + took)


def calls(circuit: Circuit, outcomes: str, now: float) -> None:
    """One call per letter, each over before the next begins: S, F, I or T."""
    for letter in outcomes:
        call(circuit, {"S": SUCCESS, "F": FAILURE, "I": IGNORED, "T": THROTTLED}[letter], now)


def opened(settings: CircuitSettings | None = None, limits: Limits | None = None) -> Circuit:
    """A circuit that five failures have opened at 0."""
    circuit = Circuit("payments", settings or CircuitSettings(), limits=limits)
    calls(circuit, "FFFFF", 0.0)
    assert circuit.state is State.OPEN
    return circuit


def half_opened(settings: CircuitSettings | None = None, limits: Limits | None = None) -> Circuit:
    """A circuit that has just become half-open, its probe not gone yet; its events are taken."""
    circuit = opened(settings, limits)
    deadline = circuit.next_deadline()
    assert deadline is not None
    circuit.advance(deadline)
    circuit.take_events()
    return circuit


def ramping(limit: int, settings: CircuitSettings | None = None, **ramp: float) -> Circuit:
    """A circuit at the beginning of a stage with `limit`, after the first wait; its events are taken."""
    settings = settings or CircuitSettings()
    settings = replace(settings, ramp=replace(settings.ramp, **{"initial": limit, **ramp}))  # type: ignore[arg-type]
    circuit = half_opened(settings)
    calls(circuit, "S", FIRST_WAIT)
    circuit.take_events()
    assert circuit.limit == limit
    return circuit


def kinds(events: tuple[Event, ...]) -> list[str]:
    """The names of the events, in order."""
    return [type(event).__name__ for event in events]


def with_ramp(**ramp: float) -> CircuitSettings:
    """The default settings with another ramp."""
    return CircuitSettings(ramp=RampSettings(**ramp))  # type: ignore[arg-type]
