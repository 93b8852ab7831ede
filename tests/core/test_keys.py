"""The keys of one dependency: who is remembered, and what the whole dependency is told of them."""

from __future__ import annotations

import random
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdgate.core import Circuit, CircuitSettings, KeysSnapshot, Limits, Outcome, State, Told, keys
from holdgate.core.keys import ALL_THROTTLED, IDLE, Keys

if TYPE_CHECKING:
    from collections.abc import Hashable

    from holdgate.core.key_record import KeySlot

OK, FAILED, THROTTLED, IGNORED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.THROTTLED, Outcome.IGNORED
STEADY = CircuitSettings(open_duration=5.0, open_jitter=0.0)


class Whole:
    """A dependency with keys, and its clock."""

    def __init__(self, settings: CircuitSettings = STEADY, limits: Limits | None = None, max_keys: int = 1000) -> None:
        self.now = 0.0
        self.circuit = Circuit("payments", settings)
        self.keys = Keys(self.circuit, limits, lambda: 0.5, max_keys)

    @property
    def state(self) -> State:
        return self.circuit.state

    def free(self, key: Hashable) -> int | None:
        record = self.keys.record_of(key)
        return None if record is None else self.keys.free_of(record, self.now)

    def call(self, key: Hashable, outcome: Outcome, took: float = 0.01, **more: object) -> Outcome:
        """One call that has room in the whole and in its key."""
        permit = self.circuit.try_acquire(self.now)
        slot = self.keys.start(key, self.now)
        self.now += took
        told = self.keys.end(key, slot, outcome, self.now, took=took, **more)  # type: ignore[arg-type]
        self.circuit.record(permit, told, self.now)  # type: ignore[arg-type]
        return told

    def calls(self, key: Hashable, outcome: Outcome, count: int) -> None:
        for _ in range(count):
            self.call(key, outcome)


# -- what the whole is told -----------------------------------------------------------------------------------------------------------


def test_the_failures_of_one_key_open_it_and_not_the_whole() -> None:
    """One tenant has a wrong password. It alone waits, though nobody else was called meanwhile."""
    whole = Whole()
    whole.calls("a", FAILED, 5)
    assert (whole.state, whole.free("a"), whole.free("b"), whole.keys.held) == (State.CLOSED, 0, None, 1)


def test_five_keys_that_fail_in_a_row_open_the_whole() -> None:
    """It is down for everybody, and five calls have shown it: no thousand keys have to find out one by one."""
    whole = Whole()
    for key in "abcde":
        whole.call(key, FAILED)
    assert (whole.state, whole.keys.held) == (State.OPEN, 0)


def test_a_success_of_any_key_ends_the_row() -> None:
    """Somebody is well, so it is not everybody."""
    whole = Whole()
    for key in "abcd":
        whole.call(key, FAILED)
    whole.call("z", OK)
    whole.call("e", FAILED)
    assert whole.state is State.CLOSED


def test_a_key_is_counted_again_when_its_own_window_is_clean() -> None:
    """Twenty good calls; until then it is known not to be well."""
    whole = Whole()
    assert whole.call("a", FAILED) is FAILED
    assert whole.call("a", FAILED) is IGNORED
    whole.calls("a", OK, 19)
    assert whole.call("a", FAILED) is IGNORED
    whole.calls("a", OK, 20)
    assert whole.call("a", FAILED) is FAILED


def test_a_key_is_counted_again_when_the_whole_has_changed() -> None:
    """What was known of it was known of another state."""
    whole = Whole()
    for key in "abcde":
        whole.call(key, FAILED)
    whole.now += 6.0
    whole.circuit.advance(whole.now)
    assert whole.call("a", FAILED) is FAILED
    assert whole.state is State.OPEN


def test_the_key_that_asked_for_the_whole_in_vain_lets_another_ask_next() -> None:
    """It opens at once: if it is down for itself, the others do not wait for it."""
    whole = Whole()
    for key in "abcde":
        whole.call(key, FAILED)
    whole.now += 6.0
    whole.circuit.advance(whole.now)
    whole.call("a", FAILED)
    assert (whole.free("a"), whole.free("b")) == (0, None)


