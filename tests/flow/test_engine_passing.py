"""Messages of one source that need different things: each waits for its own, and the others pass it."""

from __future__ import annotations

import pytest
from tests.flow.mixed import BOTH, Mixed
from tests.flow.stage import (
    BILLS,
    ORDERS,
    QUICK,
    Sized,
    Stage,
    dependency_failed,
    messages,
    own_failure,
    positions,
    refused,
    returned,
    unclaimed,
)

from holdgate.core import Circuit, State
from holdgate.errors import SettingsError
from holdgate.flow.attribution import Attribution
from holdgate.flow.events import MessagesHeld, OutageOver, OutageSuspected, SourceFallingBack, SourceHeld, SourceReleased, UndeclaredNeed
from holdgate.flow.inbox import weigh
from holdgate.flow.policy import ByMessage, FallbackSettings, Needs, RetryPolicy, Verdict
from holdgate.flow.state import Run


def test_messages_wait_for_what_they_need_and_the_others_go_on() -> None:
    """The source is not held, is fetched from, and says what some of it waits for."""
    stage = Mixed()
    stage.trip("payments")
    stage.receive(8)

    assert positions(stage.start_all()) == [1, 3, 5, 7]
    seen = stage.engine.snapshot(stage.now).sources[ORDERS]
    assert (seen.held, seen.fetch, seen.waiting, seen.needs, seen.waits_for) == (False, True, 4, ("payments", "mail"), ("payments",))


def test_that_messages_wait_is_announced_once_in_an_outage() -> None:
    """Not with each message, nor with each probe that fails; again in the next outage."""
    stage = Mixed()
    stage.events()
    stage.trip("payments")
    stage.receive(2)
    stage.start_all()
    stage.receive(2, first=2)
    stage.start_all()
    stage.turn()
    waits = MessagesHeld(stage.now, ORDERS, ("payments",))
    assert [event for event in stage.events() if isinstance(event, MessagesHeld)] == [waits]

    stage.turn(later=10.0)
    probe = stage.start()
    stage.end(probe, dependency_failed())
    assert not [event for event in stage.events() if isinstance(event, MessagesHeld)]

    stage.engine.gates["payments"].circuit.reset(stage.now)
    stage.turn()
    stage.trip("payments")
    stage.receive(1, first=4)
    stage.start_all()
    stage.turn()
    assert [event for event in stage.events() if isinstance(event, MessagesHeld)] == [MessagesHeld(stage.now, ORDERS, ("payments",))]


def test_a_probe_is_a_message_that_needs_it() -> None:
    """One of those that wait, while the others go on without a limit."""
    stage = Mixed()
    stage.trip("payments")
    stage.receive(12)
    stage.succeed(*stage.start_all())
    stage.turn(later=10.0)

    assert stage.engine.gates["payments"].circuit.state is State.HALF_OPEN
    assert positions(stage.start_all()) == [0, 9, 11]


def test_messages_that_come_in_half_open_wait_behind_those_that_do() -> None:
    """However many they are, they keep no lane busy, and the others pass them."""
    stage = Mixed()
    stage.trip("payments")
    stage.receive(2)
    stage.succeed(*stage.start_all())
    stage.turn(later=10.0)
    stage.receive(20, first=2)

    assert positions(stage.start_all()) == [0, 3, 5, 7]


def test_a_message_that_needs_both_waits_for_both() -> None:
    """All or none, as where a source needs several."""
    stage = Mixed()
    both, mail = messages(ORDERS, 2)
    both.needs, mail.needs = stage.needing("payments", "mail"), stage.needing("mail")
    stage.trip("payments")
    stage.engine.received(stage.run, [both, mail])
    stage.turn()

    assert positions(stage.start_all()) == [1]
    stage.turn(later=10.0)
    (begun,) = stage.start_all()
    assert (begun, len(begun.permits)) == (both, 2)


def test_a_message_that_needs_nothing_waits_for_nothing() -> None:
    """Nor does its end say anything to a circuit."""
    stage = Mixed()
    stage.trip("payments")
    stage.trip("mail")
    (free,) = messages(ORDERS, 1)
    free.needs = stage.needing()
    stage.engine.received(stage.run, [free])
    stage.turn()

    assert stage.start_all() == [free]
    assert stage.engine.succeeded(free, stage.now) is Verdict.DONE


