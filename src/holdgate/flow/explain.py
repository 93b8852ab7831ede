"""A status document in plain English: why something waits, since when, and what happens next, in one paragraph.

`explain` reads the document and nothing else, so the text can be made wherever the document is: in the worker, on a command line, for
another machine's worker. The name is that of a source (`orders[3]`), of a topic or queue, or of a dependency.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from holdgate.flow.limiting import per_time
from holdgate.flow.plan import KEY
from holdgate.flow.status import BlockedStatus, CommandStatus, DependencyStatus, LimitStatus, RetryStatus, SourceStatus, StatusDocument

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0

# Why a circuit opened, by the reasons of core/states.py; with the figures where there are some.
_OPENED = {
    "failure_rate": "{value:.0%} of the calls failed, and {threshold:.0%} is the threshold",
    "slow_call_rate": "{value:.0%} of the calls were slow, and {threshold:.0%} is the threshold",
    "consecutive_failures": "{value:.0f} calls in a row failed",
    "probe": "the last probe failed",
    "slow_probe": "the last probe was slow",
    "permit_lease": "a call did not end in time",
    "retry_after": "the server asked for a wait",
    "open_for": "a program asked for a wait",
    "fleet": "the whole fleet waits for it",
}
# Without figures: those are missing if the threshold was not seen.
_OPENED_SOMEHOW = {
    "failure_rate": "too many of the calls failed",
    "slow_call_rate": "too many of the calls were slow",
    "consecutive_failures": "several calls in a row failed",
}
_OVERRIDES = {
    "forced_open": "forced open",
    "disabled": "disabled, so that every call goes through and nothing is counted",
    "metrics_only": "only observed, so that every call goes through",
}
_OTHERS = {
    "draining": "this worker is about to give it back, because it ends or the broker asked for it.",
    "dead letters": "a rejected message could not be sent to the dead letters yet; it is sent again and again.",
    "no needs": "the settings of the worker do not say what it needs: add it to `needs`.",
    "giving back": "its messages are on their way back to the broker.",
}


# Why what needs something else does not go on, by `stands_because`.
_STANDS = {
    "order": 'The others wait behind them, because order="source" lets nothing pass.',
    "held_span": "The others wait, too: as many as held_span allows have passed the oldest of them.",
    "memory": "The others wait, too: what waits fills the memory that the guard may use.",
}


class Unknown(LookupError):
    """Nothing of this name is in the document. The text names what is."""


def explain(document: StatusDocument, name: str) -> str:
    """Return one paragraph about a source, a topic or queue, or a dependency. Raises Unknown."""
    by_source = {each["source"]: each for each in document["sources"]}
    if name in by_source:
        return _of_source(document, by_source[name])
    of_name = [each for each in document["sources"] if each["name"] == name]
    if of_name:
        return _of_name(document, name, of_name)
    for dependency in document["dependencies"]:
        if dependency["name"] == name:
            return " ".join([*_of_dependency(document, dependency), _what_it_holds(dependency)])
    raise Unknown(_nothing_like(document, name))


def lasting(seconds: float) -> str:
    """Return a duration in words, rounded, by its largest unit: "22 seconds", "14 minutes", "3 hours". Of hours and days two at least."""
    seconds = max(0.0, seconds)
    if round(seconds / _HOUR) >= 2 * _DAY / _HOUR:
        return _count(round(seconds / _DAY), "day")
    if round(seconds / _MINUTE) >= 2 * _HOUR / _MINUTE:
        return _count(round(seconds / _HOUR), "hour")
    if round(seconds) >= _MINUTE:
        return _count(round(seconds / _MINUTE), "minute")
    return _count(round(seconds), "second")


def _count(number: int, one: str, several: str | None = None) -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"


# -- sources --------------------------------------------------------------------------------------------------------------------------


def _of_name(document: StatusDocument, name: str, sources: list[SourceStatus]) -> str:
    held = [each for each in sources if each["held"]]
    more = document["sources_left_out"]
    left_out = f" ({more} sources are not listed here)" if more else ""
    if len(sources) == 1 and not more:
        return _of_source(document, sources[0])
    if not held:
        return f"None of the {len(sources)} partitions of {name} here is held{left_out}. {_of_source(document, sources[0])}"
    which = f"All {len(sources)}" if len(held) == len(sources) else f"{len(held)} of the {len(sources)}"
    are = "is" if len(held) == 1 else "are"
    return f"{which} partitions of {name} here {are} held{left_out}. The oldest hold: {_of_source(document, held[0])}"


def _of_source(document: StatusDocument, source: SourceStatus) -> str:
    sentences = _held(document, source) if source["held"] else _not_held(document, source)
    if source["blocked"] is not None and source["blocked"]["suspect"]:
        sentences.append(_suspect(source["blocked"]))
    elif source["retrying"] is not None:
        sentences.append(_retrying(document, source["retrying"]))
    return " ".join([*sentences, _waiting(document, source)])


def _retrying(document: StatusDocument, retrying: RetryStatus) -> str:
    wait = retrying["next_try"] - document["at"]
    when = f"in {lasting(wait)}" if wait >= 1 else "within a second"
    if retrying["failures"]:
        times = _count(retrying["failures"], "time")
        return f"Message {retrying['position']} has failed {times} ({retrying['error']}), and is tried again {when}."
    why = f" after {retrying['error']}" if retrying["error"] else ", as its handler has asked"
    return f"Message {retrying['position']} is tried again {when}{why}."


def _suspect(blocked: BlockedStatus) -> str:
    times = _count(blocked["attempts"], "time")
    if blocked["throttled"]:
        return (
            f"It waits behind message {blocked['position']}, which a limit has refused {times} in a row ({blocked['error']}). It is tried "
            "again; if it is larger than its limit, it never passes."
        )
    return (
        f"It waits behind message {blocked['position']}, which has failed {times} ({blocked['error']}): "
        "no other message was tried meanwhile, so it may be this message, or an outage. It is tried again."
    )


def _held(document: StatusDocument, source: SourceStatus) -> list[str]:
    since = source["since"]
    first = f"{source['source']} is held" + ("." if since is None else f" for {lasting(document['at'] - since)}.")
    sentences = [first, *(_reason(document, source, reason) for reason in source["reasons"]), *_passed(source)]
    if source["next_try"] is not None and len(source["reasons"]) > 1:
        sentences.append(f"It goes on in {lasting(source['next_try'] - document['at'])} at the earliest.")
    return sentences


def _not_held(document: StatusDocument, source: SourceStatus) -> list[str]:
    if source["falling_back"]:
        return [f"{source['source']} is not held: its messages go to the fallback, {source['fallbacks']} so far."]
    waiting_for = {} if source["partly"] is None else source["partly"]["waiting_for"]
    sentences = [f"{source['source']} is not held.", *_passed(source)]
    for dependency in _needed(document, [*source["needs"], *source["waits_for"]]):
        is_changed = dependency["state"] == "half_open" or dependency["override"] is not None
        has_held_keys = dependency["keys"] is not None and dependency["keys"]["held"] > 0
        if dependency["name"] in waiting_for or is_changed or dependency["limits"] is not None or has_held_keys:
            sentences += _of_dependency(document, dependency)
    if not source["fetch"]:
        sentences.append("Nothing more is fetched now, because enough of it is in this process.")
    return sentences


def _passed(source: SourceStatus) -> list[str]:
    """Return which of its messages wait, and whether the others go on."""
    partly = source["partly"]
    if partly is None or not partly["waiting_for"]:
        return []
    counts = [f"{_count(count, 'message')} for {name}" for name, count in partly["waiting_for"].items()]
    behind = partly["behind"]
    more = f", and {behind} behind them, because they have the same key" if behind else ""
    because = partly["stands_because"]
    others = "The others go on." if because is None else _STANDS.get(because, f"The others wait, too ({because}).")
    wait = f"Of its messages these wait: {_listed(counts)}{more}."
    return [wait] if source["held"] and because is None else [wait, others]  # something else holds the others


def _listed(several: Sequence[str]) -> str:
    return several[0] if len(several) == 1 else f"{', '.join(several[:-1])} and {several[-1]}"


def _reason(document: StatusDocument, source: SourceStatus, reason: str) -> str:
    kind, _, name = reason.partition(":")
    if kind == "circuit":
        return " ".join(sentence for each in _needed(document, [name]) for sentence in _of_dependency(document, each))
    if kind in {"limit", "key"}:
        return " ".join(_by_key(each, source) if kind == "key" else _limited(document, each) for each in _needed(document, [name]))
    if reason == "operator":
        return " ".join(_order(document, each) for each in _holds(document, source)) or "An operator holds it."
    if reason == "unclaimed failures":
        error = f" with {source['suspected']}" if source["suspected"] else ""
        return (
            f"Most of its messages failed{error}, which no dependency claims. If something is down, add the exception to its `failures`; "
            "if it is a bug or a format change, mend the handler. It goes on when a message succeeds."
        )
    if reason == "blocked":
        return _blocked(source)
    return f"Besides, {_OTHERS.get(reason, f'its reason is `{reason}`.')}"


def _blocked(source: SourceStatus) -> str:
    blocked = source["blocked"]
    if blocked is None:
        return "A message that was rejected has nowhere to go. The log names it."
    place = f"{source['source']} {blocked['position']}"
    failed = f"failed {_count(blocked['attempts'], 'time')} by its own fault" if blocked["attempts"] else "was rejected"
    error = f" ({blocked['error']})" if blocked["error"] else ""
    return (
        f"Message {blocked['position']} {failed}{error} and has nowhere to go: deploy a handler that can take it, or give it up with "
        f"`holdgate skip {place}`."
    )


def _holds(document: StatusDocument, source: SourceStatus) -> list[CommandStatus]:
    targets = {source["source"], source["name"]}
    return [each for each in document["commands"] if each["command"] == "hold" and each["target"] in targets]


def _order(document: StatusDocument, command: CommandStatus) -> str:
    until = command["until"]
    ends = "until somebody ends that" if until is None else f"for another {lasting(until - document['at'])}"
    return f"{command['actor']} holds it {ends}: {command['reason'].rstrip('.')}."


def _waiting(document: StatusDocument, source: SourceStatus) -> str:
    here = f"{_how_many(source['waiting'])} in this process"
    running = f", {source['in_flight']} {'is' if source['in_flight'] == 1 else 'are'} being worked on" if source["in_flight"] else ""
    behind = (
        "" if source["backlog"] is None else f", and {source['backlog'] or 'none'} at the broker{' in all' if source['backlog'] else ''}"
    )
    oldest = "" if source["oldest"] is None else f", the oldest for {lasting(document['at'] - source['oldest'])}"
    return " ".join([f"{here}{running}{behind}{oldest}.", *_kept_back(source)])


def _how_many(waiting: int) -> str:
    return "No message waits" if not waiting else f"{_count(waiting, 'message')} {'waits' if waiting == 1 else 'wait'}"


def _kept_back(source: SourceStatus) -> list[str]:
    found: list[str] = []
    if source["blocked_for"] and source["backlog"] is not None and source["readable"] is not None:
        kept = source["backlog"] - source["readable"]
        found.append(
            f"An open transaction of a producer has kept {kept} of them back for {lasting(source['blocked_for'])}: "
            "they cannot be read before it ends."
        )
    if source["delayed"]:
        found.append(f"The broker keeps {source['delayed']} of them back for a later retry.")
    if source["drain_seconds"] is not None and source["backlog"]:
        found.append(_done_in(source["drain_seconds"]))
    return found


# -- dependencies ---------------------------------------------------------------------------------------------------------------------


def _needed(document: StatusDocument, names: Iterable[str]) -> list[DependencyStatus]:
    wanted = set(names)
    return [each for each in document["dependencies"] if each["name"] in wanted]


def _of_dependency(document: StatusDocument, dependency: DependencyStatus) -> list[str]:
    limited = [] if dependency["limits"] is None else [_limited(document, dependency)]
    return [*_by_its_circuit(document, dependency), *limited, *_of_keys(document, dependency)]


def _of_keys(document: StatusDocument, dependency: DependencyStatus) -> list[str]:
    keys = dependency["keys"]
    if keys is None or not keys["held"]:
        return []
    are, them = ("is", "it") if keys["held"] == 1 else ("are", "them")
    full = sum(f"{KEY}{dependency['name']}" in source["reasons"] for source in document["sources"])
    others = f"{_count(full, 'source')} can start nothing else" if full else "the others go on"
    return [f"{_count(keys['held'], 'key')} {are} held, {_count(keys['waiting'], 'message')} waiting for {them}; {others}."]


def _by_key(dependency: DependencyStatus, source: SourceStatus) -> str:
    keys = dependency["keys"]
    if keys is None or not keys["held"]:
        return f"The message in front has waited for its key of {dependency['name']}, which is free again."
    held = f"{_count(keys['held'], 'key')} of {dependency['name']} {'is' if keys['held'] == 1 else 'are'} held"
    if source["partly"] is not None:
        return f"{held}, and what waits for {'it' if keys['held'] == 1 else 'them'} fills it. It goes on when a key is free again."
    return (
        f'{held}, and the message in front needs one of them. order="source" keeps everything behind it; with order="key" or "none" the '
        "others would go on."
    )


def _by_its_circuit(document: StatusDocument, dependency: DependencyStatus) -> list[str]:
    if dependency["override"] is not None:
        return [_overridden(document, dependency)]
    led = _by_its_fleet(document, dependency)
    if dependency["state"] == "open":
        return [_open(document, dependency), led or _next(document, dependency), *([] if led else _left_alone(document))]
    if dependency["state"] == "half_open":
        return [(led or _ramping(dependency)) + _failed_with(document, dependency), *([] if led else _left_alone(document))]
    limits = dependency["limits"]
    is_limited = limits is not None and limits["refused"] > 0
    takes = "no calls for now" if lets_none(dependency) else "fewer calls than there are"
    how = f"answers, but takes {takes}" if is_limited else "is well"
    return [f"{dependency['name']} {how}: its circuit is closed.{_failed_with(document, dependency)}"]


def _by_its_fleet(document: StatusDocument, dependency: DependencyStatus) -> str:
    """Return how the fleet leads a circuit. Empty where the circuit goes by its own rules."""
    fleet, name = dependency["fleet"], dependency["name"]
    if fleet is None or fleet["phase"] in {"local", "up"}:
        return ""
    if fleet["word"] is not None:
        until = fleet["word_until"]
        ends = "until somebody ends that" if until is None else f"for another {lasting(until - document['at'])}"
        return f"{fleet['word_actor']} keeps every worker of the fleet from it {ends}: {(fleet['word_reason'] or '').rstrip('.')}."
    due = fleet["next_probe"]
    when = "" if due is None else " now" if due < document["at"] + 1 else f" in {lasting(due - document['at'])}"
    conducts = "this worker conducts" if fleet["own"] else f"worker {fleet['conductor']} conducts"
    if fleet["conductor"] is None:
        return "It waits for the fleet: nobody conducts yet."
    if fleet["share"] is not None:
        waits = f"{name} waits for the fleet" if fleet["share"] == 0 else f"{name} comes back for the whole fleet"
        return f"{waits}: {conducts}, limit {fleet['limit']}, this worker's share {fleet['share']}."
    return f"It waits for the fleet: {conducts}, and tries it for all{when}."


def _left_alone(document: StatusDocument) -> list[str]:
    """Return that the fleet says nothing, so that this worker goes by its own rules."""
    fleet = document["fleet"]
    if fleet is None or fleet["silent_since"] is None:
        return []
    silent = lasting(document["at"] - fleet["silent_since"])
    return [f"The fleet's log has been silent for {silent}, so this worker goes by its own rules."]


# What holds calls back that only a result lets go, and what a message does when its time has come, by `why` of core/limits.py.
_ENDS_WITH_A_RESULT = {"width", "concurrency"}
_STARTS = {"throttled": "It has refused a call, and one message asks again", "down": "It has refused calls, and one message asks again"}


def _limited(document: StatusDocument, dependency: DependencyStatus) -> str:
    name, limits = dependency["name"], dependency["limits"]
    if limits is None:
        return f"{name} limits nothing any more."
    refused = f", after it has refused {limits['waste']:.1%} of its calls" if limits["refused"] else ""
    if lets_none(dependency):
        return f"{name} lets no call through now{refused}. {_asks(document, limits)}."
    pace = [] if limits["pace"] is None else [per_time(limits["pace"], "calls")]
    width = [] if limits["width"] is None else [f"{_count(limits['width'], 'call')} in parallel"]
    takes = " and ".join([*pace, *width])
    known = f"{name} {'would be given' if limits['observed'] else 'is given'} {takes}"
    first = f"{known if takes else f'It is not known how many calls {name} takes'}{refused}."
    if limits["observed"]:
        return f"{first} It is only observed, so nothing is held back."
    if limits["why"] in _ENDS_WITH_A_RESULT:
        return f"{first} The next call starts when one has ended."
    return first if limits["next_start"] is None else f"{first} {_asks(document, limits)}."


def lets_none(dependency: DependencyStatus) -> bool:
    """Return whether a dependency refuses all calls for so long that what needs it is held. Its numbers are then those of before."""
    limits = dependency["limits"]
    return limits is not None and not limits["observed"] and limits["why"] in _STARTS and dependency["held"] > 0


def _asks(document: StatusDocument, limits: LimitStatus) -> str:
    """Return what starts next, and when."""
    what = _STARTS.get(limits["why"], "The next call starts")
    wait = 0.0 if limits["next_start"] is None else limits["next_start"] - document["at"]
    return f"{what} {f'in {lasting(wait)}' if wait >= 1 else 'within a second'}"


def _ramping(dependency: DependencyStatus) -> str:
    name, limit = dependency["name"], dependency["limit"] or 0
    if limit > 1:
        return f"{name} comes back: {limit} of {dependency['full']} calls may run in parallel now, and more after each good stage."
    return f"{name} is tried with one call at a time; more are let through if that succeeds."


def _open(document: StatusDocument, dependency: DependencyStatus) -> str:
    since = dependency["down_since"]
    lasts = "counts as down" if since is None else f"has counted as down for {lasting(document['at'] - since)}"
    tries = dependency["failed_tries"]
    again = f" {_count(tries, 'try', 'tries')} since then {'has' if tries == 1 else 'have'} failed." if tries else ""
    return f"{dependency['name']} {lasts}{_why(dependency)}.{again}{_failed_with(document, dependency)}"


def _failed_with(document: StatusDocument, dependency: DependencyStatus) -> str:
    kinds = dependency["failed_with"]
    if not kinds:
        return ""
    counts = [f"{each['error']} ({_count(each['count'], 'time')})" for each in kinds]
    first = document["at"] - min(each["first"] for each in kinds)
    last = document["at"] - max(each["last"] for each in kinds)
    when = f"the first {lasting(first)} ago and the last {lasting(last)} ago" if first > last else f"{lasting(last)} ago"
    return f" Its calls failed with {_listed(counts)}, {when}."


def _why(dependency: DependencyStatus) -> str:
    reason, value, threshold = dependency["reason"], dependency["value"], dependency["threshold"]
    if reason is None:
        return ""
    if value is None or threshold is None:
        return f", because {_OPENED_SOMEHOW.get(reason) or _OPENED.get(reason, reason)}"
    return f", because {_OPENED.get(reason, reason).format(value=value, threshold=threshold)}"


def _next(document: StatusDocument, dependency: DependencyStatus) -> str:
    next_try = dependency["next_try"]
    if next_try is None:
        return "No try is planned."
    wait = next_try - document["at"]
    when = f"in {lasting(wait)}" if wait >= 1 else "now"
    return f"It is tried again {when}, with one call. If that succeeds, the work comes back 1, 2, 4 ... at a time."


def _overridden(document: StatusDocument, dependency: DependencyStatus) -> str:
    name, override = dependency["name"], dependency["override"] or ""
    what = _OVERRIDES.get(override, override)
    for command in document["commands"]:
        if command["target"] == name and command["command"] != "hold":
            until = command["until"]
            ends = "until somebody ends that" if until is None else f"for another {lasting(until - document['at'])}"
            return f"{name} is {what}, by {command['actor']}, {ends}: {command['reason'].rstrip('.')}."
    return f"{name} is {what}, by the program itself."


def _what_it_holds(dependency: DependencyStatus) -> str:
    if not dependency["sources"]:
        return "No source needs it."
    behind = "" if dependency["backlog"] is None else f", {dependency['backlog'] or 'none'} at the broker"
    drain = dependency["drain_seconds"]
    drained = "" if drain is None or not dependency["backlog"] else f" {_done_in(drain)}"
    whose = "its" if dependency["sources"] == 1 else "their"
    wait = "wait" if dependency["waiting"] > 1 else "waits"
    return (
        f"{_held_of(dependency)}{_in_part(dependency)}; "
        f"{dependency['waiting'] or 'none'} of {whose} messages {wait} in this process{behind}.{drained}"
    )


def _done_in(seconds: float) -> str:
    return f"At this rate they are done in {'a second' if seconds < 1 else f'about {lasting(seconds)}'}."


def _held_of(dependency: DependencyStatus) -> str:
    held, sources = dependency["held"], dependency["sources"]
    if sources == 1:
        return f"It {'holds' if held else 'does not hold'} the one source that needs it"
    which = "all" if held == sources else held or "none"
    return f"It holds {which} of the {sources} sources that need it"


def _in_part(dependency: DependencyStatus) -> str:
    partly = dependency["partly"]
    where = "in it" if dependency["sources"] == 1 else f"in {partly} of them"
    return f", and {where} only the messages that need it wait while the others go on" if partly else ""


def _nothing_like(document: StatusDocument, name: str) -> str:
    sources = document["sources"]
    known = {each["source"] for each in sources} | {each["name"] for each in sources}
    names = sorted(known | {each["name"] for each in document["dependencies"]})
    close = difflib.get_close_matches(name, names, n=3)
    shown = ", ".join(close or names[:10]) or "nothing"
    more = f"; {document['sources_left_out']} sources are not listed" if document["sources_left_out"] else ""
    return f"nothing here is named {name[:100]!a}; {'close to it' if close else 'there are'}: {shown}{more}"
