"""Sources that one circuit holds at the same moment: their plans and events are those that each would get by itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.flow.stage import Stage, gate, partitions, run_of
from tests.flow.tenants import Tenants

from holdgate.flow.events import SourceHeld, SourceReleased
from holdgate.flow.holding import Down, HeldTogether, singly
from holdgate.flow.plan import SourcePlan
from holdgate.flow.policy import FallbackSettings, Needs
from holdgate.flow.state import Assignment, Run

SOURCES = partitions(3)
DOWN = SourcePlan(fetch=False, reasons=("circuit:payments",))


def opened(now: float = 0.0) -> Stage:
    """Three sources that need one circuit, which opens after what a test has done."""
    stage = Stage("payments", run=run_of(("payments",)), sources=SOURCES)
    stage.turn(later=now)
    stage.events()
    return stage


def held(stage: Stage) -> list[object]:
    return [event for event in stage.events() if isinstance(event, SourceHeld | SourceReleased)]


def test_every_source_is_held_and_announced() -> None:
    """In the order of their assignment, each by an event of its own, and all by the same plan."""
    stage = opened(now=1.0)
    stage.trip()

    assert held(stage) == [SourceHeld(1.0, source, ("circuit:payments",)) for source in SOURCES]
    assert [stage.run.plan.of(source) for source in SOURCES] == [DOWN] * 3
    assert stage.run.plan.of(SOURCES[0]) is stage.run.plan.of(SOURCES[2])
    assert [stage.assignment(source).hold.since for source in SOURCES] == [1.0] * 3
    assert stage.start_all() == []


def test_a_source_that_comes_in_the_outage_is_held_by_its_first_plan() -> None:
    """It is not in the plan yet, so not all that is planned is assigned."""
    stage = opened()
    stage.trip()
    (new,) = partitions(1, topic="bills")
    plan = stage.engine.assigned(stage.run, [new], 1.0)

    assert list(plan.sources) == [*SOURCES, new]
    assert plan.of(new) == DOWN


def test_sources_that_come_to_an_open_circuit_are_all_held() -> None:
    """By their first plan: there is none before it."""
    stage = Stage("payments", run=run_of(("payments",)), sources=())
    stage.trip()
    stage.engine.assigned(stage.run, SOURCES, 1.0)

    assert dict(stage.run.plan.sources) == dict.fromkeys(SOURCES, DOWN)


def test_a_second_look_announces_nothing() -> None:
    """They are held already."""
    stage = opened()
    stage.trip()
    stage.events()
    for source in SOURCES:
        stage.assignment(source).mark_dirty()
    stage.turn(later=1.0)

    assert (held(stage), stage.assignment(SOURCES[0]).hold.since) == ([], 0.0)


def test_events_are_made_when_they_are_taken() -> None:
    """The plan is there before: to make ten thousand events takes longer than to plan for ten thousand sources."""
    stage = opened()
    made: list[object] = []
    before = HeldTogether.events

    def events(together: HeldTogether) -> object:
        made.append(stage.run.plan.of(SOURCES[0]))
        return before(together)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HeldTogether, "events", events)
        stage.trip()
        assert made == []
        assert len(held(stage)) == 3

    assert made == [DOWN]


# -- what else holds a source, or may -------------------------------------------------------------------------------------------------


def nothing(_: Stage) -> None:
    """All three are alike."""


def operator(stage: Stage) -> None:
    stage.engine.hold(SOURCES[1])


def operator_before(stage: Stage) -> None:
    stage.engine.hold(SOURCES[1])
    stage.turn()


def closing(stage: Stage) -> None:
    stage.engine.closing(stage.run, [SOURCES[1]], stage.now)


def full(stage: Stage) -> None:
    stage.receive(500, source=SOURCES[1])


def unclaimed_failures(stage: Stage) -> None:
    """An outage that no need describes: all sources of its handler are held."""
    stage.assignment(SOURCES[1]).results.suspected = True


def limit(stage: Stage) -> None:
    stage.gates[0].held_by_limit = True


def one_asks(stage: Stage) -> None:
    """One message alone has failed again and again: sources fetch, to have another one to ask with."""
    stage.gates[0].asked_by = stage.assignment(SOURCES[0])


def fallback(stage: Stage) -> None:
    stage.run.fallback = FallbackSettings(after=0.0)


def probed(stage: Stage) -> None:
    """Held and released for a probe, so that the next hold is the same one."""
    stage.trip()
    stage.turn(later=10.0)


def undeclared(stage: Stage) -> None:
    search = gate("search")
    search.circuit.force_open(0.0)
    stage.assignment(SOURCES[1]).count_undeclared([search], 1)


def story(do: Callable[[Stage], None]) -> tuple[object, ...]:
    """What is announced and planned when the circuit opens after this, and when it is back."""
    stage = opened()
    do(stage)
    stage.gates[0].circuit.open_for(10.0, stage.now)
    stage.turn()
    told = [stage.events(), dict(stage.run.plan.sources), stage.run.plan.version]
    holds = [(stage.assignment(source).held, stage.assignment(source).hold.since) for source in SOURCES]
    stage.gates[0].circuit.reset(stage.now + 5.0)
    stage.turn(later=5.0)
    return *told, holds, stage.events(), dict(stage.run.plan.sources)


@pytest.mark.parametrize(
    "do", [nothing, operator, operator_before, closing, full, unclaimed_failures, limit, one_asks, fallback, probed, undeclared]
)
def test_the_short_way_finds_what_the_long_way_finds(do: Callable[[Stage], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same plans, and the same events of each source, whatever else holds one of them."""
    short = story(do)
    monkeypatch.setattr(Assignment, "hold_plainly", lambda *_: False)
    long = story(do)

    assert sorted(map(repr, short[0])) == sorted(map(repr, long[0]))  # type: ignore[call-overload]
    assert short[1:] == long[1:]