def test_an_outage_is_that_of_one_need() -> None:
    """Failures of payments open its circuit alone, and every message settles its own permits."""
    stage = Mixed()
    stage.receive(8)
    for delivery in stage.start_all():
        stage.end(delivery, returned() if delivery.position % 2 else dependency_failed())

    states = [gate.circuit.state for gate in stage.gates]
    assert states == [State.OPEN, State.CLOSED]
    assert [gate.circuit.snapshot(stage.now).in_flight for gate in stage.gates] == [0, 0]
    assert positions(stage.start_all()) == [5, 7]


def test_in_the_order_of_the_source_the_first_message_holds_all_and_the_order_is_why() -> None:
    """The log has to say that another order would let the rest go on."""
    stage = Mixed("source", concurrency=None)
    stage.events()
    stage.trip("payments")
    stage.receive(4)

    assert stage.start_all() == []
    stage.turn()
    assert SourceHeld(stage.now, ORDERS, ("circuit:payments",), "order") in stage.events()
    stage.turn(later=10.0)
    (first,) = stage.start_all()
    assert SourceReleased(stage.now, ORDERS, 10.0) in stage.events()
    stage.succeed(first)
    assert positions(stage.start_all()) == [1]


def test_in_the_order_of_the_source_what_another_message_needs_holds_nothing() -> None:
    """Mail is first, and payments is down: it goes on until its turn."""
    stage = Mixed("source", concurrency=None)
    stage.trip("payments")
    stage.receive(2, first=1)

    (first,) = stage.start_all()
    assert (first.position, stage.assignment().plan.held) == (1, False)


def test_a_source_whose_needs_are_a_list_gives_no_such_reason() -> None:
    """There nothing could pass."""
    stage = Stage("payments")
    stage.events()
    stage.trip()

    assert stage.events()[-1] == SourceHeld(0.0, ORDERS, ("circuit:payments",), "")


def test_the_source_is_held_when_as_many_have_passed_as_may() -> None:
    """It goes on with the circuit; a message that an operator skips lets one more pass."""
    stage = Mixed(span=4, held_span=8)
    stage.events()
    stage.trip("payments")
    stage.receive(20)
    while begun := stage.start_all():
        stage.succeed(*begun)
    stage.turn()
    assert SourceHeld(stage.now, ORDERS, ("circuit:payments",), "held_span") in stage.events()
    assert (stage.assignment().plan.fetch, stage.assignment().inbox.waiting) == (False, 12)

    stage.turn(later=10.0)
    assert stage.assignment().plan.reasons == ()
    assert positions(stage.start_all()) == [0]


def test_a_message_that_ends_while_the_source_is_held_lets_others_pass() -> None:
    """An operator skips the oldest one: the plan is looked at again."""
    stage = Mixed(span=4, held_span=8)
    stage.receive(20)
    for delivery in stage.start_all():  # the first one has failed, so that it may be skipped
        stage.end(delivery, returned() if delivery.position else dependency_failed())
    stage.trip("payments")
    while begun := stage.start_all():
        stage.succeed(*begun)
    stage.turn()
    assert stage.assignment().plan.held

    assert stage.engine.skip(stage.run, ORDERS, 0, "bad", stage.now) is not None
    stage.turn()
    assert (stage.assignment().plan.reasons, positions(stage.start_all())) == ((), [9, 11])


def test_a_message_that_comes_again_starts_in_a_source_that_is_held_for_others() -> None:
    """Its needs are there, and its permits are in hand."""
    stage = Mixed(span=8, held_span=8)
    stage.trip("payments")
    stage.receive(20)
    *others, mail = stage.start_all()
    stage.end(mail, own_failure())
    stage.succeed(*others)
    assert stage.start_all() == []
    stage.turn()
    assert stage.assignment().plan.reasons == ("circuit:payments",)

    stage.turn(later=1.0)
    assert (stage.start_all(), mail.attempt) == ([mail], 2)


def test_a_circuit_that_opens_between_grant_and_start_takes_the_message_back() -> None:
    """It has not started: the attempt does not count."""
    stage = Mixed()
    stage.trip("payments")
    (message,) = stage.receive(1)
    assert stage.start_all() == []
    stage.engine.gates["payments"].circuit.reset(stage.now)
    stage.engine.turn(stage.now)
    stage.engine.gates["payments"].circuit.open_for(10.0, stage.now)

    assert (stage.start_all(), message.attempt, message.permits) == ([], 0, None)


