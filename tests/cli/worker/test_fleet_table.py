"""The fleet in the status for a terminal."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console
from tests.flow.test_status import NOW, agreed, circuit, document, fleet

from holdgate import State
from holdgate.cli.worker.table import render
from holdgate.core.guidance import Guidance, Phase
from holdgate.fleet.snapshot import FleetSnapshot, MemberSnapshot, SharerSnapshot


def shown(found: Any) -> str:
    console = Console(width=240, force_terminal=False)
    with console.capture() as capture:
        console.print(render(found))
    return capture.get()


def test_a_worker_in_no_fleet_says_nothing_of_one() -> None:
    """Most are in none."""
    assert "log" not in shown(document(circuit()))


SHARERS = tuple(SharerSnapshot(name, backlog=True, full=8, share=share) for name, share in (("3f2a1c", 1), ("a1b2c3", 3), ("777777", 0)))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"sharers": SHARERS},
            ("◪ RAMP 4", "a1b2c3 (this one) 3, 3f2a1c 1", "5 workers, 21 in a row", "3f2a1c, epoch 7", "more after stage 3"),
        ),
        ({"course": "wait", "probe_in": 12.0, "own": True}, ("■ WAIT", "this one, epoch 7", "probe in 12s (3rd)")),
        ({"course": "wait", "probe_in": 0.0, "failed_probes": 0, "conductor": None}, ("■ WAIT", "probe now ")),
        ({"course": "well", "bad": 1, "failures": 2}, ("□ WELL", "1 worker, 2 in a row")),
        ({"word": "hold", "actor": "ada", "word_ends_in": 600.0}, ("■ HELD by ada", "ends in 10m00s")),
        ({"word": "force_open", "actor": None}, ("■ FORCED OPEN", "until somebody ends it")),
    ],
)
def test_what_a_fleet_agrees_on_is_a_row(fields: dict[str, Any], words: tuple[str, ...]) -> None:
    """Its state, who has how much of the limit, whose calls fail, who conducts, and what is next."""
    text = shown(document(circuit(), fleet=fleet(agreed(**fields))))
    assert "□ the log of 'fleet' answers in 20 ms" in text
    assert "2 workers: a1b2c3 (this one), 3f2a1c" in text
    for each in words:
        assert each in text


def test_a_circuit_that_waits_for_all_shows_when_all_try_again() -> None:
    """It makes no try of its own; one that goes by its own rules does."""
    waiting = circuit(state=State.OPEN, open_until=NOW + 22, guidance=Guidance(Phase.WAIT, epoch=7))
    found = document(waiting, fleet=fleet(agreed(course="wait", phase="wait", probe_in=12.0)))
    (row, of_all) = [line for line in shown(found).splitlines() if " payments " in line]
    assert "probe in 12s (3rd)" in row
    assert "probe in 12s (3rd)" in of_all
    alone = circuit(state=State.OPEN, open_until=NOW + 22)
    assert "probe in 22s" in shown(document(alone, fleet=fleet(agreed(course="wait", phase="local", probe_in=12.0))))


def test_what_is_worst_for_all_comes_first() -> None:
    """Also where this worker sees it otherwise."""
    well = agreed(dependency="stock", course="well")
    coming, waiting = agreed(dependency="email"), agreed(dependency="ledger", course="wait")
    lines = shown(document(circuit("stock"), circuit("email"), circuit("ledger"), fleet=fleet(well, coming, waiting))).splitlines()
    table = lines[next(number for number, line in enumerate(lines) if "for all" in line) :]
    assert [name for line in table for name in ("ledger", "email", "stock") if f" {name} " in line] == ["ledger", "email", "stock"]


def test_a_silent_log_is_said_first() -> None:
    """From then on the worker goes by its own rules."""
    text = shown(document(circuit(), fleet=fleet(agreed(), silent_for=30.0)))
    assert "■ the log of 'fleet' has been silent for 30s: this worker goes by its own rules" in text


def test_members_are_counted_where_there_are_many() -> None:
    """The own one first, then who was silent longest."""
    others = tuple(MemberSnapshot(f"{number:06x}", 40.0 if number == 7 else 1.0, own=False) for number in range(20))
    members = (*others, MemberSnapshot("a1b2c3", 0.5, own=True))
    text = shown(document(circuit(), fleet=FleetSnapshot("fleet", "a1b2c3", None, 0.02, 0, 0, members, ())))
    assert "21 workers: a1b2c3 (this one), 000007 (heard 40s ago), 000000, " in text
    assert " and 11 more" in text
    alone = FleetSnapshot("fleet", "a1b2c3", None, 0.0, 0, 0, (), ())
    assert "this worker is a1b2c3, and has heard of no other yet" in shown(document(circuit(), fleet=alone))
