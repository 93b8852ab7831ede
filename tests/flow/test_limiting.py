"""What a limit means for sources: who waits and who starts, when a source is held, and what is announced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from tests.flow.stage import BILLS, ORDERS, Stage, half_open, parallel, positions, returned, run_of

from holdgate.core import LimiterSnapshot, Limits, Outcome
from holdgate.flow import limiting
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.events import LimitBegan, LimitEnded, LimitMoved, SourceHeld, SourceReleased
from holdgate.flow.limiting import per_time

THROTTLED = Attribution((NeedVerdict(Outcome.THROTTLED),), Cause.THROTTLED)
TWO = Limits(concurrency=2, adaptive=False)
TEN_A_SECOND = Limits(rate=1, per=0.1, adaptive=False)
ONE_AN_HOUR = Limits(rate=1, per=3600.0, adaptive=False)


def limited(limits: Limits) -> Stage:
    return Stage("payments", run=run_of(["payments"], order="none", concurrency=4), limits={"payments": limits})


def test_a_bulkhead_starts_so_many_and_the_next_when_one_ends() -> None:
    """In the order in which they came, though more lanes are free."""
    stage = limited(TWO)
    stage.receive(6)
    first, second = stage.start_all()
    assert positions([first, second]) == [0, 1]
    stage.end(second, returned())
    assert positions(stage.start_all()) == [2]


def test_a_rate_starts_one_at_a_time_and_the_plan_never_changes() -> None:
    """A source is not paused and resumed with each token: what cannot start waits."""
    stage = limited(TEN_A_SECOND)
    stage.receive(5)
    version = stage.run.plan.version
    started: list[float] = []
    for _ in range(50):
        for delivery in stage.start_all():
            started.append(round(stage.now, 2))
            stage.end(delivery, returned())
        stage.turn(later=0.01)
    assert len(started) == 5
    assert all(later - earlier > 0.095 for earlier, later in pairwise(started))
    assert stage.run.plan.version == version
    assert not stage.run.plan.of(ORDERS).held


def test_the_engine_wakes_when_the_next_call_may_start() -> None:
    """Nothing else happens meanwhile, so only a deadline can start it."""
    stage = limited(TEN_A_SECOND)
    stage.receive(2)
    stage.end(stage.start(), returned())
    deadline = stage.engine.next_deadline()
    assert deadline is not None
    assert 0.0 < deadline <= 0.11
    stage.turn(later=deadline - stage.now)
    assert positions(stage.start_all()) == [1]


def test_a_limit_of_one_dependency_holds_nothing_that_needs_another() -> None:
    """Bills need mail, which is not limited."""
    stage = Stage(
        "mail",
        "payments",
        run=run_of({"orders": ["payments"], "bills": ["mail"]}),
        sources=(ORDERS, BILLS),
        limits={"payments": ONE_AN_HOUR},
    )
    stage.receive(2)
    stage.end(stage.start(), returned())
    assert stage.start_all() == []
    (bill,) = stage.receive(1, BILLS)
    assert stage.start_all() == [bill]


def test_both_limits_must_have_room() -> None:
    """The narrower of two dependencies decides, and the wider one gives no slot away for nothing."""
    run = run_of(["payments", "mail"], order="none", concurrency=8)
    stage = Stage("payments", "mail", run=run, limits={"payments": TWO, "mail": Limits(concurrency=3, adaptive=False)})
    stage.receive(8)
    assert positions(stage.start_all()) == [0, 1]
    assert [gate.circuit.snapshot(0.0).in_flight for gate in stage.gates] == [2, 2]


def test_a_wait_longer_than_a_moment_holds_the_source() -> None:
    """As in an outage, with a reason of its own, and until time lets a call go."""
    stage = limited(ONE_AN_HOUR)
    stage.receive(3)
    stage.end(stage.start(), returned())
    stage.turn()
    assert stage.run.plan.of(ORDERS).reasons == ("limit:payments",)
    assert not stage.run.plan.of(ORDERS).fetch
    assert stage.start_all() == []
    stage.turn(later=3600.0)
    assert positions(stage.start_all()) == [1]


def test_a_limit_that_is_taken_away_frees_everything() -> None:
    """What waits stands in line for a lane alone, and the hold is over."""
    stage = limited(ONE_AN_HOUR)
    stage.receive(4)
    stage.end(stage.start(), returned())
    stage.turn()
    stage.gates[0].circuit.set_limits(None, stage.now)
    stage.turn()
    assert not stage.run.plan.of(ORDERS).held
    assert positions(stage.start_all()) == [1, 2, 3]


def test_an_outage_and_a_limit_are_two_reasons() -> None:
    """Neither clears the other."""
    stage = limited(ONE_AN_HOUR)
    stage.receive(3)
    stage.end(stage.start(), returned())
    stage.turn()
    stage.trip()
    assert stage.run.plan.of(ORDERS).reasons == ("circuit:payments", "limit:payments")
    stage.turn(later=10.0)
    assert stage.run.plan.of(ORDERS).reasons == ("limit:payments",)


def test_a_bulkhead_that_is_full_holds_nothing() -> None:
    """Only a result frees a slot, and that may come at any time."""
    stage = limited(TWO)
    stage.receive(4)
    stage.start_all()
    stage.turn(later=100.0)
    assert not stage.run.plan.of(ORDERS).held


def test_a_batch_is_cut_to_what_is_free() -> None:
    """The rest comes when there is room."""
    stage = parallel("payments")
    stage.gates[0].circuit.set_limits(TWO, 0.0)
    stage.receive(4)
    assert positions(stage.start_all()) == [0, 1]


# -- a limit that is found ------------------------------------------------------------------------------------------------------------


class Scripted:
    """A limiter that says what a test has written: how the law comes to that is not the plan's affair."""

    now: Scripted

    def __init__(self, limits: Limits | None, draw: Callable[[], float]) -> None:
        Scripted.now = self
        self.active = limits is not None
        self.may: int | None = None
        self.at: float | None = None
        self.seen = LimiterSnapshot(0, None, None, None, 0, 0, 0, "free")
        self.pressed = 0

    def free(self, now: float) -> int | None:
        return self.may

    def fits(self, now: float, weight: int) -> bool:
        return self.may is None or self.may >= weight

    def next_at(self, now: float) -> float | None:
        return self.at

    def start(self, now: float, weight: int = 1) -> int:
        if self.may:
            self.may -= weight
        return 1

    def end(self, *given: object) -> None:
        self.active = self.active or given[1] is Outcome.THROTTLED

    def give_back(self, token: int, now: float) -> None: ...

    def expect_more(self) -> None:
        self.pressed += 1

    def snapshot(self, now: float) -> LimiterSnapshot:
        return replace(self.seen, next_at=self.at)

    def shut(self, at: float, why: str = "throttled") -> None:
        """Nothing may start before this second."""
        self.may, self.at = 0, at
        self.seen = replace(self.seen, why=why, refused=self.seen.refused + 1)

    def asks(self) -> None:
        """One message may start, and only its result lets others go."""
        self.may, self.at = 1, None

    def opened(self, pace: float, width: int = 4) -> None:
        """A call was let in."""
        self.may, self.at = 4, None
        self.seen = replace(self.seen, pace=pace, width=width, why="pace", accepted=self.seen.accepted + 1)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A run of four lanes with ten messages, whose first has just been throttled."""
    monkeypatch.setattr("holdgate.core.limited_calls.Limiter", Scripted)
    stage = parallel("payments")
    stage.receive(10)
    first, *others = stage.start_all()
    stage.events()
    stage.engine.settle(first, THROTTLED, "HTTPStatusError", stage.now)
    for other in others:
        stage.engine.settle(other, returned(), "", stage.now)
    return stage


def test_a_short_wait_holds_nothing(scripted: Stage) -> None:
    """An inbox bridges it, and the message that was throttled goes first."""
    Scripted.now.shut(at=4.9)
    scripted.turn()
    assert not scripted.run.plan.of(ORDERS).held
    assert scripted.start_all() == []
    Scripted.now.asks()
    scripted.turn(later=4.9)
    assert positions(scripted.start_all()) == [0]


def test_a_long_wait_holds_until_a_call_is_let_in(scripted: Stage) -> None:
    """The plan does not change while one message asks, however often it is refused."""
    Scripted.now.shut(at=5.0)
    scripted.turn()
    assert scripted.run.plan.of(ORDERS).reasons == ("limit:payments",)
    version = scripted.run.plan.version
    for asked in range(1, 4):
        Scripted.now.asks()
        scripted.turn(later=30.0)
        (asking,) = scripted.start_all()
        assert asking.position == 0
        assert asking.attempt == 1
        Scripted.now.shut(at=scripted.now + 60.0)
        scripted.end(asking, THROTTLED)
        assert scripted.run.plan.version == version, asked
    Scripted.now.asks()
    scripted.turn(later=60.0)
    (asking,) = scripted.start_all()
    Scripted.now.opened(pace=9.8)
    scripted.end(asking, returned())
    assert not scripted.run.plan.of(ORDERS).held
    assert len(scripted.start_all()) == 4
    held = [event for event in scripted.events() if isinstance(event, SourceHeld | SourceReleased)]
    assert [type(event) for event in held] == [SourceHeld, SourceReleased]


def test_a_hold_ends_where_nobody_could_ask(scripted: Stage) -> None:
    """The message that was to ask is gone, and what comes next has to."""
    Scripted.now.shut(at=60.0)
    scripted.turn()
    for delivery in list(scripted.engine._waiting._entries):
        scripted.engine._waiting.take_out(delivery)
    Scripted.now.asks()
    scripted.turn(later=60.0)
    assert not scripted.run.plan.of(ORDERS).held
    assert len(scripted.start_all()) == 1


def test_a_dependency_that_is_held_by_its_limit_reserves_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that waits for it must not keep the one probe of another dependency from others."""
    monkeypatch.setattr("holdgate.core.limited_calls.Limiter", Scripted)
    run = run_of({"orders": ["payments", "mail"], "bills": ["mail"]}, order="none", concurrency=4)
    stage = Stage("payments", "mail", run=run, sources=(ORDERS, BILLS), limits={"payments": TWO})
    Scripted.now.shut(at=60.0)
    stage.receive(1)
    half_open(stage, "mail")
    (bill,) = stage.receive(1, BILLS)
    assert stage.run.plan.of(ORDERS).reasons == ("limit:payments",)
    assert stage.start_all() == []  # it stands in line behind the other
    stage.turn()
    assert stage.start_all() == [bill]