def test_each_second_lane_is_for_the_others_when_thousands_have_waited() -> None:
    """They are older, and would have every lane until the last of them is done."""
    stage = Mixed(concurrency=1)
    stage.trip("payments")
    stage.receive(40)
    while begun := stage.start_all():
        stage.succeed(*begun)
    stage.engine.gates["payments"].circuit.reset(stage.now)
    stage.receive(10, first=40)
    order = []
    while (begun := stage.start_all()) or stage.engine.needs_turn:
        order += positions(begun)
        stage.succeed(*begun)

    assert order[:8] == [0, 40, 2, 41, 4, 42, 6, 43]
    assert sorted(order) == sorted([*range(0, 40, 2), *range(40, 50)])


def test_the_plan_says_in_steps_how_many_are_passed() -> None:
    """A window of ten grows by five for each five that wait."""
    stage = Mixed(inbox=10)
    stage.trip("payments")
    told = []
    for first in range(0, 30, 6):
        stage.receive(6, first=first)
        while begun := stage.start_all():
            stage.succeed(*begun)
        stage.turn()
        told.append(stage.assignment().plan.passed)

    assert told == [0, 5, 5, 10, 15]
    stage.engine.gates["payments"].circuit.reset(stage.now)
    stage.turn()
    while begun := stage.start_all():
        stage.succeed(*begun)
    stage.receive(1, first=31)
    assert stage.assignment().plan.passed == 0


def test_the_inbox_is_not_full_of_what_is_passed() -> None:
    """Ten may wait in it: those on the waiting list do not count, nor do those behind them."""
    stage = Mixed("key", inbox=10)
    stage.trip("payments")
    for first in range(0, 40, 8):
        came = stage.sort(messages(ORDERS, 8, first))
        for message in came:
            message.order_key = message.position % 2
        stage.engine.received(stage.run, came)
        stage.turn()
        while begun := stage.start_all():
            stage.succeed(*begun)
    stage.turn()

    seen = stage.engine.snapshot(stage.now).sources[ORDERS]
    assert (seen.fetch, seen.waiting, stage.assignment().inbox.waiting) == (True, 20, 0)


def test_an_inbox_that_was_full_has_room_when_a_key_is_passed() -> None:
    """What is behind its first message left with it, and nothing else would say so."""
    stage = Mixed("key", inbox=10)
    stage.trip("payments")
    came = messages(ORDERS, 12)
    for message in came:
        message.order_key, message.needs = "one", stage.needing("payments")
    stage.engine.received(stage.run, came)
    assert stage.assignment().full

    assert stage.start_all() == []
    stage.turn()
    assert (stage.assignment().full, stage.assignment().plan.fetch) == (False, True)


def test_keys_keep_their_order_and_others_pass_them() -> None:
    """A key with both kinds waits as a whole behind the one that cannot go."""
    stage = Mixed("key")
    stage.trip("payments")
    came = stage.sort(messages(ORDERS, 6))
    for message, key in zip(came, "aabbcc", strict=True):
        message.order_key = key
    mail_first = came[1:3]
    mail_first[0].order_key = mail_first[1].order_key = "d"  # 1 needs mail, and 2 behind it payments
    stage.engine.received(stage.run, came)
    stage.turn()

    assert positions(stage.start_all()) == [1, 3]


def test_memory_that_is_full_of_what_waits_holds_the_source() -> None:
    """Nothing more is read then, and so nothing else can start: the reason is said."""
    stage = Mixed(memory=1000 * 1024 * 2, weigh=weigh)
    stage.engine.take_events()
    stage.trip("payments")
    came: list[Sized] = []
    for position in range(40):
        message = Sized(ORDERS, position, 50_000)
        message.needs = stage.needing("payments")
        came.append(message)
    stage.engine.received(stage.run, came)
    stage.turn()
    assert stage.start_all() == []
    stage.turn()
    stage.turn(later=0.2)

    assert [event for event in stage.events() if isinstance(event, SourceHeld)] == [
        SourceHeld(0.0, ORDERS, ("circuit:payments",), "memory")
    ]


def test_only_what_is_down_falls_back() -> None:
    """The others go to their handler, and the source says that it falls back once, not with each message."""
    stage = Mixed(fallback=FallbackSettings(), concurrency=8)
    stage.events()
    stage.trip("payments")
    for first in (0, 4):
        stage.receive(4, first=first)
        begun = stage.start_all()
        stage.turn()
        begun += stage.start_all()
        back = [delivery for delivery in begun if delivery.history is not None]
        assert positions(back) == [first, first + 2]
        for delivery in back:
            assert stage.assignment().falls_back(delivery, stage.now)
            assert stage.engine.fell_back(delivery, stage.now) is Verdict.DONE
        stage.succeed(*(delivery for delivery in begun if delivery not in back))

    assert [event for event in stage.events() if isinstance(event, SourceFallingBack)] == [SourceFallingBack(0.0, ORDERS, ("payments",))]
    assert stage.assignment().fallbacks == 4


