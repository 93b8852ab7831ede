"""What a fleet agrees on, as lines and a table for a terminal: its log, its members, and each dependency with the worst first."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from holdgate.cli.worker.words import FINE, NONE, RAMP, SHUT, clean, colour, listed, ordinal, plural, short, soon
from holdgate.flow.status import FleetShareStatus, FleetStatus, StatusDocument

# A line has room for some ten workers, and nobody reads more.
_WORKERS_SHOWN = 10
# A worker that was heard within a beat of good times is there (seconds).
_LATELY = 35.0

_WORDS = {"hold": "HELD", "force_open": "FORCED OPEN"}
_BADNESS = {SHUT: 2, RAMP: 1, FINE: 0}


def render_fleet(document: StatusDocument) -> Iterator[RenderableType]:
    """Return the lines about the fleet and its table. Nothing for a worker that is in none."""
    fleet = document["fleet"]
    if fleet is None:
        return
    yield _log(document, fleet)
    yield Text(_members(fleet))
    agreed = [(each["name"], each["fleet"]) for each in document["dependencies"] if each["fleet"] is not None]
    if agreed:
        yield _agreed(document, fleet, agreed)


def _log(document: StatusDocument, fleet: FleetStatus) -> Text:
    if fleet["silent_since"] is not None:
        silent = short(document["at"] - fleet["silent_since"])
        words = f"{SHUT} the log of {clean(fleet['name'])!r} has been silent for {silent}: this worker goes by its own rules"
        return Text(words, style="bold red")
    return Text(f"{FINE} the log of {clean(fleet['name'])!r} answers in {fleet['round_trip'] * 1000:.0f} ms")


def _members(fleet: FleetStatus) -> str:
    members = sorted(fleet["members"], key=lambda each: (not each["own"], -each["age"], each["worker"]))
    if not members:
        return f"this worker is {clean(fleet['worker'])}, and has heard of no other yet"
    shown = [_member(each["worker"], each["age"], own=each["own"]) for each in members[:_WORKERS_SHOWN]]
    return f"{plural(len(members), 'worker')}: {listed(shown, len(members))}"


def _member(worker: str, age: float, *, own: bool) -> str:
    if own:
        return f"{clean(worker)} (this one)"
    return clean(worker) if age < _LATELY else f"{clean(worker)} (heard {short(age)} ago)"


def _agreed(document: StatusDocument, fleet: FleetStatus, agreed: list[tuple[str, FleetShareStatus]]) -> Table:
    table = Table("for all", "state", "shares", "failing", "conductor", "next", expand=False)
    for name, each in sorted(agreed, key=lambda pair: -_BADNESS[_state(pair[1])[0]]):
        mark, state = _state(each)
        table.add_row(
            Text(clean(name)),
            Text(f"{mark} {state}", style=colour(mark)),
            Text(_shares(fleet, each)),
            _failing(each),
            Text(_conductor(each)),
            Text(next_for_all(document, each)),
        )
    return table


def _state(each: FleetShareStatus) -> tuple[str, str]:
    if each["word"] is not None:
        by = "" if each["word_actor"] is None else f" by {clean(each['word_actor'])}"
        return SHUT, f"{_WORDS.get(each['word'], clean(each['word']))}{by}"
    if each["course"] == "wait":
        return SHUT, "WAIT"
    return (RAMP, f"RAMP {each['limit']}") if each["course"] == "ramp" else (FINE, "WELL")


def _shares(fleet: FleetStatus, each: FleetShareStatus) -> str:
    """Return who has how much of the limit."""
    having = [share for share in each["shares"] if share["share"]]
    own = fleet["worker"]
    shown = [f"{clean(share['worker'])}{' (this one)' if share['worker'] == own else ''} {share['share']}" for share in having]
    return listed(shown[:_WORKERS_SHOWN], len(having)) or NONE


def _failing(each: FleetShareStatus) -> str:
    if not each["failing"]:
        return NONE
    return f"{plural(each['failing'], 'worker')}, {each['failures']} in a row"


def _conductor(each: FleetShareStatus) -> str:
    if each["conductor"] is None:
        return NONE
    return f"{'this one' if each['own'] else clean(each['conductor'])}, epoch {each['epoch']}"


def next_for_all(document: StatusDocument, each: FleetShareStatus) -> str:
    """Return what is next for all workers of a fleet."""
    if each["word"] is not None:
        until = each["word_until"]
        return "until somebody ends it" if until is None else f"ends {soon(until - document['at'])}"
    if each["course"] == "ramp":
        return f"more after stage {each['stage']}"
    if each["next_probe"] is not None:
        tries = f" ({ordinal(each['failed_probes'] + 1)})" if each["failed_probes"] else ""
        return f"probe {soon(each['next_probe'] - document['at'])}{tries}"
    return NONE
