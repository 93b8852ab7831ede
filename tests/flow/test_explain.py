from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.flow.test_status import MAILS, NOW, ORDERS, agreed, circuit, document, fleet, hold, source, waits

from holdgate.core import KeysSnapshot, LimiterSnapshot, Override, Reason, State
from holdgate.core.events import CircuitOpened, ThresholdExceeded
from holdgate.core.guidance import Guidance, Phase
from holdgate.flow.events import OutageSuspected, SourceBlocked
from holdgate.flow.explain import Unknown, explain, lasting
from holdgate.flow.history import LastEvents
from holdgate.flow.message import Partition, Queue
from holdgate.flow.snapshot import FailureKind, PartlyWaiting, RetryWaiting

OPEN = circuit(state=State.OPEN, open_until=NOW + 22)
HELD = source(ORDERS, "circuit:payments", since=NOW - 840, waiting=10)


def opened(reason: Reason, *figures: float, tries: int = 0) -> LastEvents:
    last = LastEvents()
    if figures:
        last.note(ThresholdExceeded("payments", NOW - 840, 0, reason, *figures))
    last.note(CircuitOpened("payments", NOW - 840, 1, reason, NOW, 1, State.CLOSED))
    for _ in range(tries):
        last.note(CircuitOpened("payments", NOW - 9, 3, Reason.PROBE, NOW, 2, State.HALF_OPEN))
    return last


def test_a_held_source_is_told_in_one_paragraph() -> None:
    """What, since when, why, what next, how much waits."""
    found = document(OPEN, sources=(HELD,), last=opened(Reason.CONSECUTIVE_FAILURES, 5, 5), backlog=waits(48210, oldest_age=900))
    assert explain(found, "orders[3]") == (
        "orders[3] is held for 14 minutes. payments has counted as down for 14 minutes, because 5 calls in a row failed. It is tried again "
        "in 22 seconds, with one call. If that succeeds, the work comes back 1, 2, 4 ... at a time. 10 messages wait in this process, "
        "and 48210 at the broker in all, the oldest for 15 minutes."
    )


@pytest.mark.parametrize(
    ("last", "because"),
    [
        (opened(Reason.FAILURE_RATE, 0.96, 0.5), "because 96% of the calls failed, and 50% is the threshold."),
        (opened(Reason.SLOW_CALL_RATE, 0.6, 0.5), "because 60% of the calls were slow, and 50% is the threshold."),
        (opened(Reason.FAILURE_RATE), "because too many of the calls failed."),
        (opened(Reason.RETRY_AFTER), "because the server asked for a wait."),
        (opened(Reason.PROBE, 1, 1, tries=1), "because the last probe failed. 1 try since then has failed."),
        (opened(Reason.OPEN_FOR, tries=3), "because a program asked for a wait. 3 tries since then have failed."),
        (LastEvents(), "payments counts as down."),
    ],
)
def test_why_a_dependency_counts_as_down(last: LastEvents, because: str) -> None:
    """With the figures if there are some, and with the tries that did not help."""
    assert because in explain(document(OPEN, sources=(HELD,), last=last), "orders[3]")


def test_every_reason_of_an_opening_has_words() -> None:
    """A new one must not be shown as the name of a constant."""
    for reason in Reason:
        text = explain(document(OPEN, last=opened(reason)), "payments")
        assert "because" in text
        assert f"because {reason.value}" not in text


def test_what_is_tried_now_is_said_so() -> None:
    """The wait may be over by some milliseconds."""
    assert "It is tried again now" in explain(document(circuit(state=State.OPEN, open_until=NOW - 0.1)), "payments")
    assert "No try is planned." in explain(document(circuit(state=State.OPEN)), "payments")


@pytest.mark.parametrize(
    ("override", "command", "words"),
    [
        (Override.FORCED_OPEN, "force_open", "payments is forced open, by alice, for another 10 minutes: the schema changes."),
        (Override.DISABLED, "disable", "payments is disabled, so that every call goes through and nothing is counted, by alice, for"),
        (Override.METRICS_ONLY, "observe", "payments is only observed, so that every call goes through, by alice, for"),
    ],
)
def test_an_override_is_told_with_its_author(override: Override, command: str, words: str) -> None:
    """Who, until when, why."""
    found = document(circuit(override=override), sources=(source(),), commands=(hold("payments", NOW + 600, command),))
    assert words in explain(found, "orders[3]")