def test_slow_calls_of_one_key_do_not_open_the_whole_either() -> None:
    """They are counted once, those of five keys five times."""
    slow = CircuitSettings(slow_call_duration=1.0, window=STEADY.window, minimum_calls=4, consecutive_failures=None)
    whole = Whole(slow)
    assert [whole.call("a", OK, 2.0) for _ in range(4)] == [OK, IGNORED, IGNORED, IGNORED]
    assert whole.state is State.CLOSED
    whole.call("b", OK, 2.0)
    whole.call("c", OK, 2.0)
    whole.call("d", OK, 2.0)
    assert whole.state is State.OPEN


def test_a_throttled_key_is_no_matter_of_the_whole() -> None:
    """Nor are four of them; five that were throttled with no success in between are."""
    whole = Whole()
    assert [whole.call(key, THROTTLED) for key in "aabcd"] == [IGNORED] * ALL_THROTTLED
    assert whole.call("e", THROTTLED) is THROTTLED
    assert whole.keys.end("f", None, THROTTLED, whole.now) is THROTTLED


def test_a_success_shows_that_not_all_are_throttled() -> None:
    """Of a key that is known, or of one that is not."""
    for key in ("a", "z"):
        whole = Whole()
        for each in "abcd":
            whole.call(each, THROTTLED)
        whole.call(key, OK)
        assert whole.call("e", THROTTLED) is IGNORED


def test_while_the_whole_is_asked_each_refusal_is_told() -> None:
    """Otherwise the one that asks for all would seem to be let in."""
    whole = Whole()
    for key in "abcde":
        whole.call(key, THROTTLED)
    assert whole.circuit.limits.free(whole.now) is not None
    whole.keys.end("z", None, OK, whole.now)
    assert whole.keys.end("f", None, THROTTLED, whole.now) is THROTTLED


def test_ignored_is_ignored() -> None:
    """A message's own failure says nothing of anybody."""
    whole = Whole()
    assert (whole.call("a", IGNORED), len(whole.keys)) == (IGNORED, 0)
    whole.call("a", FAILED)
    assert whole.call("a", IGNORED) is IGNORED


@given(calls=st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=400), seed=st.integers(0, 2**32))
def test_one_key_alone_never_opens_the_whole(calls: list[tuple[bool, int]], seed: int) -> None:
    """However its failures are mixed with good calls of its own and of others, and whatever its share of them."""
    whole, rng = Whole(), random.Random(seed)
    for failed, others in calls:
        if whole.free("bad") != 0:
            whole.call("bad", FAILED if failed else OK)
        for _ in range(others):
            whole.call(rng.choice("xyz"), OK)
        whole.now += rng.random()
        assert whole.state is State.CLOSED


@pytest.mark.parametrize("seed", range(20))
def test_down_for_everybody_costs_few_calls_and_down_for_some_stops_nobody_else(seed: int) -> None:
    """A thousand keys in any order. All down: open within ten failures. One in twenty down: the whole never opens in 5,000 calls."""
    rng = random.Random(seed)
    whole = Whole()
    failures = 0
    while whole.state is State.CLOSED:
        whole.call(rng.randrange(1000), FAILED)
        failures += 1
    assert failures <= 10

    whole = Whole()
    down = set(rng.sample(range(1000), 50))
    good = held = 0
    for _ in range(5000):
        key = rng.randrange(1000)
        if whole.free(key) == 0:
            held += 1
        else:
            good += whole.call(key, FAILED if key in down else OK) is OK
        assert whole.state is State.CLOSED
    assert good + held >= 4700


@pytest.mark.parametrize("seed", range(10))
def test_two_thirds_of_all_calls_failing_opens_the_whole(seed: int) -> None:
    """A partial outage is one for everybody, too, whichever keys it meets."""
    rng = random.Random(seed)
    whole = Whole()
    for _ in range(200):
        if whole.state is not State.CLOSED:
            break
        whole.call(rng.randrange(1000), FAILED if rng.random() < 2 / 3 else OK)
    assert whole.state is State.OPEN


