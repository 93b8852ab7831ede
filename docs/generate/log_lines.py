"""What each line of the log looks like: written by the code that writes the log, or read from the code.

Events are examples, in the state in which a reader meets them. Lines of runs are taken from the stories of logs.py. All other lines stand
in the code as they are, and each of them needs a meaning in log_lines.toml.
"""

from __future__ import annotations

import ast
import logging
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from docs.generate.logs import story
from docs.generate.tables import table

from holdgate.core.states import Override, Reason, State
from holdgate.events import (
    AnyEvent,
    AttributionShared,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitReset,
    CommandEnded,
    CommandGiven,
    ConductorChanged,
    DependencyMet,
    FleetLogCameBack,
    FleetLogFellSilent,
    FleetMembersChanged,
    FleetOpened,
    FleetOrdered,
    FleetRecovered,
    HandlerStuck,
    HoldContinued,
    KeysHeld,
    KeysReleased,
    LeaseExpired,
    LeaseTooShort,
    LimitBegan,
    LimitChanged,
    LimitEnded,
    LimitMoved,
    LocalCauseFound,
    LocalCauseSuspected,
    MessagesHeld,
    MessageSkipped,
    OutageOver,
    OutageSuspected,
    OverrideCleared,
    OverrideSet,
    SourceBlocked,
    SourceFallingBack,
    SourceHeld,
    SourceReleased,
    SourceRetried,
    ThresholdExceeded,
    UndeclaredNeed,
)
from holdgate.flow.message import Partition
from holdgate.runtime.log import words
from holdgate.runtime.outages import Line, Outages

_ORDERS = Partition("orders", 3)
_HELD = ("circuit:payments",)

_OPENED = (
    ThresholdExceeded("payments", 90.0, 0, Reason.CONSECUTIVE_FAILURES, 5, 5),
    CircuitOpened("payments", 90.0, 1, Reason.CONSECUTIVE_FAILURES, 95.2, 1, State.CLOSED),
)
_HOLDS = (SourceHeld(90.0, _ORDERS, _HELD),)
_TRIES = (CircuitHalfOpened("payments", 95.2, 2, State.OPEN), SourceReleased(95.2, _ORDERS, 5.2))
_ANSWERS = (LimitChanged("payments", 96.0, 2, 1, 2),)

# The events of one turn after the other, of which the last are meant, and what their reader should do.
STORY: list[tuple[tuple[tuple[AnyEvent, ...], ...], str]] = [
    (
        (_OPENED,),
        "The dependency is down: the rule that was met ([all](states.md#why-a-circuit-opens)), and the last failure. Look there.",
    ),
    ((_OPENED, _HOLDS), "These partitions wait, for these reasons. Nothing is lost, and nothing to do here."),
    (
        (_OPENED, (SourceHeld(90.0, _ORDERS, _HELD, "order"),)),
        "The first message waits, and the others behind it whatever they need. Another `order` [lets them go](../how-to/several-types.md).",
    ),
    (
        (_OPENED, (SourceHeld(90.0, _ORDERS, _HELD, "held_span"),)),
        "So many messages wait that the others wait, too. Raise `held_span`, or [park those that wait](../how-to/several-types.md).",
    ),
    (
        (_OPENED, (SourceHeld(90.0, _ORDERS, _HELD, "memory"),)),
        "The same, for the bytes that they take. Raise `Guard(memory=)`, or [park those that wait](../how-to/several-types.md).",
    ),
    (
        (_OPENED, _HOLDS, _TRIES, (CircuitOpened("payments", 95.3, 3, Reason.PROBE, 105.3, 2, State.HALF_OPEN),)),
        "A probe failed. It says what it failed with, when the next one is, how much waits at the broker, and since when it is down.",
    ),
    (
        (_OPENED, _HOLDS, _TRIES, _ANSWERS, (CircuitOpened("payments", 97.0, 3, Reason.PERMIT_LEASE, 107.0, 2, State.HALF_OPEN),)),
        "It had answered, and failed again before it was back.",
    ),
    ((_OPENED, _HOLDS, _TRIES, _ANSWERS), "A probe was good. The partitions go on, a few messages at a time."),
    (
        (_OPENED, _HOLDS, _TRIES, _ANSWERS, (LimitChanged("payments", 97.0, 2, 4, 2),)),
        "Too many of the calls after the probe failed. It goes on more slowly.",
    ),
    (
        (_OPENED, _HOLDS, _TRIES, _ANSWERS, (CircuitClosed("payments", 693.0, 3, State.HALF_OPEN),)),
        "The outage is over: how long it was, how many calls it has cost, the most that has waited, and what goes on.",
    ),
    (((SourceHeld(90.0, _ORDERS, ("operator",)),), (SourceReleased(99.0, _ORDERS, 9.0),)), "The partitions go on where they stood."),
]