def test_an_override_without_a_command_is_the_programs_own() -> None:
    """`guard.circuit(...)` notes nothing. A hold of a topic that has the dependency's name is no override."""
    found = document(circuit(override=Override.FORCED_OPEN), commands=(hold("payments", None),))
    assert explain(found, "payments") == "payments is forced open, by the program itself. No source needs it."
    found = document(circuit(override=Override.FORCED_OPEN), commands=(hold("payments", None, "force_open"),))
    assert "by alice, until somebody ends that" in explain(found, "payments")


def test_an_operators_hold_is_told_with_its_author() -> None:
    """Of the source itself or of its name; and both reasons of a source that has two."""
    both = source(ORDERS, "circuit:payments", "operator", since=NOW - 5)
    text = explain(document(OPEN, sources=(both,), commands=(hold("orders", NOW + 600),)), "orders[3]")
    assert "alice holds it for another 10 minutes: the schema changes." in text
    assert "It goes on in 10 minutes at the earliest." in text
    alone = source(ORDERS, "operator", since=NOW - 5)
    assert "alice holds it until somebody ends that" in explain(document(sources=(alone,), commands=(hold(ORDERS, None),)), "orders[3]")
    assert "An operator holds it." in explain(document(sources=(alone,)), "orders[3]")


def blocked(*, attempts: int = 5, error: str = "KeyError", suspect: bool = False, throttled: bool = False) -> LastEvents:
    last = LastEvents()
    last.note(SourceBlocked(NOW - 5, ORDERS, 4711, attempts, error, suspect, throttled))
    return last


def test_a_blocked_source_is_told_with_the_command_that_helps() -> None:
    """The position, the reason and the remedy."""
    seen = source(ORDERS, "blocked", since=NOW - 5)
    assert (
        "Message 4711 failed 5 times by its own fault (KeyError) and has nowhere to go: deploy a handler that can take it, or give it up "
        "with `holdgate skip orders[3] 4711`."
    ) in explain(document(sources=(seen,), last=blocked()), "orders[3]")
    rejected = explain(document(sources=(seen,), last=blocked(attempts=0, error="")), "orders[3]")
    assert "Message 4711 was rejected and has nowhere to go" in rejected
    assert "The log names it." in explain(document(sources=(seen,)), "orders[3]")


def test_a_suspect_is_told_with_the_doubt() -> None:
    """It may be the message or an outage."""
    text = explain(document(circuit(), sources=(source(),), last=blocked(suspect=True)), "orders[3]")
    assert "It waits behind message 4711, which has failed 5 times (KeyError): no other message was tried meanwhile" in text


def test_a_message_that_a_limit_refuses_again_and_again_is_told_as_such() -> None:
    """It has not failed once."""
    text = explain(
        document(circuit(), sources=(source(),), last=blocked(error="HTTPStatusError 429", suspect=True, throttled=True)), "orders[3]"
    )
    assert "It waits behind message 4711, which a limit has refused 5 times in a row (HTTPStatusError 429). It is tried again" in text


def test_an_outage_without_a_need_names_the_exception() -> None:
    """It is what must be added to `failures`."""
    seen = source(ORDERS, "unclaimed failures", since=NOW - 5)
    last = LastEvents()
    last.note(OutageSuspected(NOW - 5, (ORDERS,), "mailer.RelayDown", 9, 10, NOW - 5))
    assert "Most of its messages failed with mailer.RelayDown, which no dependency claims" in explain(
        document(sources=(seen,), last=last), "orders[3]"
    )
    assert "Most of its messages failed, which no dependency claims" in explain(document(sources=(seen,)), "orders[3]")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("draining", "this worker is about to give it back"),
        ("dead letters", "could not be sent to the dead letters yet"),
        ("no needs", "add it to `needs`"),
        ("giving back", "on their way back to the broker"),
        ("something new", "its reason is `something new`."),
    ],
)
def test_every_other_reason_has_a_sentence(reason: str, words: str) -> None:
    """One that a newer worker has is quoted."""
    assert words in explain(document(sources=(source(ORDERS, reason, since=NOW),)), "orders[3]")