def test_a_limit_that_is_found_is_announced_once(scripted: Stage) -> None:
    """Ten seconds after it was found; again when it is another one by much, a minute later at the earliest; and when it is over."""
    Scripted.now.shut(at=0.25)
    scripted.turn()
    Scripted.now.opened(pace=50.0)
    scripted.turn(later=1.0)
    Scripted.now.opened(pace=10.0)
    scripted.turn(later=9.0)
    Scripted.now.opened(pace=10.5)
    scripted.turn(later=100.0)
    Scripted.now.opened(pace=5.0)
    scripted.turn(later=1.0)
    Scripted.now.opened(pace=10.0)
    scripted.turn(later=1.0)
    Scripted.now.opened(pace=20.0)
    scripted.turn(later=100.0)
    scripted.gates[0].circuit.set_limits(None, scripted.now)
    scripted.turn()
    scripted.turn()
    assert [event for event in scripted.events() if isinstance(event, LimitBegan | LimitMoved | LimitEnded)] == [
        LimitBegan(10.0, "payments", 10.0, 4, "pace"),
        LimitMoved(111.0, "payments", 5.0, 4, "pace", 10.0, 4),
        LimitMoved(212.0, "payments", 20.0, 4, "pace", 5.0, 4),
        LimitEnded(212.0, "payments", 212.0),
    ]