# Events that speak for themselves, and what their reader should do.
EXAMPLES: list[tuple[AnyEvent, str]] = [
    (
        ThresholdExceeded("payments", 90.0, 0, Reason.FAILURE_RATE, 0.6, 0.5, observed=True),
        "Under `observe`: the circuit would have opened now. Once for each episode.",
    ),
    (
        MessagesHeld(90.0, _ORDERS, ("payments",)),
        "Each message has its own needs: those that need it wait here, and the rest goes on. Once in an outage.",
    ),
    (
        HoldContinued(690.0, _ORDERS, _HELD, 90.0, 702.0),
        "Every `hold_warn_after`, for a hold that lasts. Keep an eye on the topic's retention.",
    ),
    (
        SourceBlocked(120.0, _ORDERS, 4711, 5, "KeyError"),
        "Fix the handler and deploy, or skip the message. Once a minute until then.",
    ),
    (
        SourceBlocked(120.0, _ORDERS, 4711, 6, "ConnectionError", suspect=True),
        "The circuit has opened, or could have, and another attempt failed. The message is tried again; a health `probe` can tell.",
    ),
    (
        SourceBlocked(120.0, _ORDERS, 4711, 12, "HTTPStatusError 429", suspect=True, throttled=True),
        "Its request may be larger than its limit, or a quota is used up for long. [What it can be](../how-to/sort-errors.md#not-so-fast).",
    ),
    (
        MessageSkipped(120.0, _ORDERS, 4711, "duplicate", by_operator=True),
        "It was settled without having been processed.",
    ),
    (SourceRetried(120.0, _ORDERS, 2, "handler mended"), "An operator did that: they start afresh, or their dead letters are sent now."),
    (
        HandlerStuck(690.0, _ORDERS, 4711, 600.0),
        "Every `hold_warn_after`, for a handler that does not end. Give it a time limit, or the run a `timeout`.",
    ),
    (SourceFallingBack(90.0, _ORDERS, ("payments",)), "Its messages go to the fallback until the dependency is tried again."),
    (
        AttributionShared(120.0, _ORDERS, ("payments", "ledger")),
        "With several needs the guard cannot tell whose exception it was. Call them by `dependency.call`.",
    ),
    (
        DependencyMet(80.0, _ORDERS, "ledger"),
        "Add the dependency to `needs`: [until then](../how-to/call-a-dependency.md#a-dependency-that-nobody-has-declared).",
    ),
    (UndeclaredNeed(120.0, _ORDERS, "ledger"), "Add the dependency to `needs`."),
    (
        LocalCauseSuspected(90.0, ("ledger", "payments")),
        "Look at this machine first: network, DNS, clock.",
    ),
    (
        OutageSuspected(90.0, (_ORDERS,), "httpx.ConnectError", 3, 3, 90.0),
        "Do what it says; once a minute. [The rule](../explanation/fate-of-a-message.md#an-outage-nobody-described).",
    ),
    (
        OutageSuspected(90.0, (_ORDERS,), "KeyError", 12, 12, 90.0, is_bug=True, began=30.0),
        "Look at the handler, and at what the producers have deployed since then. Nothing is lost meanwhile.",
    ),
    (
        OutageSuspected(90.0, (_ORDERS,), "KeyError", 12, 12, 90.0, is_bug=True, began=30.0, needs=("payments",)),
        "The same where [each message has its own needs](../how-to/several-types.md): those that need it come again, and hold nothing.",
    ),
    (
        OutageSuspected(90.0, (_ORDERS,), "httpx.HTTPStatusError", 12, 12, 90.0, status=401, began=30.0),
        "Look at the token, or the address. [More](../how-to/sort-errors.md#a-bug-an-expired-token-a-wrong-address).",
    ),
    (OutageOver(190.0, (_ORDERS,), "httpx.ConnectError", 100.0), "It goes on. Declare what the line before it has named."),
    (
        CommandGiven(90.0, "hold", "orders", "alice", "deploying 1.2.3", 1890.0),
        "Who did what, and why: [all commands](../how-to/operate.md).",
    ),
    (
        CommandEnded(1890.0, CommandGiven(90.0, "hold", "orders", "alice", "deploying 1.2.3", 1890.0)),
        "Its time was over, or the program itself has ended it. Nobody has to do anything.",
    ),
    (
        LimitBegan(90.0, "payments", 9.8, 4, "pace"),
        "It has refused calls because there were too many; this is what it takes. [What happens](../how-to/limit-a-dependency.md).",
    ),
    (
        LimitBegan(90.0, "payments", None, 0, "throttled", until=3690.0),
        "It refuses all calls, and has said for how long, or is asked less and less often. Its sources are held meanwhile.",
    ),
    (
        LimitMoved(190.0, "payments", 4.9, 4, "pace", 9.8, 4),
        "It takes more than before, or less. At most once a minute.",
    ),
    (
        KeysHeld(90.0, "payments", 3, 1240, 812),
        "Some tenants are down or throttled, and wait; the others go on. [Limits by key](../how-to/limit-a-dependency.md#by-key).",
    ),
    (KeysReleased(290.0, "payments", 200.0), "All tenants go on."),
    (FleetMembersChanged(3.0, 20, 1, 0), "Workers that share the log have come or gone."),
    (
        FleetOpened(90.0, "payments", 7, 18, 21),
        "The dependency is down for the whole fleet: no worker calls it but the one that tries. [States](states.md#why-a-circuit-opens).",
    ),
    (ConductorChanged(90.1, "payments", 7, "3f2a1c", own=False, takeover=False), "The first worker whose claim was in the log."),
    (
        ConductorChanged(130.1, "payments", 8, "3f2a1c", own=True, takeover=True),
        "The one before it fell silent, or two of its probes failed. Nothing to do.",
    ),
    (FleetRecovered(693.0, "payments", 8, 603.0, 22), "All workers go on, and it is up for each."),
    (
        LocalCauseFound(95.0, "payments", 20, 1),
        "The circuit of this worker is open and the others are well: network, DNS, credentials of this machine.",
    ),
    (
        FleetLogFellSilent(96.0, 6.0),
        "What this worker has written has not come back. Look at the log's server; nothing is held up by it.",
    ),
    (FleetLogCameBack(396.0, 300.0), "The fleet decides again."),
    (
        FleetOrdered(90.0, "payments", "hold", "migration", "alice", 1800.0),
        "An operator has kept all workers from it, or let them go again, by `guard.fleet` at one of them.",
    ),
    (LimitEnded(290.0, "payments", 200.0), "Only what you have set limits it now."),
    (OverrideSet("payments", 90.0, 1, Override.FORCED_OPEN, None), "An operator did that; who, says the line before it."),
    (OverrideCleared("payments", 190.0, 2, Override.FORCED_OPEN), "An operator did that, or its time was over."),
    (CircuitReset("payments", 190.0, 3, State.OPEN), "An operator did that: immediately the full rate."),
    (
        LeaseExpired("payments", 400.0, 2, 100.0, 300.0),
        "A call of a half-open circuit did not come back and counts as failed. Does the call have a time limit?",
    ),
    (LeaseTooShort("payments", 450.0, 3, 350.0), "It did come back, and well. Raise `permit_lease` above `duration`."),
]