def test_a_source_that_is_not_held_says_what_slows_it() -> None:
    """A ramp, a probe, a full inbox, a fallback; and nothing at all."""
    ramp = circuit(state=State.HALF_OPEN, limit=4)
    assert "payments comes back: 4 of 16 calls may run in parallel now" in explain(document(ramp, sources=(source(),)), "orders[3]")
    probing = circuit(state=State.HALF_OPEN, limit=1)
    assert "payments is tried with one call at a time" in explain(document(probing, sources=(source(),)), "orders[3]")
    full = source(fetch=False, waiting=1, in_flight=2)
    assert explain(document(circuit(), sources=(full,)), "orders[3]") == (
        "orders[3] is not held. Nothing more is fetched now, because enough of it is in this process. "
        "1 message waits in this process, 2 are being worked on."
    )
    falling = source(falling_back=True, fallbacks=7)
    assert "its messages go to the fallback, 7 so far." in explain(document(OPEN, sources=(falling,)), "orders[3]")


def test_what_the_broker_keeps_back_is_told() -> None:
    """Behind an open transaction, or for a delayed retry: nobody here can do anything about it; and when the rest is done."""
    backlog = waits(90, drained_in=360.0, readable=76, blocked_for=120.0, delayed=3)
    text = explain(document(circuit(), sources=(source(),), backlog=backlog), "orders[3]")
    assert "An open transaction of a producer has kept 14 of them back for 2 minutes" in text
    assert "The broker keeps 3 of them back for a later retry." in text
    assert text.endswith("At this rate they are done in about 6 minutes.")
    assert "back" not in explain(document(circuit(), sources=(source(),), backlog=waits(90, readable=90)), "orders[3]")


def test_a_topic_is_told_by_its_oldest_hold() -> None:
    """How many of its partitions are held, and why the worst is."""
    well, held = source(Partition("orders", 4)), source(ORDERS, "operator", since=NOW - 60)
    assert explain(document(circuit(), sources=(well, held)), "orders").startswith(
        "1 of the 2 partitions of orders here is held. The oldest hold: orders[3] is held for 1 minute."
    )
    assert explain(document(circuit(), sources=(well, source(Partition("orders", 5))), limit=1), "orders").startswith(
        "None of the 1 partitions of orders here is held (1 sources are not listed here). orders[4] is not held."
    )


def test_a_dependency_is_told_with_what_it_holds() -> None:
    """And how long what waits will take, if that is known."""
    assert explain(document(circuit()), "payments") == "payments is well: its circuit is closed. No source needs it."
    found = document(circuit(), sources=(source(waiting=3),), backlog=waits(90, drained_in=360.0))
    assert explain(found, "payments") == (
        "payments is well: its circuit is closed. It does not hold the one source that needs it; 3 of its messages wait in this process, "
        "90 at the broker. At this rate they are done in about 6 minutes."
    )


def test_a_name_that_is_not_here_is_answered_with_those_that_are_close() -> None:
    """Or with some that are here, and how many are not listed. What was asked for is quoted in ASCII."""
    found = document(circuit(), sources=(source(), source(MAILS), source(Queue("zeals"))), limit=2)
    with pytest.raises(Unknown, match=r"nothing here is named 'order\[3\]'; close to it: orders\[3\]"):
        explain(found, "order[3]")
    with pytest.raises(Unknown, match=r"named '\\u202e'; there are: .*; 1 sources are not listed"):
        explain(found, "\u202e")
    with pytest.raises(Unknown, match=r"there are: nothing$"):
        explain(document(), "x")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 seconds"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (59.6, "1 minute"),
        (109, "2 minutes"),
        (5400, "90 minutes"),
        (7199, "2 hours"),
        (7200, "2 hours"),
        (172799, "2 days"),
    ],
)
def test_a_duration_is_told_by_its_largest_unit(seconds: Any, words: str) -> None:
    """As people say it."""
    assert lasting(seconds) == words