def test_what_only_a_result_lets_go_holds_no_source(scripted: Stage) -> None:
    """After a silence one call goes alone until it ends, and nobody knows when that is: it may be in a moment."""
    Scripted.now.may, Scripted.now.at = 0, None
    Scripted.now.seen = replace(Scripted.now.seen, why="throttled")
    scripted.turn()
    assert not scripted.run.plan.of(ORDERS).held


def test_nothing_is_kept_of_a_limit_that_was_over_before_it_was_announced(scripted: Stage) -> None:
    """There may be many of them in a year."""
    Scripted.now.shut(at=0.25)
    scripted.turn()
    scripted.gates[0].circuit.set_limits(None, scripted.now)
    scripted.turn()
    assert scripted.engine._circuit_changes._limits.seen == {}


def test_news_of_a_limit_goes_by_its_own_time(scripted: Stage) -> None:
    """However long the worker has run before. When it is over and that was announced, nothing is kept of it."""
    scripted.turn(later=1000.0)
    Scripted.now.shut(at=1000.25)
    scripted.turn()
    Scripted.now.opened(pace=50.0)
    scripted.turn(later=9.0)
    assert not [event for event in scripted.events() if isinstance(event, LimitBegan)]
    scripted.turn(later=1.0)
    scripted.gates[0].circuit.set_limits(None, scripted.now)
    scripted.turn()
    scripted.turn()
    assert [event for event in scripted.events() if isinstance(event, LimitBegan | LimitEnded)] == [
        LimitBegan(1010.0, "payments", 50.0, 4, "pace"),
        LimitEnded(1010.0, "payments", 10.0),
    ]
    assert scripted.engine._circuit_changes._limits.seen == {}


