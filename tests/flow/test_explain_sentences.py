"""Whole paragraphs of `explain`, word by word: what a person reads."""

from __future__ import annotations

import pytest
from tests.flow.test_explain import OPEN, blocked, opened
from tests.flow.test_status import MAILS, NOW, ORDERS, agreed, circuit, document, fleet, source, waits

from holdgate.core import KeysSnapshot, LimiterSnapshot, Override, Reason, State
from holdgate.core.guidance import Guidance, Phase
from holdgate.flow.events import CommandGiven
from holdgate.flow.explain import Unknown, explain
from holdgate.flow.message import Partition
from holdgate.flow.snapshot import PartlyWaiting, RetryWaiting
from holdgate.flow.status import StatusDocument

HERE = "No message waits in this process."
UNNEEDED = "No source needs it."
TRIED = "with one call. If that succeeds, the work comes back 1, 2, 4 ... at a time."
WELL = "payments is well: its circuit is closed."
LIMITED = "answers, but takes fewer calls than there are: its circuit is closed."


def limits(**fields: object) -> LimiterSnapshot:
    known: dict[str, object] = {"width": None, "pace": 2.5, "next_at": NOW + 1, "accepted": 99, "refused": 0, "why": "pace"}
    return LimiterSnapshot(in_flight=0, experiments=0, **(known | fields))  # type: ignore[arg-type]


def given(target: object, until: float | None, command: str = "hold", reason: str = "Release X.") -> CommandGiven:
    return CommandGiven(NOW - 10, command, target, "alice", reason, until)  # type: ignore[arg-type]


