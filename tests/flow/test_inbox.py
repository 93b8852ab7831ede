"""Inboxes: which delivery a free lane could take, in the three orders."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow.stage import ORDERS, Message, messages

from holdgate.flow.inbox import FreeInbox, Inbox, KeyInbox, SourceInbox, Span

SPAN = 3


def keyed(*keys: str | None) -> list[Message]:
    """One message per key, positions from 0."""
    came = messages(ORDERS, len(keys))
    for message, key in zip(came, keys, strict=True):
        message.order_key = key
    return came


def positions(inbox: Inbox) -> list[int]:
    """What may start now, all of it."""
    taken = []
    while (delivery := inbox.take()) is not None:
        taken.append(delivery.position)
    return taken


# -- "source" -------------------------------------------------------------------------------------------------------------------------


def test_one_at_a_time_by_source() -> None:
    """The second may start when the first is finished, and not before."""
    inbox = SourceInbox()
    inbox.put(messages(ORDERS, 2))
    first = inbox.take()

    assert (first.position, inbox.take()) == (0, None)
    inbox.done(first)
    assert positions(inbox) == [1]


def test_a_finished_source_says_whether_another_may_start() -> None:
    """True with work behind it, False with none."""
    inbox = SourceInbox()
    inbox.put(messages(ORDERS, 2))

    assert inbox.done(inbox.take()) is True
    assert inbox.done(inbox.take()) is False


@pytest.mark.parametrize("inbox", [SourceInbox(), FreeInbox(SPAN)])
def test_one_starts_in_the_step_in_which_it_comes_unless_another_waits(inbox: SourceInbox | FreeInbox) -> None:
    """It is numbered as any other, and one that may not start is not taken in."""
    first, second, third = messages(ORDERS, 3)

    assert inbox.start(first) is True
    assert (inbox.waiting, inbox.oldest) == (0, 0)
    inbox.put([second])
    assert inbox.start(third) is False
    assert inbox.waiting == 1
    inbox.done(first)
    assert positions(inbox) == [1]
    inbox.done(second)
    assert (inbox.start(third), inbox.oldest) == (True, 2)


def test_by_source_none_starts_beside_the_one_in_work() -> None:
    """Though none waits."""
    inbox = SourceInbox()

    assert [inbox.start(one) for one in messages(ORDERS, 2)] == [True, False]


def test_none_starts_further_ahead_than_the_span() -> None:
    """The oldest unfinished one is as far behind as it may be."""
    inbox = FreeInbox(SPAN)

    assert [inbox.start(one) for one in messages(ORDERS, SPAN + 1)] == [True] * SPAN + [False]


def test_passing_on_finishes_one_and_takes_the_next() -> None:
    """In order, and after the last one the source may be taken from again."""
    inbox = SourceInbox()
    inbox.put(messages(ORDERS, 2))
    inbox.take()

    following = inbox.pass_on()
    assert following is not None
    assert (following.position, inbox.take(), inbox.waiting) == (1, None, 0)
    assert inbox.pass_on() is None
    inbox.put(messages(ORDERS, 1))
    assert inbox.take() is not None


def test_what_was_taken_outlives_a_clearing() -> None:
    """Its source goes away while its handler runs: nothing else may start."""
    inbox = SourceInbox()
    inbox.put(messages(ORDERS, 3))
    inbox.take()
    inbox.clear()

    assert (inbox.waiting, inbox.take()) == (0, None)


# -- the span -------------------------------------------------------------------------------------------------------------------------


def test_a_span_allows_so_many_places_from_the_oldest_unfinished() -> None:
    """Three places: the oldest and two more."""
    span = Span(SPAN)
    numbers = [span.add() for _ in range(5)]

    assert [span.allows(number) for number in numbers] == [True, True, True, False, False]


def test_a_span_moves_past_all_that_are_finished() -> None:
    """Finished out of turn counts once the oldest is finished too."""
    span = Span(SPAN)
    numbers = [span.add() for _ in range(6)]
    span.finish(1)
    span.finish(2)
    assert not span.allows(numbers[3])
    span.finish(0)

    assert [span.allows(number) for number in numbers[3:]] == [True, True, True]


# -- "none" ---------------------------------------------------------------------------------------------------------------------------


def test_without_order_all_may_start_within_the_span() -> None:
    """First come, first started, up to the span."""
    inbox = FreeInbox(SPAN)
    inbox.put(messages(ORDERS, 5))

    assert positions(inbox) == [0, 1, 2]
    assert inbox.waiting == 2


def test_a_stuck_message_stops_the_others_at_the_span() -> None:
    """Others finish, and none starts beyond until the oldest is finished; `done` tells when."""
    inbox = FreeInbox(SPAN)
    came = messages(ORDERS, 5)
    inbox.put(came)
    positions(inbox)

    assert inbox.done(came[1]) is False
    assert positions(inbox) == []
    assert inbox.done(came[0]) is True
    assert positions(inbox) == [3, 4]
    assert inbox.done(came[2]) is False  # nothing is left


def test_a_cleared_inbox_without_order_has_nothing() -> None:
    """What had not started is forgotten."""
    inbox = FreeInbox(SPAN)
    inbox.put(messages(ORDERS, 2))
    inbox.clear()

    assert (inbox.waiting, inbox.take()) == (0, None)


# -- "key" ----------------------------------------------------------------------------------------------------------------------------


def test_a_blocked_key_blocks_only_itself() -> None:
    """The second of "a" waits for the first, "b" and the message without a key do not."""
    inbox = KeyInbox(SPAN * 10)
    inbox.put(keyed("a", "a", "b", None, None))

    assert positions(inbox) == [0, 2, 3, 4]
    assert inbox.waiting == 1


def test_the_next_of_a_key_follows_its_end() -> None:
    """And only the next one."""
    inbox = KeyInbox(SPAN * 10)
    came = keyed("a", "a", "a")
    inbox.put(came)
    positions(inbox)

    assert inbox.done(came[0]) is True
    assert positions(inbox) == [1]


def test_a_key_that_is_used_up_is_forgotten() -> None:
    """Millions of keys must not stay in memory; the same key later starts at once."""
    inbox = KeyInbox(SPAN * 10)
    came = keyed("a")
    inbox.put(came)
    positions(inbox)

    assert inbox.done(came[0]) is False
    assert inbox._behind == {}
    inbox.put(keyed("a"))
    assert positions(inbox) == [0]


def test_the_oldest_key_starts_first() -> None:
    """The successor of an early key is older than what was ready all the time, and nothing younger may be ahead of it in the span."""
    inbox = KeyInbox(SPAN)
    came = keyed("a", "a", "b", "c")
    inbox.put(came)
    assert positions(inbox) == [0, 2]
    inbox.done(came[2])
    assert positions(inbox) == []  # "c" is one place too far
    inbox.done(came[0])

    assert positions(inbox) == [1, 3]


def test_keys_that_wait_for_the_span_are_not_offered() -> None:
    """`done` says that something may start only when it may."""
    inbox = KeyInbox(2)
    came = keyed("a", "b", "c")
    inbox.put(came)
    positions(inbox)

    assert inbox.done(came[1]) is False
    assert inbox.done(came[0]) is True


def test_a_cleared_inbox_by_key_keeps_what_runs() -> None:
    """What had not started is forgotten, and the end of what runs starts nothing."""
    inbox = KeyInbox(SPAN)
    came = keyed("a", "a", "b")
    inbox.put(came)
    first = inbox.take()
    inbox.clear()

    assert inbox.waiting == 0
    assert inbox.done(first) is False
    assert inbox.take() is None


@pytest.mark.parametrize("kind", [FreeInbox, KeyInbox])
@given(steps=st.lists(st.one_of(st.just("take"), st.integers(0, 20)), max_size=60))
def test_an_inbox_agrees_with_a_list(kind: type[FreeInbox | KeyInbox], steps: list[str | int]) -> None:
    """Against a plain list that is searched each time: the first delivery whose key is free, if it is within the span."""
    inbox = kind(4)
    came = messages(ORDERS, 40)
    for message in came:
        message.order_key = None if message.position % 5 == 0 else message.position % 3
    inbox.put(came)
    running: list[Message] = []
    finished: set[Message] = set()
    for step in steps:
        if step == "take":
            expected = _first(came, running, finished, by_key=kind is KeyInbox)
            assert inbox.take() is expected
            if expected is not None:
                running.append(expected)
        elif running:
            message = running.pop(int(step) % len(running))
            finished.add(message)
            assert inbox.done(message) is (_first(came, running, finished, by_key=kind is KeyInbox) is not None)
        assert inbox.waiting == len(came) - len(running) - len(finished)


def _first(came: list[Message], running: list[Message], finished: set[Message], *, by_key: bool) -> Message | None:
    open_ones = [message for message in came if message not in finished]
    busy: dict[object, int] = defaultdict(int)
    for message in open_ones:
        ahead = busy[message.order_key]
        busy[message.order_key] += 1
        is_free = message not in running and (not by_key or message.order_key is None or ahead == 0)
        if is_free and message.position - open_ones[0].position < 4:
            return message
    return None


# -- witnesses ------------------------------------------------------------------------------------------------------------------------


def started(inbox: Inbox) -> int:
    """How many more may start now."""
    count = 0
    while inbox.take() is not None:
        count += 1
    return count


@pytest.mark.parametrize("kind", [FreeInbox, KeyInbox])
def test_the_last_places_of_a_span_are_for_witnesses(kind: type[FreeInbox | KeyInbox]) -> None:
    """Eight start for each failure of the oldest delivery, and after those places as many as the span once more."""
    inbox = kind(200)
    oldest, *others = messages(ORDERS, 500)
    inbox.put([oldest, *others])
    assert started(inbox) == 200 - 64
    assert [(inbox.failed(oldest), started(inbox)) for _ in range(34)] == [(True, 8)] * 33 + [(False, 0)]


@pytest.mark.parametrize("kind", [FreeInbox, KeyInbox])
def test_what_fails_before_the_span_is_full_spends_no_witnesses(kind: type[FreeInbox | KeyInbox]) -> None:
    """It was alone, or the circuit was open: a poison message whose witnesses were gone by then stood there for ever."""
    inbox = kind(200)
    oldest, *others = messages(ORDERS, 300)
    inbox.put([oldest])
    assert started(inbox) == 1
    for _ in range(20):
        inbox.failed(oldest)
    inbox.put(others)
    assert started(inbox) == 200 - 64 - 1
    assert (inbox.failed(oldest), started(inbox)) == (True, 8)


@pytest.mark.parametrize("kind", [FreeInbox, KeyInbox])
def test_only_the_oldest_delivery_gets_witnesses(kind: type[FreeInbox | KeyInbox]) -> None:
    """One in the middle stands in nobody's way; and when the oldest is done, the next one's begin from none."""
    inbox = kind(128)
    oldest, second, *others = messages(ORDERS, 300)
    inbox.put([oldest, second, *others])
    assert started(inbox) == 64
    assert (inbox.failed(second), started(inbox)) == (False, 0)
    assert (inbox.failed(oldest), started(inbox)) == (True, 8)
    inbox.done(oldest)

    assert started(inbox) == 0
    assert (inbox.failed(second), started(inbox)) == (True, 1)


def test_a_short_span_has_no_room_for_witnesses() -> None:
    """All of it is for work."""
    inbox = FreeInbox(127)
    oldest, *others = messages(ORDERS, 300)
    inbox.put([oldest, *others])

    assert started(inbox) == 127
    assert inbox.failed(oldest) is False


def test_beside_the_only_one_there_are_no_witnesses() -> None:
    """The order of the source lets nothing start."""
    inbox = SourceInbox()
    first, second = messages(ORDERS, 2)
    inbox.put([first, second])
    inbox.take()

    assert (inbox.failed(first), inbox.take()) == (False, None)


def test_an_inbox_without_order_is_empty_at_first() -> None:
    """Nothing waits before something came."""
    assert FreeInbox(10).waiting == 0


# -- what is the oldest unfinished one ----------------------------------------------------------------------------------------------------


def test_in_the_order_of_the_source_the_oldest_is_counted_by_arrival() -> None:
    """One that is taken is unfinished, one that is done is not, and what is dropped has never come."""
    inbox = SourceInbox()
    assert (inbox.oldest, inbox.waiting, inbox.ended) == (0, 0, ())
    inbox.put(messages(ORDERS, 3))
    inbox.put(messages(ORDERS, 2, 3))
    first = inbox.take()
    assert first is not None
    assert (inbox.oldest, inbox.waiting) == (0, 4)
    inbox.done(first)
    assert (inbox.oldest, inbox.waiting) == (1, 4)
    assert inbox.take() is not None
    inbox.clear()
    assert (inbox.oldest, inbox.waiting) == (1, 0)
    inbox.put(messages(ORDERS, 2, 5))
    assert (inbox.oldest, inbox.waiting) == (1, 2)


def test_a_failure_that_nobody_waits_behind_gives_no_witness_a_place() -> None:
    """Half of the span's places and eight are kept for later: the arrival that was never asked for may not start for that."""
    span = Span(200)
    span.failed(0)
    assert (span.allows(135), span.allows(136)) == (True, False)


def test_a_span_without_room_for_witnesses_stays_whole_after_a_failure() -> None:
    """All its ten places are there, and no more."""
    span = Span(10)
    assert not span.allows(10)
    span.failed(0)
    assert (span.allows(9), span.allows(10)) == (True, False)