# -- who is remembered ----------------------------------------------------------------------------------------------------------------


def test_a_key_that_is_well_is_not_remembered() -> None:
    """Unless each key has numbers of its own, or the service says what is left."""
    whole = Whole()
    whole.calls("a", OK, 10)
    assert len(whole.keys) == 0
    whole.call("a", OK, told=Told(remaining=5, reset=60.0))
    assert len(whole.keys) == 1
    limited = Whole(limits=Limits(concurrency=3))
    limited.call("a", OK)
    assert (len(limited.keys), limited.keys.learns) == (1, True)


def test_a_call_that_began_before_its_key_was_known_counts_all_the_same() -> None:
    """Two at a time fail: both do."""
    whole = Whole()
    slots = [whole.keys.start("a", 0.0) for _ in range(5)]
    assert slots == [None] * 5
    for slot in slots:
        whole.keys.end("a", slot, FAILED, 1.0, took=1.0)
    assert whole.free("a") == 0


def test_idle_keys_are_forgotten_and_held_ones_are_not() -> None:
    """With the next new key: ten minutes after its last call."""
    whole = Whole()
    whole.call("idle", FAILED)
    whole.calls("down", FAILED, 5)
    whole.now += IDLE
    whole.call("new", FAILED)
    assert [key for key in ("idle", "down", "new") if whole.keys.record_of(key)] == ["down", "new"]


def test_a_key_that_was_used_lately_stays() -> None:
    """And those behind it are not looked at."""
    whole = Whole()
    whole.call("a", FAILED)
    whole.now += IDLE / 2
    whole.call("a", FAILED)
    whole.now += IDLE / 2
    whole.call("b", FAILED)
    assert len(whole.keys) == 2


def test_at_the_most_keys_the_one_used_longest_ago_goes() -> None:
    """Held or not; its messages would have to wait anyway if there were any."""
    whole = Whole(max_keys=2)
    whole.calls("a", FAILED, 5)
    whole.call("b", FAILED)
    assert whole.keys.held == 1
    whole.call("c", FAILED)
    assert (whole.keys.record_of("a"), len(whole.keys), whole.keys.held) == (None, 2, 0)


def test_a_key_with_messages_is_not_forgotten() -> None:
    """It would let all of them through. Then there are more for a while."""
    whole = Whole(max_keys=2)
    for key in "ab":
        whole.call(key, FAILED)
        whole.keys.known(key, whole.now).waiting = 1
    whole.call("c", FAILED)
    assert (len(whole.keys), whole.keys.record_of("a") is not None) == (3, True)
    whole.keys.known("a", whole.now).waiting = whole.keys.known("b", whole.now).waiting = 0
    whole.call("d", FAILED)
    assert len(whole.keys) == 2


def test_a_key_that_is_freed_while_messages_wait_is_told() -> None:
    """By a result, and by a call that was taken back."""
    whole = Whole(limits=Limits(concurrency=1))
    slot = whole.keys.start("a", 0.0)
    record = whole.keys.known("a", 0.0)
    whole.keys.give_back(slot)
    assert whole.keys.freed == []
    record.waiting = 1
    whole.keys.give_back(whole.keys.start("a", 0.0))
    whole.call("a", OK)
    assert whole.keys.freed == [record, record]
    whole.keys.give_back(None)


def test_an_override_lies_over_the_keys_as_well() -> None:
    """While an operator lets everything through, no key holds; afterwards it goes on as it was."""
    whole = Whole()
    whole.calls("a", FAILED, 5)
    whole.circuit.disable(whole.now)
    assert whole.free("a") is None
    whole.circuit.clear_override(whole.now)
    assert whole.free("a") == 0