def test_a_dependency_tells_what_its_calls_failed_with() -> None:
    """Type and count, the last one first, while it is down, while it comes back and after that."""
    failures = {
        "payments": (FailureKind("HTTPStatusError 503", 412, NOW - 840, NOW - 1), FailureKind("ConnectError", 1, NOW - 60, NOW - 60))
    }
    told = (
        "Its calls failed with HTTPStatusError 503 (412 times) and ConnectError (1 time), "
        "the first 14 minutes ago and the last 1 second ago."
    )
    for state in State:
        assert told in explain(document(circuit(state=state), failures=failures), "payments")
    one = {"payments": (FailureKind("TimeoutError", 1, NOW - 9, NOW - 9),)}
    assert "Its calls failed with TimeoutError (1 time), 9 seconds ago." in explain(document(OPEN, failures=one), "payments")


def test_messages_that_wait_while_others_go_on_are_counted() -> None:
    """Of the source, for what and how many, what stands behind them, and why that is down; of the dependency as well."""
    mixed = source(ORDERS, needs=("payments", "email"), waiting=7, partly=PartlyWaiting(True, {"payments": 40}, behind=12))
    found = document(OPEN, circuit("email"), sources=(mixed,), last=opened(Reason.CONSECUTIVE_FAILURES, 5, 5))
    text = explain(found, "orders[3]")
    assert text.startswith(
        "orders[3] is not held. Of its messages these wait: 40 messages for payments, and 12 behind them, because they have the same key. "
        "The others go on. payments has counted as down for 14 minutes, because 5 calls in a row failed."
    )
    assert "email" not in text
    assert (
        "It does not hold the one source that needs it, and in it only the messages that need it wait while the others go on; 40 of its"
        in explain(found, "payments")
    )
    more = document(OPEN, sources=(mixed, source(MAILS), source(Partition("orders", 4), "circuit:payments", since=NOW)))
    assert "It holds 1 of the 3 sources that need it, and in 1 of them only the messages" in explain(more, "payments")


def test_one_partition_is_told_as_itself() -> None:
    """A count of one is no English. Of several the first is told."""
    assert explain(document(circuit(), sources=(source(),)), "orders") == "orders[3] is not held. No message waits in this process."
    several = (source(), source(Partition("orders", 4)))
    assert explain(document(circuit(), sources=several), "orders").startswith("None of the 2 partitions of orders here is held.")
    held = (source(ORDERS, "operator", since=NOW), source(Partition("orders", 4), "operator", since=NOW))
    assert explain(document(circuit(), sources=held), "orders").startswith("All 2 partitions of orders here are held.")
    assert "It holds all of the 2 sources" in explain(
        document(OPEN, sources=(HELD, source(MAILS, "circuit:payments", since=NOW))), "payments"
    )


def test_what_is_at_work_or_done_soon_is_told_in_whole_words() -> None:
    """One is, two are; and what takes less than a second takes a second."""
    found = document(circuit(), sources=(source(in_flight=1),), backlog=waits(1, drained_in=0.2))
    assert explain(found, "orders[3]") == (
        "orders[3] is not held. No message waits in this process, 1 is being worked on, and 1 at the broker in all. "
        "At this rate they are done in a second."
    )
    found = document(circuit(), sources=(source(waiting=1, in_flight=2),), backlog=waits(0))
    assert "1 message waits in this process, 2 are being worked on, and none at the broker." in explain(found, "orders[3]")


@pytest.mark.parametrize(
    ("because", "words"),
    [
        ("order", 'The others wait behind them, because order="source" lets nothing pass.'),
        ("held_span", "The others wait, too: as many as held_span allows have passed the oldest of them."),
        ("memory", "The others wait, too: what waits fills the memory that the guard may use."),
    ],
)
def test_a_source_that_is_held_though_others_could_go_on_says_why(because: str, words: str) -> None:
    """Each of the reasons has words of its own."""
    partly = PartlyWaiting(True, {"payments": 1, "email": 2}, stands_because=because)
    found = document(OPEN, circuit("email"), sources=(source(ORDERS, "circuit:payments", since=NOW - 60, partly=partly),))
    assert f"Of its messages these wait: 1 message for payments and 2 messages for email. {words}" in explain(found, "orders[3]")