def test_two_circuits_hold_their_own() -> None:
    """One turn in which both open: each source for its reason, and those of one circuit together."""
    run = Run(Needs({"orders": ("payments",), "bills": ("search",)}), order="source", concurrency=None, inbox=500)
    stage = Stage("payments", "search", run=run, sources=[*partitions(2), *partitions(2, topic="bills")])
    stage.events()
    for each in stage.gates:
        each.circuit.open_for(10.0, 0.0)
    stage.turn()

    assert [(event.source, event.reasons) for event in stage.events() if isinstance(event, SourceHeld)] == [
        *((source, ("circuit:payments",)) for source in partitions(2)),
        *((source, ("circuit:search",)) for source in partitions(2, topic="bills")),
    ]


# -- the parts ------------------------------------------------------------------------------------------------------------------------


def test_a_gate_that_is_shut_holds() -> None:
    """Not one that is closed, nor no gate at all."""
    shut, closed = gate("shut"), gate("closed")
    shut.circuit.force_open(0.0)
    down = Down(1.0)

    assert [down[each] is not None for each in (shut, closed, None)] == [True, False, False]
    assert down[shut] is down[shut]


def test_a_gate_that_holds_otherwise_too_takes_the_long_way() -> None:
    """By its limit, by its keys, or so that its sources fetch: each source has a plan of its own then."""
    limited, asked, keyed = gate("limited"), gate("asked"), Tenants().gate
    limited.held_by_limit = True
    asked.asked_by = object()
    down = Down(1.0)
    for each in (limited, asked, keyed):
        each.circuit.force_open(0.0)
        assert each.shut
        assert down[each] is None


def test_a_gate_that_was_only_looked_at_announces_nothing() -> None:
    """Its sources were held already."""
    shut = gate()
    shut.circuit.force_open(0.0)
    down = Down(1.0)

    assert down[shut] is not None
    assert down.held() == []


def test_events_come_singly() -> None:
    """What is together, one by one, in its place among the others."""
    together = HeldTogether(1.0, ("circuit:payments",))
    together.sources += SOURCES[:2]
    alone = SourceReleased(1.0, SOURCES[2], 3.0)

    assert list(singly([alone, together, alone])) == [
        alone,
        SourceHeld(1.0, SOURCES[0], ("circuit:payments",)),
        SourceHeld(1.0, SOURCES[1], ("circuit:payments",)),
        alone,
    ]
