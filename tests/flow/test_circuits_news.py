"""What the looks at circuits, limits and keys have to say in one turn, and by whose clock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from tests.flow.stage import Stage, gate

from holdgate.core import Circuit, Limits
from holdgate.core.keys import Keys
from holdgate.flow.circuits import CircuitChanges, HealthProbes
from holdgate.flow.events import LimitEnded, LocalCauseSuspected
from holdgate.flow.gate import Gate
from holdgate.flow.limiting import LimitChanges
from holdgate.flow.waiting import WaitingList


class Says:
    """A look that always has the same news."""

    def __init__(self, *news: Any) -> None:
        self.news = news

    def look(self, gates: Iterable[Gate], now: float) -> list[Any]:
        return list(self.news)


def test_what_limits_say_is_not_lost_where_a_dependency_has_keys() -> None:
    """Both are announced in one turn, after what the circuits themselves have done."""
    circuit = Circuit("payments", limits=Limits(concurrency=2, adaptive=False))
    keyed = Gate(circuit, Keys(circuit, None, lambda: 0.5))
    changes = CircuitChanges(WaitingList())
    of_limits, of_keys = LimitEnded(1.0, "payments", 1.0), LimitEnded(1.0, "payments:a", 2.0)
    changes._limits, changes._keys = Says(of_limits), Says(of_keys)  # type: ignore[assignment]
    circuit.open_for(10.0, 1.0)
    *before, first, second = changes.advance([keyed], 1.0)

    assert (first, second) == (of_limits, of_keys)
    assert len(before) == 1


def test_a_common_cause_is_suspected_as_of_the_turn_that_sees_it() -> None:
    """Two circuits have opened at about the same time, and the later one is seen now."""
    gates = [gate("mail"), gate("payments")]
    changes = CircuitChanges(WaitingList())
    gates[0].circuit.open_for(10.0, 1.0)
    assert [event for event in changes.advance(gates, 1.0) if isinstance(event, LocalCauseSuspected)] == []
    gates[1].circuit.open_for(10.0, 2.0)

    assert changes.advance(gates, 2.5)[-1] == LocalCauseSuspected(2.5, ("mail", "payments"))


def test_a_probe_that_has_begun_is_wanted_no_more() -> None:
    """Not before something fails again."""
    payments = gate()
    probes = HealthProbes()
    probes.watch(payments)
    payments.circuit.open_for(10.0, 0.0)
    payments.circuit.advance(10.0)
    payments.want_probe(wanted=True)
    probes.begin(10.0)

    assert (probes.begun, payments.probe_due) == ([payments], False)


@pytest.mark.parametrize(("observed", "walks"), [(False, 1), (True, 0)])
def test_what_waits_stands_anew_only_when_a_limit_comes_or_goes(observed: bool, walks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk along a line may be one along ten thousand messages. What is only observed limits nothing."""
    walked: list[Gate] = []
    monkeypatch.setattr(WaitingList, "regroup", lambda _, one: walked.append(one))
    one = Gate(Circuit("payments", limits=Limits(concurrency=2, adaptive=False)))
    if observed:
        one.circuit.observe(0.0)
    changes = LimitChanges(WaitingList())
    for second in range(3):
        changes.look([one], float(second))

    assert len(walked) == walks


def test_an_engine_says_when_admitting_has_opened_the_last_circuit_that_was_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What moves a circuit in the course of a turn is announced with the time of that turn."""
    stage = Stage("payments", "mail")
    stage.engine.gates["payments"].circuit.open_for(10.0, stage.now)
    stage.now = 1.0
    mail = stage.engine.gates["mail"].circuit
    grants = WaitingList.grants

    def opening(waiting: WaitingList, gates: Iterable[Gate], now: float) -> Any:
        mail.open_for(10.0, now)
        return grants(waiting, gates, now)

    monkeypatch.setattr(WaitingList, "grants", opening)
    stage.turn()

    assert [event for event in stage.events() if isinstance(event, LocalCauseSuspected)] == [LocalCauseSuspected(1.0, ("payments", "mail"))]


def test_a_limit_that_was_announced_is_told_to_be_over_when_nothing_limits_any_more() -> None:
    """No call ends and no circuit has an event then: that something of a limit is kept is why it is looked at."""
    limited = Gate(Circuit("payments", limits=Limits(rate=2, per=1.0)))
    changes = CircuitChanges(WaitingList())
    changes.advance([limited], 0.0)
    assert changes.pending
    changes._limits.seen[limited].told = limited.circuit.limits.snapshot(0.0)
    limited.circuit.set_limits(None, 5.0)
    assert changes.advance([limited], 7.0) == [LimitEnded(7.0, "payments", 7.0)]
    changes.advance([limited], 8.0)
    assert not changes.pending