def test_what_an_operator_holds_does_not_go_on() -> None:
    """Though nothing that its messages wait for would hold the others."""
    partly = PartlyWaiting(True, {"payments": 1})
    text = explain(document(OPEN, sources=(source(ORDERS, "operator", since=NOW, partly=partly),)), "orders[3]")
    assert "1 message for payments." in text
    assert "The others" not in text


# -- limits ---------------------------------------------------------------------------------------------------------------------------


def limits(**more: Any) -> LimiterSnapshot:
    known: dict[str, Any] = {
        "in_flight": 2, "width": None, "pace": 9.8, "next_at": None, "accepted": 990, "refused": 10, "experiments": 3, "why": "free",
    }  # fmt: skip
    return LimiterSnapshot(**{**known, **more})


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (limits(), "payments is given 9.8 calls a second, after it has refused 1.0% of its calls. It does not hold"),
        (limits(pace=1250.4, refused=0), "payments is given 1250 calls a second. It does not hold"),
        (
            limits(width=8, why="width"),
            "9.8 calls a second and 8 calls in parallel, after it has refused 1.0% of its calls. The next",
        ),
        (
            limits(pace=None, width=1, why="concurrency"),
            "is given 1 call in parallel, after it has refused 1.0% of its calls. The next",
        ),
        (
            limits(pace=None, next_at=NOW + 0.2, why="pace"),
            "It is not known how many calls payments takes, after it has refused 1.0% of its calls. The next call",
        ),
        (limits(next_at=NOW + 0.2, why="pace"), "The next call starts within a second."),
        (limits(pace=0.2), "payments is given 12 calls a minute, after"),
        (limits(pace=0.0139), "payments is given 50 calls an hour, after"),
        (limits(next_at=NOW + 90, why="throttled"), "It has refused a call, and one message asks again in 2 minutes."),
        (limits(next_at=NOW + 2, why="down"), "It has refused calls, and one message asks again in 2 seconds."),
    ],
)
def test_a_limit_is_told_with_what_comes_next(seen: LimiterSnapshot, words: str) -> None:
    """How many calls it is given, what that has cost, and when the next one starts."""
    assert words in explain(document(circuit(limits=seen), sources=(source(ORDERS),)), "payments")


def test_a_dependency_that_refuses_what_is_too_much_is_not_called_well() -> None:
    """Its circuit is closed, and still what waits, waits for it. A limit that somebody has set refuses nothing."""
    found = document(circuit(limits=limits()), sources=(source(ORDERS),))
    assert explain(found, "payments").startswith("payments answers, but takes fewer calls than there are: its circuit is closed. ")
    assert explain(document(circuit(limits=limits(refused=0))), "payments").startswith("payments is well: its circuit is closed. ")


def test_an_observed_limit_is_told_as_what_would_be() -> None:
    """Nothing is held back."""
    found = document(circuit(limits=limits(), override=Override.METRICS_ONLY))
    assert "payments would be given 9.8 calls a second" in explain(found, "payments")
    assert "It is only observed, so nothing is held back." in explain(found, "payments")


def test_a_source_that_a_limit_holds_says_so() -> None:
    """With the time of the next question; and if the limit has just gone, that too."""
    held = source(ORDERS, "limit:payments", since=NOW - 60)
    asking = limits(next_at=NOW + 90, why="throttled")
    found = document(circuit(limits=asking), sources=(held,))
    text = explain(found, "orders[3]")
    assert text.startswith("orders[3] is held for 1 minute. payments lets no call through now, after it has refused 1.0% of its calls. ")
    assert "9.8" not in text
    assert "one message asks again in 2 minutes." in text
    assert "payments answers, but takes no calls for now: " in explain(found, "payments")
    assert found["sources"][0]["next_try"] == found["dependencies"][0]["limits"]["next_start"]  # type: ignore[index]
    unknown = explain(document(circuit(limits=limits(next_at=None, why="throttled")), sources=(held,)), "orders[3]")
    assert "and one message asks again within a second." in unknown
    assert "payments limits nothing any more." in explain(document(circuit(), sources=(held,)), "orders[3]")
    assert "payments is given 9.8 calls a second" in explain(document(circuit(limits=limits()), sources=(source(ORDERS),)), "orders[3]")