HOLDS = (given(ORDERS, NOW + 60), given("orders", None, reason="more"), given("email", None), given("payments", None, "force_open"))


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (
            document(circuit(), sources=(source(retrying=RetryWaiting(5, 2, "OSError", NOW + 1.0)),)),
            f"orders[3] is not held. Message 5 has failed 2 times (OSError), and is tried again in 1 second. {HERE}",
        ),
        (
            document(circuit(), sources=(source(retrying=RetryWaiting(5, 0, "OSError", NOW + 0.9)),)),
            f"orders[3] is not held. Message 5 is tried again within a second after OSError. {HERE}",
        ),
        (
            document(circuit(), sources=(source(),), last=blocked(suspect=True)),
            (
                "orders[3] is not held. It waits behind message 4711, which has failed 5 times (KeyError): no other message was tried "
                f"meanwhile, so it may be this message, or an outage. It is tried again. {HERE}"
            ),
        ),
        (document(OPEN, sources=(source(ORDERS, "operator"),)), f"orders[3] is held. An operator holds it. {HERE}"),
        (document(circuit(keys=KeysSnapshot(5, 0, 0, 100)), sources=(source(),)), f"orders[3] is not held. {HERE}"),
        (
            document(
                circuit(limits=limits()),
                circuit("email", limits=limits(pace=None, width=1, why="width", refused=1)),
                sources=(source(needs=("payments", "email")),),
            ),
            (
                f"orders[3] is not held. email {LIMITED} email is given 1 call in "
                "parallel, after it has refused 1.0% of its calls. The next call starts when one has ended. "
                f"{WELL} payments is given 2.5 calls a second. The next call starts in 1 second. {HERE}"
            ),
        ),
        (
            document(circuit(), sources=(source(ORDERS, "unclaimed failures", since=NOW - 5),)),
            (
                "orders[3] is held for 5 seconds. Most of its messages failed, which no dependency claims. If something is down, add the "
                "exception to its `failures`; if it is a bug or a format change, mend the handler. It goes on when a message succeeds. "
                f"{HERE}"
            ),
        ),
        (
            document(circuit(), sources=(source(ORDERS, "blocked", since=NOW - 5),)),
            f"orders[3] is held for 5 seconds. A message that was rejected has nowhere to go. The log names it. {HERE}",
        ),
        (
            document(circuit(), sources=(source(ORDERS, "operator", since=NOW - 5),), commands=HOLDS),
            (
                "orders[3] is held for 5 seconds. alice holds it for another 1 minute: Release X. alice holds it until somebody ends that: "
                f"more. {HERE}"
            ),
        ),
        (
            document(circuit(), sources=(source(),), backlog=waits(100, readable=40, blocked_for=90.0)),
            (
                "orders[3] is not held. No message waits in this process, and 100 at the broker in all. An open transaction of a producer "
                "has kept 60 of them back for 2 minutes: they cannot be read before it ends."
            ),
        ),
        (
            document(circuit(), sources=(source(partly=PartlyWaiting(True, {"payments": 2, "email": 1, "search": 1}, 1, "odd")),)),
            (
                "orders[3] is not held. Of its messages these wait: 2 messages for payments, 1 message for email and 1 message for search, "
                f"and 1 behind them, because they have the same key. The others wait, too (odd). {WELL} {HERE}"
            ),
        ),
    ],
)
def test_a_source_is_told_word_by_word(found: StatusDocument, text: str) -> None:
    """In one paragraph."""
    assert explain(found, "orders[3]") == text


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (
            document(circuit(), sources=(source(waiting=1),), backlog=waits(0, drained_in=0.0)),
            f"{WELL} It does not hold the one source that needs it; 1 of its messages waits in this process, none at the broker.",
        ),
        (
            document(circuit(), sources=(source(waiting=2), source(MAILS)), backlog=waits(100, drained_in=1.0)),
            (
                f"{WELL} It holds none of the 2 sources that need it; 2 of their messages wait in this process, 100 at the broker. At this "
                "rate they are done in about 1 second."
            ),
        ),
        (
            document(OPEN, sources=(source(ORDERS, "circuit:payments", since=NOW - 5),), backlog=waits(5, drained_in=0.5)),
            (
                f"payments counts as down. It is tried again in 22 seconds, {TRIED} It holds the one source that needs it; none of its "
                "messages waits in this process, 5 at the broker. At this rate they are done in a second."
            ),
        ),
        (
            document(OPEN, sources=(source(ORDERS, "circuit:payments", since=NOW - 5, waiting=7), source(MAILS))),
            (
                f"payments counts as down. It is tried again in 22 seconds, {TRIED} It holds 1 of the 2 sources that need it; 7 of their "
                "messages wait in this process."
            ),
        ),
        (
            document(circuit(), sources=(source(), source(MAILS))),
            f"{WELL} It holds none of the 2 sources that need it; none of their messages waits in this process.",
        ),
        (
            document(circuit(state=State.HALF_OPEN, limit=2)),
            f"payments comes back: 2 of 16 calls may run in parallel now, and more after each good stage. {UNNEEDED}",
        ),
        (
            document(circuit(state=State.HALF_OPEN, limit=None)),
            f"payments is tried with one call at a time; more are let through if that succeeds. {UNNEEDED}",
        ),
        (
            document(circuit(state=State.OPEN, open_until=NOW + 1.0)),
            f"payments counts as down. It is tried again in 1 second, {TRIED} {UNNEEDED}",
        ),
        (document(circuit(state=State.OPEN)), f"payments counts as down. No try is planned. {UNNEEDED}"),
        (
            document(circuit(limits=limits(refused=1, accepted=0, next_at=NOW + 0.5))),
            (
                f"payments {LIMITED} payments is given 2.5 calls a second, after it "
                f"has refused 100.0% of its calls. The next call starts within a second. {UNNEEDED}"
            ),
        ),
        (
            document(circuit(limits=limits(refused=2, why="throttled"))),
            (
                f"payments {LIMITED} payments is given 2.5 calls a second, after it "
                f"has refused 2.0% of its calls. It has refused a call, and one message asks again in 1 second. {UNNEEDED}"
            ),
        ),
        (
            document(circuit(override=Override.DISABLED), commands=(given("payments", NOW + 60, "disable"),)),
            (
                "payments is disabled, so that every call goes through and nothing is counted, by alice, for another 1 minute: Release X. "
                f"{UNNEEDED}"
            ),
        ),
        (
            document(OPEN, last=opened(Reason.RETRY_AFTER)),
            (
                f"payments has counted as down for 14 minutes, because the server asked for a wait. It is tried again in 22 seconds, "
                f"{TRIED} {UNNEEDED}"
            ),
        ),
    ],
)
def test_a_dependency_is_told_word_by_word(found: StatusDocument, text: str) -> None:
    """With what it holds."""
    assert explain(found, "payments") == text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "ada keeps every worker of the fleet from it for another 10 minutes: Release X."),
        ({"word": None, "conductor": None}, "It waits for the fleet: nobody conducts yet."),
        ({"word": None, "probe_in": 1.0}, "It waits for the fleet: worker 3f2a1c conducts, and tries it for all in 1 second."),
        ({"word": None, "probe_in": 0.9}, "It waits for the fleet: worker 3f2a1c conducts, and tries it for all now."),
        ({"word": None, "own": True}, "It waits for the fleet: this worker conducts, and tries it for all."),
    ],
)
def test_a_fleet_is_told_word_by_word(fields: dict[str, object], text: str) -> None:
    """Who conducts, and when it is tried. That its log is silent is no matter of a circuit that it leads."""
    known: dict[str, object] = {"course": "wait", "phase": "wait", "word": "hold", "reason": "Release X.", "actor": "ada"}
    share = agreed(**(known | {"word_ends_in": 600.0} | fields))
    led = circuit(state=State.OPEN, guidance=Guidance(Phase.WAIT, epoch=7))
    assert explain(document(led, fleet=fleet(share, silent_for=30.0)), "payments") == f"payments counts as down. {text} {UNNEEDED}"