def test_a_fallback_waits_for_the_need_of_its_message_alone() -> None:
    """Mail tries again in half-open, and that keeps nobody from falling back for payments."""
    stage = Mixed(fallback=FallbackSettings(after=5.0), concurrency=8)
    stage.trip("payments")
    stage.receive(1)
    stage.start_all()
    stage.turn()
    assert (stage.assignment().falling_back, stage.engine.next_deadline()) == (False, 5.0)
    stage.engine.gates["mail"].circuit.open_for(1.0, stage.now)
    stage.turn(later=5.0)

    assert [gate.circuit.state for gate in stage.gates] == [State.OPEN, State.HALF_OPEN]
    (begun,) = stage.start_all()
    assert (begun.position, stage.assignment().falls_back(begun, stage.now)) == (0, True)


def test_a_source_without_a_fallback_never_falls_back() -> None:
    """Nor does one that an operator holds."""
    stage = Mixed()
    stage.trip("payments")
    (message,) = stage.receive(1)
    assert stage.assignment().falls_back(message, stage.now) is False

    stage = Mixed(fallback=FallbackSettings())
    (message,) = stage.receive(1)
    stage.trip("payments")
    stage.engine.hold(ORDERS)
    assert stage.assignment().falls_back(message, stage.now) is False


def test_failures_that_no_need_claims_are_compared_within_their_kind() -> None:
    """Successes of mail say nothing of what charges call: an outage of that charges nobody, and does not hold the mails."""
    stage = Mixed(concurrency=2)
    stage.receive(400)
    for _ in range(100):
        stage.succeed(*stage.start_all())
    verdicts = []
    for _ in range(60):
        for delivery in stage.start_all():
            ends: Attribution = returned() if delivery.position % 2 else unclaimed(1)
            verdicts.append(stage.end(delivery, ends))
        stage.turn(later=5.0)

    assert Verdict.REJECT not in verdicts
    assert stage.assignment().plan.reasons == ()
    charged = [each.history.charged for each in stage.engine._waiting.waiting_of(stage.assignment())]
    assert charged
    assert max(charged) <= 4


def test_a_call_form_that_was_refused_is_one_more_need() -> None:
    """Of that message alone, beside its own."""
    stage = Mixed()
    stage.engine.add_gate(Circuit("search", QUICK))
    stage.receive(2)
    stage.engine.gates["search"].circuit.open_for(10.0, stage.now)
    first, second = stage.start_all()
    stage.events()
    stage.end(first, refused("search"))
    stage.succeed(second)

    assert UndeclaredNeed(stage.now, ORDERS, "search") in stage.events()
    assert set(stage.assignment().undeclared_waiting) == {stage.engine.gates[name] for name in ("payments", "search")}
    stage.turn(later=10.0)
    assert stage.start_all() == [first]
    stage.end(first, returned(2))
    search = stage.engine.gates["search"]
    assert stage.assignment() not in search.assignments
    assert all(stage.assignment() in gate.assignments for gate in stage.gates)


def test_messages_that_an_operator_lets_go_wait_for_their_own_needs() -> None:
    """A blocked message of charges waits for payments again, and one of mail does not."""
    stage = Mixed()
    stage.receive(2)
    for _ in range(5):
        for delivery in stage.start_all():
            stage.end(delivery, own_failure())
        stage.turn(later=60.0)
    assert stage.assignment().plan.reasons == ("blocked",)
    stage.trip("payments")

    assert stage.engine.retry(ORDERS, "mended", stage.now) == 2
    stage.turn()
    assert positions(stage.start_all()) == [1]


def test_one_topic_may_go_by_message_and_another_by_a_list() -> None:
    """The second one is held as ever."""
    run = Run(Needs({"orders": BOTH, "bills": ["payments"]}), order="none", concurrency=8, inbox=500)
    stage = Stage("payments", "mail", run=run, sources=[ORDERS, BILLS])
    stage.trip("payments")

    assert (stage.assignment().plan.held, stage.assignment(BILLS).plan.held) == (False, True)
    assert (stage.assignment().by_message, stage.assignment(BILLS).by_message) == (True, False)
    assert run.needs.names() == ("payments", "mail")
    with pytest.raises(SettingsError, match="names \\['mail'\\] twice"):
        Needs(ByMessage(("mail", "mail")))


