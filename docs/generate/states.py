"""The circuit's states, from the one table of transitions."""

from __future__ import annotations

from docs.generate.tables import table

from holdgate.core import Reason, State
from holdgate.core.transitions import TRANSITIONS, Trigger

# What an operator or a fleet does to a circuit; the README's diagram leaves it out.
OUTSIDE = frozenset({Trigger.FORCE_ENDED, Trigger.RESET, Trigger.FLEET_WAITS, Trigger.FLEET_RAMPS, Trigger.FLEET_RECOVERED})

REASONS = {
    Reason.FAILURE_RATE: "the share of failures reached `failure_rate_threshold`, or half of a small stage of the ramp failed",
    Reason.SLOW_CALL_RATE: "the share of slow calls reached `slow_call_rate_threshold`, calls that still run included",
    Reason.CONSECUTIVE_FAILURES: "`consecutive_failures` in a row; in a ramp three",
    Reason.PROBE: "the probe failed",
    Reason.SLOW_PROBE: "the probe succeeded, but took longer than `slow_call_duration`",
    Reason.PERMIT_LEASE: "a call of a half-open circuit did not come back within `permit_lease`",
    Reason.RETRY_AFTER: "the server said when to come back",
    Reason.OPEN_FOR: "somebody called `open_for`",
    Reason.FLEET: "the whole fleet waits for it: other workers found it down, or an operator holds it (`Guard(fleet=...)`)",
}


def diagram(whose: str = "all") -> str:
    """A mermaid state diagram; `whose` "circuit" leaves out what an operator or a fleet does."""
    edges: dict[tuple[State, State], list[str]] = {}
    for (state, trigger), target in TRANSITIONS.items():
        if whose == "all" or trigger not in OUTSIDE:
            edges.setdefault((state, target), []).append(trigger.value)
    lines = [f"    {old.name} --> {new.name}: {' / '.join(triggers)}" for (old, new), triggers in edges.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> CLOSED", *lines, "```"])


def transitions_table() -> str:
    """Every row of the table."""
    rows = [(f"`{state.name}`", trigger.value, f"`{target.name}`") for (state, trigger), target in TRANSITIONS.items()]
    return table(("from", "on", "to"), rows)


def reasons_table() -> str:
    """Why a circuit opens. Raises KeyError for a reason that nobody has explained here."""
    return table(("reason", "when"), [(f"`{reason.value}`", REASONS[reason]) for reason in Reason])