def test_a_dependency_may_have_a_colon_in_its_name() -> None:
    """The reason of a hold is split at the first."""
    down = circuit("a:b", state=State.OPEN)
    held = source(ORDERS, "circuit:a:b", since=NOW - 5, needs=("a:b",))
    assert explain(document(down, sources=(held,)), "orders[3]") == (
        f"orders[3] is held for 5 seconds. a:b counts as down. No try is planned. {HERE}"
    )


def test_a_silent_fleet_is_not_told_where_it_still_leads() -> None:
    """Its last word holds until it lapses."""
    led = circuit(state=State.HALF_OPEN, limit=1, guidance=Guidance(Phase.RAMP, limit=1, stage=3, epoch=7))
    assert explain(document(led, fleet=fleet(agreed(), silent_for=30.0)), "payments") == (
        f"payments comes back for the whole fleet: worker 3f2a1c conducts, limit 4, this worker's share 1. {UNNEEDED}"
    )


def test_a_silent_fleet_is_told_where_it_leads_nothing() -> None:
    """Its worker goes by its own rules then."""
    found = document(circuit(state=State.OPEN, open_until=NOW + 22), fleet=fleet(silent_for=30.0))
    assert explain(found, "payments") == (
        f"payments counts as down. It is tried again in 22 seconds, {TRIED} The fleet's log has been silent for 30 seconds, so this worker "
        f"goes by its own rules. {UNNEEDED}"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x" * 150, f"'{'x' * 100}'; there are: d00, d01, d02, d03, d04, d05, d06, d07, d08, d09"),
        ("order", "'order'; close to it: orders, orders[6], orders[5]"),
    ],
)
def test_what_is_close_to_an_unknown_name_is_shown(name: str, text: str) -> None:
    """Three names, or the first ten of all. A name that is very long is cut."""
    sources = tuple(source(Partition("orders", number)) for number in (3, 4, 5, 6))
    with pytest.raises(Unknown) as caught:
        explain(document(*[circuit(f"d{number:02}") for number in range(12)], sources=sources), name)
    assert str(caught.value) == f"nothing here is named {text}"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"reason": "new_rule", "value": None}, "because new_rule"),
        ({"reason": "new_rule", "value": 0.5, "threshold": 0.4}, "because new_rule"),
        ({"reason": "failure_rate", "value": 0.5, "threshold": None}, "because too many of the calls failed"),
        ({"override": "new_override", "reason": None}, "payments is new_override, by the program itself."),
    ],
)
def test_what_a_newer_worker_says_is_said_as_it_is(fields: dict[str, object], says: str) -> None:
    """A document may come from a worker with a rule that this version has no words for."""
    found = document(OPEN, sources=(source(),), last=opened(Reason.FAILURE_RATE, 0.5, 0.5))
    found["dependencies"][0].update(fields)  # type: ignore[typeddict-item]

    assert says in explain(found, "payments")
