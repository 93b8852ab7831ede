"""What a limit means for sources: who waits and who starts, when a source is held, and what is announced."""

from __future__ import annotations

from tests.flow.stage import BILLS, ORDERS, Stage, parallel, positions, returned, run_of

from holdgate.core import Limits

TWO = Limits(concurrency=2, adaptive=False)
TEN_A_SECOND = Limits(rate=1, per=0.1, adaptive=False)
ONE_AN_HOUR = Limits(rate=1, per=3600.0, adaptive=False)


def limited(limits: Limits, **more: int) -> Stage:
    return Stage(
        "payments", run=run_of(["payments"], order="none", concurrency=more.pop("concurrency", 4), **more), limits={"payments": limits}
    )


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
    started = []
    for _ in range(50):
        for delivery in stage.start_all():
            started.append(round(stage.now, 2))
            stage.end(delivery, returned())
        stage.turn(later=0.01)
    assert len(started) == 5
    assert all(later - earlier > 0.095 for earlier, later in zip(started, started[1:], strict=False))
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