# -- keys -----------------------------------------------------------------------------------------------------------------------------


def keys(held: int, waiting: int = 0) -> KeysSnapshot:
    return KeysSnapshot(known=max(held, 4), held=held, waiting=waiting, max_keys=100)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (keys(3, 812), "3 keys are held, 812 messages waiting for them; the others go on."),
        (keys(1, 1), "1 key is held, 1 message waiting for it; the others go on."),
    ],
)
def test_keys_that_are_held_are_counted(seen: KeysSnapshot, words: str) -> None:
    """Of the dependency, and of each source that needs it; which ones they are is not said."""
    found = document(circuit(keys=seen), sources=(source(ORDERS),))
    assert words in explain(found, "payments")
    assert words in explain(found, "orders[3]")


def test_keys_of_which_none_is_held_need_no_word() -> None:
    """Everything is as it should be."""
    found = document(circuit(keys=keys(0)), sources=(source(ORDERS),))
    assert "key" not in explain(found, "payments") + explain(found, "orders[3]")


def test_a_source_that_a_key_holds_says_that_the_order_is_why() -> None:
    """And if the key has just been freed, that too."""
    held = source(ORDERS, "key:payments", since=NOW - 60)
    found = document(circuit(keys=keys(2, 5)), sources=(held,))
    text = explain(found, "orders[3]")
    assert text.startswith("orders[3] is held for 1 minute. 2 keys of payments are held, and the message in front needs one of them.")
    assert 'with order="key" or "none" the others would go on.' in text
    assert found["dependencies"][0]["held"] == 1
    assert found["dependencies"][0]["keys"] == {"known": 4, "held": 2, "waiting": 5, "max_keys": 100}
    assert "1 key of payments is held" in explain(document(circuit(keys=keys(1)), sources=(held,)), "orders[3]")
    free = "The message in front has waited for its key of payments, which is free again."
    assert free in explain(document(circuit(keys=keys(0)), sources=(held,)), "orders[3]")
    assert free in explain(document(circuit(), sources=(held,)), "orders[3]")


def test_a_source_that_is_full_of_messages_of_keys_says_so() -> None:
    """And when it goes on; and of the dependency, that its other keys do not go on everywhere."""
    partly = PartlyWaiting(by_message=False, waiting_for={"payments": 5}, behind=2, stands_because="held_span")
    held = replace(source(ORDERS, "key:payments", since=NOW - 60), partly=partly, key_try=NOW + 30)
    found = document(circuit(keys=keys(2, 5)), sources=(held,))
    assert explain(found, "orders[3]").startswith(
        "orders[3] is held for 1 minute. 2 keys of payments are held, and what waits for them fills it. "
        "It goes on when a key is free again. "
        "Of its messages these wait: 5 messages for payments, and 2 behind them, because they have the same key. "
        "The others wait, too: as many as held_span allows have passed the oldest of them."
    )
    assert "2 keys are held, 5 messages waiting for them; 1 source can start nothing else." in explain(found, "payments")
    assert "what waits for it fills it" in explain(document(circuit(keys=keys(1)), sources=(held,)), "orders[3]")
    assert found["sources"][0]["next_try"] == pytest.approx(found["at"] + 30)
    both = replace(held, key_try=NOW + 50)
    other = replace(held, source=Partition("orders", 4))
    tries = [each["next_try"] for each in document(circuit(keys=keys(2)), sources=(both, other))["sources"]]
    assert tries == pytest.approx([found["at"] + 50, found["at"] + 30])
    dependency = found["dependencies"][0]
    assert (dependency["held"], dependency["partly"]) == (1, 0)
    passing = replace(source(ORDERS), partly=replace(partly, stands_because=""))
    assert document(circuit(keys=keys(1)), sources=(passing,))["dependencies"][0]["partly"] == 1