def test_a_width_without_a_pace_is_announced_as_well(scripted: Stage) -> None:
    """A pace that is found later is another limit."""
    fake = Scripted.now
    fake.may, fake.seen = 2, replace(fake.seen, width=2, why="width")
    scripted.turn()
    scripted.turn(later=9.0)
    assert not [event for event in scripted.events() if isinstance(event, LimitBegan)]
    scripted.turn(later=1.0)
    assert [event for event in scripted.events() if isinstance(event, LimitBegan)] == [LimitBegan(10.0, "payments", None, 2, "width")]
    fake.seen = replace(fake.seen, width=4)
    scripted.turn(later=60.0)
    fake.opened(pace=7.0)
    scripted.turn(later=60.0)
    moved = [event for event in scripted.events() if isinstance(event, LimitMoved)]
    assert [(event.width, event.pace) for event in moved] == [(4, None), (4, 7.0)]


def test_what_is_only_observed_is_announced_and_holds_nothing() -> None:
    """It says what it would let through: every second call is refused, and the message that was refused comes again."""
    stage = parallel("payments")
    stage.gates[0].circuit.observe(stage.now)
    stage.receive(400)
    for _ in range(300):
        stage.turn(later=0.1)
        assert not stage.run.plan.of(ORDERS).held
        for number, delivery in enumerate(stage.start_all()):
            stage.engine.settle(delivery, returned() if number == 0 else THROTTLED, "", stage.now)
    began = [event for event in stage.events() if isinstance(event, LimitBegan)]
    assert [event.observed for event in began] == [True]
    assert began[0].pace is not None
    assert 5.0 < began[0].pace <= 10.0


