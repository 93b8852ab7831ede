"""The invariants on what a hold may cost the rest: memory, coming back, and the sources that need something else."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from tests.ledger.circuits import Span, spans

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.ledger.ledger import Entry

MIB = 1024 * 1024
# With fewer calls beside it a rate is chance.
ENOUGH = 100
STATES = ("opened", "half_opened", "closed")


def too_much_in_hand(entries: Sequence[Entry], allowed: int) -> Iterator[str]:
    """A worker never has more than `allowed` deliveries of one source in hand."""
    for entry in entries:
        if entry.kind == "sampled" and entry.facts["waiting"] > allowed:
            yield f"memory: {entry.who} had {entry.facts['waiting']} deliveries of a source in hand, allowed {allowed}"


def grown_while_held(entries: Sequence[Entry], allowed: float) -> Iterator[str]:
    """While a source is held, a worker's memory grows by no more than `allowed` MiB over what it was when the hold began."""
    held = spans(entries, ("held", "asking"), ("unheld",), lambda entry: (entry.who, entry.place))
    for (who, place), times in held.items():
        samples = [(entry.at, entry.facts["rss"]) for entry in entries if entry.kind == "sampled" and entry.who == who]
        for begin, end in times:
            inside = [rss for at, rss in samples if begin <= at <= end]
            if inside and max(inside) - inside[0] > allowed * MIB:
                yield f"memory: {who} grew by {(max(inside) - inside[0]) / MIB:.0f} MiB while {place} was held, allowed {allowed:g}"


def not_recovered(entries: Sequence[Entry], within: float) -> Iterator[str]:
    """`within` seconds after a dependency is healthy, every worker that still lives has closed its circuit, unless it is down again."""
    last = {entry.who: entry.at for entry in entries}
    for dependency in {entry.facts["dependency"] for entry in entries if entry.kind == "up"}:
        states = [entry for entry in entries if entry.kind in STATES and entry.facts["dependency"] == dependency]
        for at in _times(entries, "up", dependency):
            until = min([at + within, *(down for down in _times(entries, "down", dependency) if down > at)])
            now = {entry.who: entry.kind for entry in states if entry.at <= until}
            for who, state in now.items():
                if state != "closed" and until == at + within < last[who]:
                    yield f"not recovered: {who} has {dependency} {state}, {within:g} s after it was healthy"


def slowed_by_others(entries: Sequence[Entry], topic: str, dependency: str, share: float) -> Iterator[str]:
    """While `dependency` is down, `topic`, which does not need it, goes on at `share` or more of the rate it has meanwhile.

    Both are measured by the calls that pace the worker, between the notes `measuring="begin"` and `"end"`.
    """
    begin, end = _measured(entries)
    down = [(max(begin, since), min(end, until)) for since, until in _outages(entries, dependency)]
    edges = [begin, *(time for span in down for time in span), end]
    up = list(zip(edges[::2], edges[1::2], strict=True))
    yield from _compared(entries, topic, down, up, share=share, when=f"while {dependency} was down")


def slower_after(entries: Sequence[Entry], topic: str, dependency: str, share: float) -> Iterator[str]:
    """Once all circuits of `dependency` have closed after the last outage, `topic` runs at `share` or more of the rate before the first."""
    begin, end = _measured(entries)
    outages = _outages(entries, dependency)
    closed = [entry.at for entry in entries if entry.kind == "closed" and entry.facts["dependency"] == dependency]
    if not outages or not closed:
        yield f"rate: {dependency} was never down and closed again, so nothing is shown"
        return
    yield from _compared(entries, topic, [(closed[-1], end)], [(begin, outages[0][0])], share=share, when=f"after {dependency} came back")


def _compared(entries: Sequence[Entry], topic: str, now: list[Span], then: list[Span], *, share: float, when: str) -> Iterator[str]:
    processed = [entry.at for entry in entries if entry.kind == "processed" and entry.facts["topic"] == topic]
    paced = [entry.at for entry in entries if entry.kind == "paced"]
    pace_now, pace_then = _count(paced, now), _count(paced, then)
    if min(pace_now, pace_then) < ENOUGH:
        yield f"rate: {pace_now} and {pace_then} calls set the pace, too few to judge"
        return
    rate, full = _count(processed, now) / pace_now, _count(processed, then) / pace_then
    if rate < share * full:
        yield f"rate: {topic} ran at {rate / full if full else 0:.0%} of its rate {when}, wanted {share:.0%}"


def _count(times: list[float], within: list[Span]) -> int:
    return sum(max(0, bisect_left(times, end) - bisect_right(times, begin)) for begin, end in within)


def _measured(entries: Sequence[Entry]) -> Span:
    notes = {entry.facts["measuring"]: entry.at for entry in entries if entry.kind == "note" and "measuring" in entry.facts}
    return notes["begin"], notes["end"]


def _outages(entries: Sequence[Entry], dependency: str) -> list[Span]:
    return spans(entries, ("down",), ("up",), lambda entry: entry.facts["dependency"])[dependency]


def _times(entries: Sequence[Entry], kind: str, dependency: str) -> list[float]:
    return [entry.at for entry in entries if entry.kind == kind and entry.facts["dependency"] == dependency]
