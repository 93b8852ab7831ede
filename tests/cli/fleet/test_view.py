"""What the records of a log say of its fleets: the fold of a reader, its tables, and what strangers have written."""

from __future__ import annotations

import io
import json

from rich.console import Console
from tests.fleet.world import NAME, World

from holdgate.cli.fleet import view
from holdgate.cli.fleet.view import LogSeen, as_document, fleets_of, show
from holdgate.fleet.records import Bye, FleetOrder, FleetRecord, Here, Lead, Need, Said, encode
from holdgate.fleet.snapshot import shown
from holdgate.ports import LogEntry

ONE, TWO, THREE = "111111111111", "222222222222", "333333333333"


def reading(*batches: tuple[float, list[bytes]]) -> LogSeen:
    found = LogSeen()
    for at, records in batches:
        found.add(at, [LogEntry(number, data) for number, data in enumerate(records)])
    return found


def said(worker: str, *words: Said, fleet: str = "fleet", first: int = 1) -> list[bytes]:
    return [encode(fleet, FleetRecord(worker, number, each)) for number, each in enumerate(words, first)]


def here(dependency: str = NAME, *, backlog: bool = True) -> Here:
    return Here(2, (Need(dependency, backlog, 8, 0),))


def printed(found: LogSeen, now: float) -> str:
    console = Console(file=io.StringIO(), width=120, highlight=False)
    show(fleets_of(found, now), console)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_members_and_a_well_dependency() -> None:
    """Each worker that is there is shown with the time since it was heard, and one that has left is not."""
    found = reading((0.0, said(ONE, here()) + said(TWO, here()) + said(THREE, here(), Bye())), (2.0, said(TWO, here(), first=2)))
    (fleet,) = fleets_of(found, 3.0)
    assert {member.worker: member.age for member in fleet.members} == {shown(ONE): 3.0, shown(TWO): 1.0}
    text = printed(found, 3.0)
    assert "fleet fleet: 2 workers" in text
    assert "3.0 s ago" in text
    assert "payments: well" in text


def test_a_real_outage_is_shown_as_its_workers_see_it() -> None:
    """Of the log of an outage and its ramp: down with a conductor first, then a limit whose shares add up to it."""
    world = World(5, down=lambda now: 10 <= now < 30)
    seen: dict[str, str] = {}
    while world.now < 60 and "ramp" not in seen:
        world.run(world.now + 0.25)
        batch = [data for at, data in world.log if at >= world.now - 30]
        (fleet,) = fleets_of(reading((world.now, batch)), world.now)
        (agreement,) = fleet.agreements
        if agreement.course != "well" and agreement.course not in seen:
            seen[agreement.course] = printed(reading((world.now, batch)), world.now)
        if agreement.course == "ramp":
            assert sum(sharer.share for sharer in agreement.sharers) == agreement.limit
    assert "payments: down, " in seen["wait"]
    assert "conductor " in seen["wait"]
    assert "in epoch 1" in seen["wait"]
    assert "payments: ramp, stage " in seen["ramp"]
    assert "for all workers together" in seen["ramp"]
    assert "messages wait" in seen["ramp"]


def test_an_operators_word_comes_first() -> None:
    """A hold is shown with who gave it, why, and how long it lasts."""
    word = FleetOrder(NAME, "hold", 1, again=False, lasts=600, reason="deploy", actor="ada")
    text = printed(reading((0.0, said(ONE, here(), word))), 60.0)
    assert "payments: hold by ada for 540 s more (deploy)" in text


def test_several_fleets_on_one_log() -> None:
    """Each has its own members, and the one with more records comes first."""
    found = reading((0.0, said(ONE, here(), fleet="small") + said(TWO, here(), here(), fleet="large")))
    assert [(fleet.name, len(fleet.members)) for fleet in fleets_of(found, 1.0)] == [("large", 1), ("small", 1)]


def test_strangers_records_are_skipped() -> None:
    """Bytes, other JSON, a thousand brackets, a long record and names that would move a cursor do no harm; nothing of them is shown."""
    lead = Lead("pay\x1b[2Jments", 1, "ramp", 1, 1, 0, 0, 0, 0)
    junk = [b"\xff", b"{}", b"[1]", b'{"f": 1}', b'{"f": "fleet"}', b"[" * 1000, b"x" * 5000, *said(TWO, lead)]
    found = reading((0.0, junk + said(ONE, here())))
    text = printed(found, 1.0)
    assert "fleet fleet: 1 worker\n" in text
    assert "\x1b" not in text
    assert printed(reading((0.0, junk[:-1])), 1.0) == ""


def test_made_up_fleets_and_dependencies_are_bounded(monkeypatch) -> None:
    """A log that is full of names shows some of them."""
    monkeypatch.setattr(view, "_MOST_FLEETS", 3)
    monkeypatch.setattr(view, "_MOST_DEPENDENCIES", 2)
    found = reading((0.0, [data for number in range(9) for data in said(ONE, *map(here, "abcdef"), fleet=f"fleet{number}")]))
    fleets = fleets_of(found, 1.0)
    assert [len(fleet.agreements) for fleet in fleets] == [2, 2, 2]


def test_nothing_was_read() -> None:
    """An empty log has no fleet."""
    assert fleets_of(LogSeen(), 1.0) == []
    assert as_document("here", LogSeen(), []) == {"place": "here", "records": 0, "bytes": 0, "fleets": []}


def test_the_document_is_json() -> None:
    """Members and dependencies are there with all that is known of them."""
    found = reading((0.0, said(ONE, here())))
    document = json.loads(json.dumps(as_document("here", found, fleets_of(found, 1.5))))
    (fleet,) = document["fleets"]
    assert fleet["members"] == [{"worker": shown(ONE), "age": 1.5}]
    (dependency,) = fleet["dependencies"]
    assert (dependency["dependency"], dependency["course"], dependency["epoch"]) == (NAME, "well", 0)
    assert dependency["sharers"] == [{"worker": shown(ONE), "backlog": True, "full": 8, "share": 0}]
