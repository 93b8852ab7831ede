"""Inboxes whose messages pass one another: what may start, what counts as waiting, and how far ahead."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow.stage import ORDERS as SOURCE
from tests.flow.stage import Message, messages

from holdgate.flow.inbox import BatchInbox, FreeInbox, KeyInbox, Order, SourceInbox
from holdgate.flow.message import Partition
from holdgate.flow.passing import Kinds, MessageNeeds, PassingFreeInbox, PassingKeyInbox, new_inboxes
from holdgate.flow.policy import Needs


def keyed(*keys: str | None) -> list[Message]:
    made = messages(SOURCE, len(keys))
    for message, key in zip(made, keys, strict=True):
        message.order_key = key
    return made


def taken(inbox: PassingFreeInbox | PassingKeyInbox) -> list[int]:
    """Take all that may start now; their positions."""
    found = []
    while (delivery := inbox.take()) is not None:
        found.append(delivery.position)
    return found


def test_a_passed_message_does_not_end_the_nearer_span() -> None:
    """Four may run ahead of one that is stuck, and a passed one is not stuck: it waits."""
    inbox = PassingFreeInbox(span=4, held_span=100)
    came = messages(SOURCE, 10)
    inbox.put(came)
    assert taken(inbox) == [0, 1, 2, 3]
    for each in came[1:4]:
        assert inbox.done(each) is False

    assert inbox.let_pass(came[0])
    assert (taken(inbox), inbox.passed) == ([4, 5, 6, 7], 1)


def test_a_stuck_message_ends_the_nearer_span_all_the_same() -> None:
    """It is behind a passed one, and nothing passes it."""
    inbox = PassingFreeInbox(span=4, held_span=100)
    came = messages(SOURCE, 10)
    inbox.put(came)
    taken(inbox)
    inbox.let_pass(came[0])

    assert (taken(inbox), inbox.is_used_up) == ([4], False)


def test_the_wider_span_is_measured_from_the_oldest_of_all() -> None:
    """Ten may run ahead of a passed one, however few of them are unfinished; its end lets the rest go on."""
    inbox = PassingFreeInbox(span=4, held_span=10)
    came = messages(SOURCE, 12)
    inbox.put(came)
    first = inbox.take()
    assert first is came[0]
    inbox.let_pass(first)
    while (delivery := inbox.take()) is not None:
        inbox.done(delivery)

    assert (inbox.is_used_up, inbox.waiting, inbox.oldest, len(inbox.ended)) == (True, 2, 0, 9)
    assert inbox.done(came[0])
    assert (inbox.is_used_up, inbox.oldest, inbox.passed, taken(inbox)) == (False, 10, 0, [10, 11])
    assert inbox.is_used_up is False  # with nothing that could start


def test_a_failure_of_a_passed_message_needs_no_witnesses() -> None:
    """Those are kept at the end of the nearer span, for a message that others do not pass."""
    inbox = PassingFreeInbox(span=128, held_span=1000)
    came = messages(SOURCE, 300)
    inbox.put(came)
    assert len(taken(inbox)) == 64
    inbox.let_pass(came[0])
    assert taken(inbox) == [64]

    inbox.failed(came[0])
    assert taken(inbox) == []
    inbox.failed(came[1])
    assert len(taken(inbox)) == 8


def test_a_message_is_passed_once() -> None:
    """It is put onto the waiting list again and again while its circuit opens and tries again."""
    inbox = PassingFreeInbox(span=4, held_span=10)
    came = messages(SOURCE, 2)
    inbox.put(came)
    taken(inbox)
    inbox.let_pass(came[0])
    inbox.let_pass(came[0])

    assert (inbox.passed, inbox.done(came[0]), inbox.passed) == (1, False, 0)


def test_what_is_behind_a_passed_message_of_its_key_does_not_wait_in_the_inbox() -> None:
    """A full inbox would end the fetching for all keys."""
    inbox = PassingKeyInbox(span=100, held_span=1000)
    came = keyed("a", "a", "b", "a")
    inbox.put(came)
    assert taken(inbox) == [0, 2]
    assert (inbox.waiting, inbox.behind_passed) == (2, 0)

    inbox.let_pass(came[0])
    assert (inbox.waiting, inbox.behind_passed, inbox.passed) == (0, 2, 3)
    inbox.put(keyed("a", None))
    assert (inbox.waiting, inbox.behind_passed, inbox.passed) == (1, 3, 4)


def test_a_key_goes_on_in_its_order_when_its_first_message_is_done() -> None:
    """The next one waits in the inbox again, and those behind it do not before they may start."""
    inbox = PassingKeyInbox(span=100, held_span=1000)
    came = keyed("a", "a", "a")
    inbox.put(came)
    taken(inbox)
    inbox.let_pass(came[0])

    assert inbox.done(came[0])
    assert (inbox.waiting, inbox.behind_passed, inbox.passed, taken(inbox)) == (1, 1, 2, [1])
    inbox.put(keyed("a"))  # behind one that runs: it waits as ever
    assert (inbox.waiting, inbox.behind_passed) == (1, 1)
    assert inbox.done(came[1])
    assert (inbox.waiting, inbox.behind_passed, taken(inbox)) == (2, 0, [2])


def test_a_key_is_passed_again_when_its_next_message_waits_too() -> None:
    """Only what came in between is new behind it."""
    inbox = PassingKeyInbox(span=100, held_span=1000)
    came = keyed("a", "a", "a")
    inbox.put(came)
    taken(inbox)
    inbox.let_pass(came[0])
    inbox.done(came[0])
    taken(inbox)
    inbox.put(keyed("a", "a"))

    inbox.let_pass(came[1])
    assert (inbox.waiting, inbox.behind_passed, inbox.passed) == (0, 3, 4)


def test_a_message_without_a_key_is_passed_alone() -> None:
    """It has nothing behind it."""
    inbox = PassingKeyInbox(span=100, held_span=1000)
    came = keyed(None, None)
    inbox.put(came)
    assert inbox.take() is came[0]
    inbox.let_pass(came[0])

    assert (inbox.waiting, inbox.behind_passed, inbox.passed, taken(inbox)) == (1, 0, 1, [1])
    assert inbox.done(came[0]) is False


def test_a_source_that_goes_away_keeps_nothing_behind() -> None:
    """What had not started is forgotten, and what runs may end."""
    inbox = PassingKeyInbox(span=100, held_span=1000)
    came = keyed("a", "a", "b")
    inbox.put(came)
    first = inbox.take()
    assert first is not None
    inbox.let_pass(first)
    inbox.clear()

    assert (inbox.waiting, inbox.behind_passed, inbox.done(first), taken(inbox)) == (0, 0, False, [])


def test_keys_are_held_to_both_spans() -> None:
    """As far as one inbox goes, the other does."""
    inbox = PassingKeyInbox(span=4, held_span=6)
    came = keyed(*"abcdefghij")
    inbox.put(came)
    assert taken(inbox) == [0, 1, 2, 3]
    inbox.let_pass(came[0])
    for each in came[1:4]:
        inbox.done(each)

    assert (taken(inbox), inbox.is_used_up) == ([4, 5], True)
    inbox.done(came[0])
    assert (taken(inbox), inbox.is_used_up) == ([6, 7], False)


KEYS = st.sampled_from(["a", "b", "c", None])
STEPS = st.lists(st.tuples(st.sampled_from(["put", "take", "pass", "done"]), KEYS, st.integers(0, 7)), max_size=80)


@given(STEPS)
def test_any_steps_keep_the_order_of_every_key_and_lose_nothing(steps: list[tuple[str, str | None, int]]) -> None:
    """Beside a model: a queue per key. What waits and what is behind are counted by hand after each step."""
    inbox = PassingKeyInbox(span=1000, held_span=1000)
    queues: dict[str | None, deque[Message]] = {}
    running: list[Message] = []
    passed: set[str | None] = set()
    left: set[Message] = set()
    position = 0
    for step, key, number in steps:
        if step == "put":
            message = Message(SOURCE, position)
            message.order_key = key
            position += 1
            inbox.put([message])
            queues.setdefault(key, deque()).append(message)
            if key in passed:
                left.add(message)
        elif step == "take" and (delivery := inbox.take()) is not None:
            assert isinstance(delivery, Message)
            queue = queues[delivery.order_key]
            assert delivery is queue[0]
            assert delivery.order_key is None or delivery.order_key not in {each.order_key for each in running}
            queue.popleft()
            left.discard(delivery)
            running.append(delivery)
        elif step == "pass" and running:
            delivery = running[number % len(running)]
            inbox.let_pass(delivery)
            if delivery.order_key is not None:
                passed.add(delivery.order_key)
                left.update(queues[delivery.order_key])
        elif step == "done" and running:
            delivery = running.pop(number % len(running))
            inbox.done(delivery)
            passed.discard(delivery.order_key)
            if delivery.order_key is not None and queues[delivery.order_key]:
                left.discard(queues[delivery.order_key][0])
        unstarted = sum(map(len, queues.values()))
        assert (inbox.waiting, inbox.behind_passed) == (unstarted - len(left), len(left))


@pytest.mark.parametrize("error", [None, ValueError("no")])
def test_messages_of_one_kind_are_compared_with_one_another(error: Exception | None) -> None:
    """Each kind begins with results of its own."""
    kind = MessageNeeds((), error)

    assert (kind.gates, kind.error, kind.results.successes) == ((), error, 0)


def results_of_four(*, apart: bool) -> list[object]:
    """What a run compares the failures of two partitions, of another topic, and of a topic with other needs with."""
    kinds = Kinds(Needs({"orders": ["payments"], "bills": ["payments"], "mails": ["smtp"]}), apart=apart)
    sources = Partition("orders", 0), Partition("orders", 1), Partition("bills", 0), Partition("mails", 0)
    return [kinds.results_of(source) for source in sources]


def test_failures_are_compared_where_handler_and_needs_are_the_same() -> None:
    """With one handler for all, topics with the same needs are one; each has its own where each has a handler of its own."""
    first, second, bills, mails = results_of_four(apart=False)
    assert first is second is bills
    assert mails is not first
    first, second, bills, mails = results_of_four(apart=True)
    assert first is second
    assert len({id(first), id(bills), id(mails)}) == 3


@pytest.mark.parametrize(
    ("order", "plain", "passing"),
    [("source", SourceInbox, SourceInbox), ("key", KeyInbox, PassingKeyInbox), ("none", FreeInbox, PassingFreeInbox)],
)
def test_the_order_decides_which_inbox_a_source_has(order: Order, plain: type, passing: type) -> None:
    """In order of the source none passes another, whatever each message needs. Batches have their own."""
    assert [type(it) for it in new_inboxes(order, None, 8, 80, by_message=False)] == [plain, type(None)]
    mixed, same = new_inboxes(order, None, 8, 80, by_message=True)
    assert type(mixed) is passing
    assert same is (None if order == "source" else mixed)
    assert isinstance(new_inboxes(order, 5, 8, 80, by_message=False)[0], BatchInbox)


def test_a_key_that_was_passed_with_many_behind_it_goes_on_one_by_one() -> None:
    """When all of them are done nothing is behind it, and the next of the key counts as any other."""
    inbox = PassingKeyInbox(span=100, held_span=1000)
    came = keyed("a", "a", "a", "a")
    inbox.put(came)
    taken(inbox)
    inbox.let_pass(came[0])
    behind = []
    for each in came:
        inbox.done(each)
        behind.append(inbox.behind_passed)
        taken(inbox)
    assert behind == [2, 1, 0, 0]

    late = keyed("a", "a")
    inbox.put(late)
    for each in late:
        taken(inbox)
        inbox.done(each)
    assert (inbox.waiting, inbox.behind_passed, inbox.passed) == (0, 0, 0)