def test_every_refusal_of_a_message_counts_while_it_is_observed() -> None:
    """A message that is refused again though others pass says nothing of the limit otherwise. Here it is a call that was refused."""
    stage = parallel("payments")
    stage.gates[0].circuit.observe(stage.now)
    refused, *_ = stage.receive(20)
    tries = 0
    for _ in range(5):
        stage.turn(later=10.0)
        for delivery in stage.start_all():
            tries += delivery is refused
            stage.engine.settle(delivery, THROTTLED if delivery is refused else returned(), "", stage.now)
    seen = stage.gates[0].circuit.snapshot(stage.now).limits
    assert tries > 2
    assert seen is not None
    assert (seen.refused, seen.accepted) == (tries, 15)


def test_calls_that_had_started_before_do_not_end_a_hold(scripted: Stage) -> None:
    """Each of them had ended it, and the same look began it again: two lines in the log for each call, and partitions paused anew."""
    Scripted.now.shut(at=600.0)
    scripted.turn()
    version = scripted.run.plan.version
    for _ in range(3):
        Scripted.now.seen = replace(Scripted.now.seen, accepted=Scripted.now.seen.accepted + 1)
        scripted.turn(later=0.1)
    assert scripted.run.plan.version == version
    assert scripted.run.plan.of(ORDERS).reasons == ("limit:payments",)
    Scripted.now.opened(pace=9.8)
    scripted.turn(later=600.0)
    assert not scripted.run.plan.of(ORDERS).held


def test_a_limit_that_lets_nothing_through_is_announced_as_that(scripted: Stage) -> None:
    """Not with the numbers of before; and what it lets through when it has opened is another limit."""
    Scripted.now.opened(pace=28.0)
    scripted.turn()
    Scripted.now.shut(at=600.0)
    scripted.turn(later=10.0)
    Scripted.now.asks()
    scripted.turn(later=590.0)
    Scripted.now.shut(at=1200.0)
    scripted.turn(later=1.0)
    Scripted.now.asks()
    scripted.turn(later=599.0)
    Scripted.now.opened(pace=9.8)
    scripted.turn(later=1.0)
    assert [event for event in scripted.events() if isinstance(event, LimitBegan | LimitMoved)] == [
        LimitBegan(10.0, "payments", None, 0, "throttled", until=600.0),
        LimitMoved(1201.0, "payments", 9.8, 4, "pace", None, 0),
    ]


def test_a_gate_that_is_shut_for_a_moment_is_not_announced(scripted: Stage) -> None:
    """The next look finds it open, and the pace is said then."""
    Scripted.now.opened(pace=9.8)
    scripted.turn()
    Scripted.now.shut(at=10.5)
    scripted.turn(later=10.0)
    assert not [event for event in scripted.events() if isinstance(event, LimitBegan)]
    Scripted.now.opened(pace=9.6)
    scripted.turn(later=0.5)
    assert [event.pace for event in scripted.events() if isinstance(event, LimitBegan)] == [9.6]


@pytest.mark.parametrize(
    ("pace", "words"),
    [
        *((9.84, "9.84/s"), (999.4, "999/s"), (999.5, "1000/s"), (999.6, "1000/s"), (1250.4, "1250/s"), (1.0, "1/s")),
        *((0.2, "12 a minute"), (0.025, "1.5 a minute"), (1 / 60, "1 a minute"), (0.0139, "50 an hour")),
    ],
)
def test_a_pace_is_told_over_a_time_that_has_calls(pace: float, words: str) -> None:
    """Nobody knows what 0.0139 calls a second are."""
    assert per_time(pace) == words


def test_numbers_alone_let_a_throttled_message_wait_for_time() -> None:
    """They do not learn, so a message that came back immediately would be refused in a hot loop."""
    stage = limited(TWO)
    stage.receive(1)
    stage.end(stage.start(), THROTTLED)
    assert stage.start_all() == []
    stage.turn(later=0.3)
    assert positions(stage.start_all()) == [0]


def test_a_limiter_that_begins_to_limit_nothing_lets_all_go(scripted: Stage) -> None:
    """What waits in its line stands in line for a lane alone."""
    Scripted.now.shut(at=2.0)
    scripted.turn()
    assert scripted.start_all() == []
    Scripted.now.may = Scripted.now.at = None
    scripted.turn(later=0.1)
    assert len(scripted.start_all()) == 4