# Lines of runs, by what they have in them, and what their reader should do. The stories of logs.py have them.
RUNS: list[tuple[str, str, str]] = [
    (
        "night",
        " runs: ",
        "What each source needs, and where rejected messages go: on RabbitMQ, as far as the broker shows [the queue](#what-a-queue-shows).",
    ),
    (
        "night",
        " processed, ",
        "Every `work_every`: what was done since the last such line, what waits at the broker, and what holds the sources.",
    ),
    (
        "night",
        "attempt 1 of 5",
        "A dependency's failure: type, status or error number, your line, offset or delivery tag. [Attempts](#attempts-in-an-outage).",
    ),
    ("bad", "orders: KeyError at", "A failure that is the message's own, by the name of its topic or queue."),
    (
        "bad",
        " more failures in ",
        "Those of one kind after the first, counted for `repeat_every`, without those that an outage or a dead letter has in its line.",
    ),
    ("bad", " is in the dead letters", "Somebody should look at it. The first five are named, and then there is a count."),
    ("bad", " more messages rejected", "Those after the first five, counted for `repeat_every`."),
    ("bad", " stops: ", "It was asked to stop, and handlers run. They have `drain_timeout`."),
    (
        "bad",
        " stopped: ",
        "It has ended: what it gave back, whether all is committed, whom `drain_timeout` cut off. `stopped by` names an error.",
    ),
]

