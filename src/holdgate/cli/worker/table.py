"""The status of a worker as a table for a terminal. Shape and words say everything, and colour only repeats it.

Names and reasons come from elsewhere: what is not printable in them is shown escaped, so that no topic can move a cursor or colour a
screen.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from holdgate.cli.worker.fleet_table import next_for_all, render_fleet
from holdgate.cli.worker.words import FINE, NONE, OVERRIDDEN, RAMP, SHUT, clean, colour, ordinal, plural, short, soon, waiting
from holdgate.flow.explain import lets_none
from holdgate.flow.limiting import per_time
from holdgate.flow.status import DependencyStatus, FleetShareStatus, SourceStatus, StatusDocument, is_limited

# A terminal has some forty lines.
_SOURCES_SHOWN = 15
_LINE_AT_MOST = 300
# What lets nothing go for longer is worth a word: an inbox bridges the rest (flow/limiting.py).
_NOT_SOON = 5.0


def render(document: StatusDocument, *, all_sources: bool = False) -> RenderableType:
    """Return the first line, the table of dependencies, the held sources (all with `all_sources`), the fleet, and the commands in force."""
    parts: list[RenderableType] = [headline(document), _dependencies(document)]
    parts += [Text(line) for line in _failures(document)]
    chosen = [
        each
        for each in document["sources"]
        if all_sources
        or each["held"]
        or each["falling_back"]
        or each["blocked"]
        or each["retrying"]
        or each["blocked_for"]
        or _in_part(each)
    ]
    if chosen:
        parts.append(_sources(document, chosen, len(chosen) if all_sources else _SOURCES_SHOWN))
    parts += render_fleet(document)
    parts += [Text(line, style="magenta") for line in _commands(document)]
    return Group(*parts)


def silent(document: StatusDocument, error: str) -> RenderableType:
    """Return what was seen last, and that nobody answers now."""
    return Group(Text(clean(error, _LINE_AT_MOST), style="bold red"), Text("what follows is the last that was seen"), render(document))


def headline(document: StatusDocument) -> Text:
    """Return one line: who, how bad, since when."""
    summary = document["summary"]
    parts = [clean(document["worker"]), document["health"]["status"]]
    limited = sum(map(is_limited, document["dependencies"]))
    counts = (
        (summary["open"], "OPEN"),
        (summary["ramping"], "RAMPING"),
        (limited, "LIMITED"),
        (summary["overridden"], "overridden"),
    )
    parts += [f"{count} {word}" for count, word in counts if count]
    held = [plural(summary["partitions_held"], "partition"), plural(summary["queues_held"], "queue")]
    if any(held):
        parts.append(" + ".join(part for part in held if part) + " held")
    if summary["held_since"] is not None:
        parts.append(f"oldest hold {short(document['at'] - summary['held_since'])}")
    backlog, here = summary["backlog"], summary["waiting"]
    if backlog is None:
        parts.append(f"{here} waiting here")
    else:  # the broker counts those here, too, but was asked some seconds ago
        parts.append(f"{max(backlog, here)} waiting" + (f", {here} of them here" if here else ""))
    if summary["drain_seconds"] is not None and backlog:
        parts.append(f"drained in about {short(summary['drain_seconds'])}")
    return Text(" · ".join(parts), style="bold")


def _dependencies(document: StatusDocument) -> Table:
    table = Table("dependency", "state", "pressure", "held", "waiting", "next", expand=False)
    for each in document["dependencies"]:
        mark, state = _state(document, each)
        agreed = each["fleet"]
        table.add_row(
            Text(clean(each["name"])),
            Text(f"{mark} {state}", style=colour(mark)),
            _pressure(each),
            _held(each),
            waiting(each["waiting"], each["backlog"]),
            next_for_all(document, agreed) if agreed is not None and _is_led(each, agreed) else _next(document, each),
        )
    return table


def _state(document: StatusDocument, each: DependencyStatus) -> tuple[str, str]:
    since = "" if each["down_since"] is None else f" {short(document['at'] - each['down_since'])}"
    if each["override"] == "forced_open":
        return SHUT, "FORCED OPEN"
    if each["override"] is not None:
        return OVERRIDDEN, {"disabled": "DISABLED", "metrics_only": "OBSERVED"}.get(each["override"], each["override"])
    if each["state"] == "open":
        return SHUT, f"OPEN{since}"
    if each["state"] == "half_open":
        return RAMP, f"RAMP {each['limit']} of {each['full']}"
    return (RAMP, "LIMITED") if is_limited(each) else (FINE, "CLOSED")


def _pressure(each: DependencyStatus) -> str:
    parts = _limit(each)
    if each["failure_rate"] is not None:
        parts.append(f"{each['failure_rate']:.0%} fail")
    elif each["consecutive_failures"]:
        parts.append(f"{each['consecutive_failures']} failed in a row")
    if each["slow_call_rate"]:
        parts.append(f"{each['slow_call_rate']:.0%} slow")
    return ", ".join(parts) or NONE


def _limit(each: DependencyStatus) -> list[str]:
    """Return how many calls it takes, as far as that is known."""
    limits = each["limits"]
    if limits is None:
        return []
    lets = "would let" if limits["observed"] else "lets"
    parts: list[str] = []
    if lets_none(each):
        parts.append("lets nothing through")
    elif limits["pace"] is not None:
        parts.append(f"{lets} {per_time(limits['pace'])} through")
    elif limits["width"] is not None:
        parts.append(f"{lets} {limits['width']} in parallel through")
    return [*parts, f"{limits['waste']:.0%} refused"] if limits["refused"] else parts


def _held(each: DependencyStatus) -> str:
    parts = [f"{each['held']} of {each['sources']}"] if each["held"] else []
    if each["partly"]:
        parts.append(f"{each['partly']} in part")
    return ", ".join(parts) or NONE


def _is_led(each: DependencyStatus, agreed: FleetShareStatus) -> bool:
    """Return whether it waits because its fleet does, and not by its own rules."""
    return each["state"] == "open" and each["override"] is None and (agreed["word"] is not None or agreed["phase"] == "wait")


def _next(document: StatusDocument, each: DependencyStatus) -> str:
    if each["override"] is not None:
        until = each["override_until"]
        return "until somebody ends it" if until is None else f"ends {soon(until - document['at'])}"
    if each["next_try"] is not None:
        tries = f" ({ordinal(each['failed_tries'] + 1)})" if each["failed_tries"] else ""
        return f"probe {soon(each['next_try'] - document['at'])}{tries}"
    starts = _next_start(document, each)
    if starts is not None:
        return starts
    if each["drain_seconds"] is not None and each["backlog"]:
        return f"drained in about {short(each['drain_seconds'])}"
    if is_limited(each):
        pace = None if each["limits"] is None else each["limits"]["pace"]
        return "the next call when one has ended" if pace is None else f"goes on, {per_time(pace)}"
    return "more after a good stage" if each["state"] == "half_open" else NONE


def _next_start(document: StatusDocument, each: DependencyStatus) -> str | None:
    """Return when its limit lets the next call start. None means soon, or that only a result lets it."""
    limits = each["limits"]
    if limits is None or limits["next_start"] is None:
        return None
    wait = limits["next_start"] - document["at"]
    if limits["why"] in {"throttled", "down"}:
        return f"asks {soon(wait)}"
    return f"the next call {soon(wait)}" if wait >= _NOT_SOON else None


def _failures(document: StatusDocument) -> Iterator[str]:
    for each in document["dependencies"]:
        if each["failed_with"]:
            counts = ", ".join(f"{clean(kind['error'])} x {kind['count']}" for kind in each["failed_with"])
            first = document["at"] - min(kind["first"] for kind in each["failed_with"])
            last = document["at"] - max(kind["last"] for kind in each["failed_with"])
            yield f"{clean(each['name'])} failed with {counts}: the first {short(first)} ago, the last {short(last)} ago"


def _sources(document: StatusDocument, chosen: list[SourceStatus], most: int) -> Table:
    table = Table("source", "held for", "because of", "waiting", "next", expand=False)
    for each in chosen[:most]:
        table.add_row(
            Text(clean(each["source"])),
            NONE if each["since"] is None else short(document["at"] - each["since"]),
            Text(_because(each)),
            waiting(each["waiting"], each["backlog"]),
            _next_of(document, each),
        )
    more = len(chosen) - most + document["sources_left_out"]
    if more > 0:
        table.caption = f"and {more} more"
    return table


def _next_of(document: StatusDocument, each: SourceStatus) -> str:
    due = each["next_try"]
    if due is None and not each["held"] and each["retrying"] is not None:
        due = each["retrying"]["next_try"]
    return NONE if due is None else soon(due - document["at"])


def _because(each: SourceStatus) -> str:
    reasons = [clean(reason) for reason in each["reasons"]]
    if each["falling_back"]:
        reasons.append("falls back")
    reasons += _in_part(each)
    if each["blocked"] is not None:
        reasons.append(f"waits behind message {each['blocked']['position']}")
    elif each["retrying"] is not None:
        failed = f" ({clean(each['retrying']['error'])})" if each["retrying"]["error"] else ""
        reasons.append(f"message {each['retrying']['position']} waits for its next try{failed}")
    if each["blocked_for"]:
        reasons.append(f"an open transaction for {short(each['blocked_for'])}")
    return ", ".join(reasons) or NONE


def _in_part(each: SourceStatus) -> list[str]:
    waiting_for = {} if each["partly"] is None else each["partly"]["waiting_for"]
    return [f"{count} of its messages wait for {clean(name)}" for name, count in waiting_for.items()]


def _commands(document: StatusDocument) -> Iterator[str]:
    for each in document["commands"]:
        until = "until somebody ends it" if each["until"] is None else f"for another {short(each['until'] - document['at'])}"
        yield f"{each['command'].replace('_', ' ')} {clean(each['target'])} by {clean(each['actor'])}, {until}: {clean(each['reason'])}"