@pytest.mark.parametrize(("seconds", "held"), [(30.0, False), (59.5, False), (60.5, True)])
def test_a_source_is_held_where_a_start_is_a_minute_away(seconds: float, held: bool) -> None:
    """However long the worker has run before. What is shorter an inbox bridges."""
    stage = limited(Limits(rate=1, per=seconds, adaptive=False))
    stage.turn(later=1000.0)
    stage.receive(3)
    stage.end(stage.start(), returned())
    stage.turn()
    assert stage.run.plan.of(ORDERS).held is held


@pytest.mark.parametrize(
    ("found", "told", "is_another"),
    [(15.0, 10.0, True), (14.9, 10.0, False), (10.0, 15.0, True), (10.1, 15.0, False), (None, None, False), (None, 1.0, True)],
)
def test_half_as_much_again_or_a_third_less_is_another_limit(found: float | None, told: float | None, is_another: bool) -> None:
    """A limit is found by trying, and moves all the time."""
    assert limiting._is_another(found, told) is is_another


def began(stage: Stage) -> list[LimitBegan]:
    return [event for event in stage.events() if isinstance(event, LimitBegan)]


def test_numbers_alone_are_no_news() -> None:
    """Somebody has set them, and nothing is found."""
    stage = limited(TEN_A_SECOND)
    for _ in range(4):
        stage.turn(later=20.0)
    assert not [event for event in stage.events() if isinstance(event, LimitBegan | LimitMoved | LimitEnded)]


@pytest.mark.parametrize(
    ("limits", "pace", "width"),
    [(Limits(rate=10, per=1.0), None, 2), (Limits(concurrency=4), 5.0, None), (Limits(rate=20, per=1.0), 5.0, 2)],
)
def test_only_what_was_found_is_announced(monkeypatch: pytest.MonkeyPatch, limits: Limits, pace: float | None, width: int | None) -> None:
    """Beside it stand the numbers that somebody has set, which are not news."""
    monkeypatch.setattr("holdgate.core.limited_calls.Limiter", Scripted)
    stage = Stage("payments", run=run_of(["payments"], order="none", concurrency=4), limits={"payments": limits})
    Scripted.now.opened(pace=5.0 if pace else 10.0, width=2 if width else 4)
    Scripted.now.at = 30.0  # when the next one may start, as a pace has it: no time until which nothing may
    stage.turn()
    stage.turn(later=10.0)
    assert [(event.pace, event.width, event.until) for event in began(stage)] == [(pace, width, None)]


def test_a_rate_that_somebody_has_set_is_named_where_it_binds(scripted: Stage) -> None:
    """Three in flight were found, and one a second lets less through, though a call may start just now. Another width is then no news."""
    scripted.gates[0].circuit.set_limits(Limits(rate=1), scripted.now)
    limiter = Scripted.now
    limiter.shut(at=1.0, why="rate")
    limiter.seen = replace(limiter.seen, pace=1.0, width=3)
    scripted.turn()
    limiter.seen = replace(limiter.seen, why="free")
    scripted.turn(later=10.0)
    limiter.seen = replace(limiter.seen, width=6, why="rate")
    scripted.turn(later=100.0)
    limiter.seen = replace(limiter.seen, width=9, why="width")
    scripted.turn(later=1.0)
    limiter.seen = replace(limiter.seen, width=2, why="rate")
    scripted.turn(later=100.0)
    assert [event for event in scripted.events() if isinstance(event, LimitBegan | LimitMoved)] == [
        LimitBegan(10.0, "payments", 1.0, 3, "rate"),
        LimitMoved(111.0, "payments", None, 9, "width", 1.0, 3),
        LimitMoved(211.0, "payments", 1.0, 2, "rate", None, 9),
    ]