def test_other_limits_are_those_of_each_key() -> None:
    """What was learned is forgotten; a key with messages is looked at again, and the rest is not remembered any more."""
    whole = Whole()
    whole.calls("a", FAILED, 5)
    whole.calls("b", FAILED, 5)
    record = whole.keys.known("a", whole.now)
    record.waiting = 1
    whole.keys.set_limits(Limits(rate=5, adaptive=False), whole.now)
    assert (whole.free("a"), len(whole.keys), whole.keys.held, whole.keys.freed, whole.keys.learns) == (5, 1, 0, [record], False)
    whole.keys.look_again()
    assert whole.keys.freed == [record, record]


def test_counts_are_shown_and_keys_are_not() -> None:
    """A key may be a customer's name."""
    whole = Whole()
    whole.calls("secret", FAILED, 5)
    assert whole.keys.snapshot() == KeysSnapshot(known=1, held=1, waiting=0, max_keys=1000)
    assert repr(whole.keys) == "<Keys of 'payments': 1 of 1 held>"
    assert "secret" not in repr(whole.keys.known("secret", 0.0))
    assert whole.keys.name == "payments"


def test_a_share_is_one_of_each_keys_numbers() -> None:
    """A worker of four has a quarter of what each tenant may have, also of other numbers later."""
    whole = Whole(limits=Limits(concurrency=8, adaptive=False))
    whole.circuit.limits.set_share(1 / 4, whole.now)
    whole.keys.start("acme", whole.now)
    assert whole.free("acme") == 1
    whole.keys.set_limits(Limits(concurrency=40, adaptive=False), whole.now)
    assert whole.free("acme") == 9
    whole.circuit.limits.set_share(1.0, whole.now)
    assert whole.free("acme") == 39


def test_a_share_of_what_keys_find_out_changes_nothing() -> None:
    """It is this worker's own part anyway, and is not forgotten for it."""
    whole = Whole()
    whole.calls("acme", FAILED, 5)
    whole.circuit.limits.set_share(0.5, whole.now)
    assert whole.free("acme") == 0
    whole.keys.set_limits(Limits(concurrency=8, adaptive=False), whole.now)
    whole.keys.start("globex", whole.now)
    assert whole.free("globex") == 3


@pytest.mark.parametrize("outcomes", [(FAILED,), (THROTTLED, OK), (OK,)])
def test_a_key_takes_less_than_a_kilobyte(outcomes: tuple[Outcome, ...]) -> None:
    """Down, throttled with a pace that was found, or with numbers of its own."""
    limits = Limits(rate=600, per=60, concurrency=3) if outcomes == (OK,) else None
    whole, count = Whole(limits=limits, max_keys=1000), 1000
    slot: KeySlot | None
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for turn in range(8):
            for number in range(count):
                whole.now += 0.01
                if whole.free(f"tenant-{number}") != 0:
                    slot = whole.keys.start(f"tenant-{number}", whole.now)
                    whole.keys.end(f"tenant-{number}", slot, outcomes[turn % len(outcomes)], whole.now, took=0.01)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(whole.keys) == count
    assert (after - before) / count < 1000


def test_messages_that_wait_are_counted_for_their_key_and_for_all() -> None:
    """Those that come and those that leave."""
    whole = Whole()
    first, other = whole.keys.known("a", 0.0), whole.keys.known("b", 0.0)
    whole.keys.count_waiting(first, 2)
    whole.keys.count_waiting(other, 1)
    whole.keys.count_waiting(first, -1)
    assert (first.waiting, other.waiting, whole.keys.waiting) == (1, 1, 2)


def test_keys_that_have_room_again_are_taken_once() -> None:
    """Each with every result that may have made room, until somebody takes them."""
    whole = Whole()
    record = whole.keys.known("a", 0.0)
    whole.keys.count_waiting(record, 1)
    whole.keys.look_again()
    assert (whole.keys.take_freed(), whole.keys.take_freed()) == ([record], [])


def test_as_many_keys_are_known_as_the_settings_name_by_themselves() -> None:
    """A hundred thousand, where nobody has said another number."""
    made = keys.Keys(Circuit("payments"), None, lambda: 0.5)
    assert made.max_keys == keys.MAX_KEYS == 100_000