def test_a_source_that_is_gone_is_needed_by_nobody() -> None:
    """Neither what its messages may need nor what they waited for keeps it."""
    stage = Mixed()
    stage.trip("payments")
    stage.receive(4)
    stage.start_all()
    stage.engine.forget(stage.run, [ORDERS], stage.now)

    assert [dict(gate.assignments) for gate in stage.gates] == [{}, {}]


def test_what_messages_of_a_kind_share_outlives_an_assignment() -> None:
    """As with sources: what has been learned of their failures is not lost in a rebalance. Handlers apart have kinds apart."""
    stage = Mixed()
    before = stage.needing("mail")
    stage.engine.forget(stage.run, [ORDERS], stage.now)
    apart = Run(Needs(BOTH), order="none", concurrency=1, inbox=5, apart=True)

    assert stage.needing("mail") is before
    assert stage.run.kinds.needing(before.gates, BILLS) is before
    assert apart.kinds.needing((), BILLS) is not apart.kinds.needing((), ORDERS)


def test_failures_that_nobody_claims_are_announced_and_hold_nothing() -> None:
    """Once a minute, with what the failing messages need; the others go on, and the first success of their kind is the end of it."""
    stage = Mixed("none", retry=RetryPolicy(attempts=20, jitter=0.0, max_backoff=8.0))
    stage.receive(12)
    mails = [delivery for delivery in stage.start_all() if delivery.position % 2]
    assert len(mails) == 2
    stage.succeed(*mails)
    for _ in range(5):
        for delivery in stage.start_all():
            if delivery.position % 2:
                stage.succeed(delivery)
            else:
                assert stage.end(delivery, unclaimed(1)) is Verdict.AGAIN
        stage.turn(0.5)

    told = [event for event in stage.events() if isinstance(event, OutageSuspected)]
    assert [(event.sources, event.needs, event.error) for event in told] == [((ORDERS,), ("payments",), "client.ConnectError")]
    assert stage.run.plan.sources[ORDERS].reasons == ()
    began = told[0].at
    stage.turn(60.0)
    assert [type(event) for event in stage.events()] == [OutageSuspected]

    failed = stage.start_all()
    stage.end(failed[0], returned(1))
    assert stage.events() == [OutageOver(stage.now, (ORDERS,), "client.ConnectError", stage.now - began)]
    assert stage.engine.snapshot(stage.now).sources[ORDERS].held is False


def test_an_outage_suspected_of_messages_is_announced_for_the_sources_that_are_here() -> None:
    """Those that went to another worker are its business: without any nothing is said, and one that comes back is named again."""
    stage = Mixed("none", concurrency=20, retry=RetryPolicy(attempts=20, jitter=0.0, max_backoff=8.0))

    def fail(first: int) -> None:
        stage.receive(8, first=first)
        for delivery in stage.start_all():
            if not delivery.position % 2:
                stage.end(delivery, unclaimed(1))
        stage.turn()

    fail(0)
    assert [type(event) for event in stage.events()] == [OutageSuspected]
    stage.engine.forget(stage.run, [ORDERS], stage.now)
    stage.turn(60.0)
    assert stage.events() == []

    stage.engine.assigned(stage.run, [ORDERS], stage.now)
    stage.turn(60.0)
    fail(8)
    assert [event.sources for event in stage.events() if isinstance(event, OutageSuspected)] == [(ORDERS,)]


def test_a_first_attempt_that_ends_while_the_source_is_held_lets_others_pass() -> None:
    """The oldest one, which so many have passed, has waited for a circuit that is back: nothing else would have the plan looked at."""
    stage = Mixed(span=4, held_span=4)
    stage.trip("payments")
    stage.trip("mail")
    came = messages(ORDERS, 6)
    for message in came:
        message.needs = stage.needing(*(["mail"] if message.position == 0 else ["payments"] if message.position < 4 else []))
    stage.engine.received(stage.run, came)
    stage.turn()
    assert stage.start_all() == []
    stage.turn()
    assert stage.assignment().plan.held

    stage.engine.gates["mail"].circuit.reset(stage.now)
    stage.turn()
    (oldest,) = stage.start_all()
    stage.turn()
    assert (oldest.position, stage.assignment().plan.reasons) == (0, ("circuit:payments",))
    stage.succeed(oldest)
    assert (stage.assignment().plan.reasons, positions(stage.start_all())) == ((), [4])