# What the lines mean that stand in the code as they are, by their format.
OTHERS: dict[str, str] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())

_SOURCE = Path(__file__).parents[2] / "src" / "holdgate"
_LEVELS = ("info", "warning", "error")
_FILLED_IN = re.compile(r"%(?:\.\d+)?[a-z]")


def in_the_code() -> Iterator[tuple[str, str]]:
    """Yield the level and the format of each line that stands in the code. One whose level depends on something is a WARNING mostly."""
    for folder in ("runtime", "brokers", "control", "config", "telemetry", "integrations"):
        for path in sorted((_SOURCE / folder).rglob("*.py")):
            for call in ast.walk(ast.parse(path.read_text())):
                if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)):
                    continue
                is_open = call.func.attr == "log"
                text = call.args[is_open] if len(call.args) > is_open else None
                is_ours = call.func.value.id in {"log", "_log"}
                if not is_ours or not (is_open or call.func.attr in _LEVELS) or not isinstance(text, ast.Constant):
                    continue
                if text.value != "%s":
                    yield "WARNING" if is_open else call.func.attr.upper(), str(text.value)


# The formats of run_log.py.
_OF_RUNS = (
    "%s runs: %s; %s",
    "%s: %s processed, %s, %s dead in %s; %s%s",
    "%s stops: %s may take up to %s to end",
    "%s stopped%s: %s given back, %s, %s cut off",
)


def others_table() -> str:
    """Every line that stands in the code as it is. Raises KeyError for one without a meaning."""
    rows = [(level, _code(_FILLED_IN.sub("...", line)), OTHERS[line]) for level, line in in_the_code() if line not in _OF_RUNS]
    return table(("level", "line", "what to make of it"), rows)


def runs_table() -> str:
    """The lines of runs, as the stories have them. Raises StopIteration for one that no story has."""
    return table(("level", "line", "what to make of it"), [(*_first_line(story_of, text), meaning) for story_of, text, meaning in RUNS])


def _first_line(name: str, text: str) -> tuple[str, str]:
    line = next(line for part in story(name).values() for line in part if text in line)
    _, level, said = line.split(maxsplit=2)
    return level, _code(said)


# The wall clock of a line is that of the machine.
_CLOCK = re.compile(r"since \d\d:\d\d")


class _Figures:
    """What the broker and the circuit of an example say."""

    def waiting_for(self, dependency: str) -> tuple[int, bool]:  # noqa: ARG002 - a Protocol has it
        return 1500, True

    def ask_before(self, at: float) -> None:
        """Nobody has to be asked."""

    def ask(self, then: Callable[[], object]) -> None:
        """Answer immediately."""
        then()

    def failed_with(self, dependency: str, at: float) -> str | None:  # noqa: ARG002 - a Protocol has it
        return None

    def failures_of(self, dependency: str) -> int:  # noqa: ARG002 - a Protocol has it
        return 5


def _told(turns: Sequence[tuple[AnyEvent, ...]]) -> tuple[str, str, str]:
    """Return event, level and line of what the last of these turns adds to the log."""
    outages = Outages(_Figures())
    outages.failed("payments", "HTTPStatusError 503")
    for turn in turns[:-1]:
        outages.tell(turn, words)
    last = turns[-1][-1]
    lines: list[Line] = []
    if isinstance(last, LimitBegan | LimitMoved):
        outages.tell_later(last, lines.append)
    else:
        lines += outages.tell(turns[-1], words)
    told = next(line for line in lines if line.level >= logging.INFO)
    return f"`{type(turns[-1][-1]).__name__}`", logging.getLevelName(told.level), _code(_CLOCK.sub("since 03:12", told.text))


def table_rows() -> list[tuple[str, str, str, str]]:
    """Event, level, line and advice: first the story of an outage, then events that speak for themselves."""
    alone = [((_told(((event,),))), advice) for event, advice in EXAMPLES]
    return [(*told, advice) for told, advice in [*((_told(turns), advice) for turns, advice in STORY), *alone]]


def _code(line: str) -> str:
    return f"`` {line} ``" if "`" in line else f"`{line}`"


def log_table() -> str:
    """All of them."""
    return table(("event", "level", "line", "what to make of it"), table_rows())