def led(phase: Phase, limit: int = 0, **fields: Any) -> Any:
    """A document whose dependency goes by its fleet."""
    state = State.HALF_OPEN if phase is Phase.RAMP else State.OPEN
    guidance = Guidance(phase, limit=limit, stage=3, epoch=7)
    found = circuit(state=state, limit=limit, open_until=NOW + 22 if state is State.OPEN else None, guidance=guidance)
    return document(found, sources=(HELD,), fleet=fleet(agreed(phase=phase.value, **fields)))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (led(Phase.RAMP), "payments waits for the fleet: worker 3f2a1c conducts, limit 4, this worker's share 0."),
        (led(Phase.RAMP, 2), "payments comes back for the whole fleet: worker 3f2a1c conducts, limit 4, this worker's share 2."),
        (led(Phase.WAIT, probe_in=12.0), "It waits for the fleet: worker 3f2a1c conducts, and tries it for all in 12 seconds."),
        (led(Phase.WAIT, probe_in=0.0), "It waits for the fleet: worker 3f2a1c conducts, and tries it for all now."),
        (led(Phase.WAIT, conductor=None), "It waits for the fleet: nobody conducts yet."),
        (led(Phase.PROBE, own=True, probe_in=5.0), "It waits for the fleet: this worker conducts, and tries it for all in 5 seconds."),
        (
            led(Phase.WAIT, word="hold", actor="ada", reason="migration.", word_ends_in=600.0),
            "ada keeps every worker of the fleet from it for another 10 minutes: migration.",
        ),
        (led(Phase.WAIT, word="hold", actor="ada"), "ada keeps every worker of the fleet from it until somebody ends that: ."),
    ],
)
def test_how_a_fleet_leads_a_dependency(document: Any, words: str) -> None:
    """Who tries it, when, and how much of it is this worker's."""
    assert words in explain(document, "orders[3]")


@pytest.mark.parametrize("phase", ["local", "up"])
def test_a_circuit_that_no_fleet_leads_is_told_as_one_alone(phase: str) -> None:
    """Its own next try, and its own ramp."""
    alone = document(OPEN, sources=(HELD,), fleet=fleet(agreed(phase=phase)))
    assert "It is tried again in 22 seconds, with one call." in explain(alone, "orders[3]")


def test_a_silent_log_is_told_where_nobody_leads_the_circuit() -> None:
    """That is why this worker does not do what the others do. An order that is still in force says more."""
    words = "The fleet's log has been silent for 30 seconds, so this worker goes by its own rules."
    alone = fleet(agreed(phase="local"), silent_for=30.0)
    for seen in (OPEN, circuit(state=State.HALF_OPEN, limit=2)):
        assert words in explain(document(seen, sources=(HELD,), fleet=alone), "orders[3]")
    assert words not in explain(document(OPEN, sources=(HELD,), fleet=fleet(agreed(phase="local"))), "orders[3]")
    ordered = fleet(agreed(phase="wait", word="hold", actor="ada", reason="migration"), silent_for=30.0)
    assert words not in explain(document(OPEN, sources=(HELD,), fleet=ordered), "orders[3]")


@pytest.mark.parametrize(
    ("retrying", "words"),
    [
        (RetryWaiting(712, 2, "KeyError", NOW + 12), "Message 712 has failed 2 times (KeyError), and is tried again in 12 seconds."),
        (RetryWaiting(712, 1, "KeyError", NOW + 0.2), "Message 712 has failed 1 time (KeyError), and is tried again within a second."),
        (RetryWaiting(712, 0, "", NOW + 600), "Message 712 is tried again in 10 minutes, as its handler has asked."),
        (RetryWaiting(712, 0, "HTTPStatusError 429", NOW + 12), "Message 712 is tried again in 12 seconds after HTTPStatusError 429."),
    ],
)
def test_a_message_that_waits_for_its_next_try_is_named(retrying: RetryWaiting, words: str) -> None:
    """Nothing holds its source, and yet the others wait."""
    text = explain(document(circuit(), sources=(source(waiting=7, retrying=retrying),)), "orders[3]")
    assert text == f"orders[3] is not held. {words} 7 messages wait in this process."
