"""What the settings of Resilience4j are in holdgate: taken over, of another meaning, or without an equal.

Every property that its Spring Boot starters bind is in one of the tables below. The defaults of Resilience4j are not written down: where an
instance says nothing, holdgate's own default holds, and a remark says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import Enum

from holdgate.cli.importing import spring_values as values
from holdgate.cli.importing.instances import DEFAULT, Application, Instance
from holdgate.cli.importing.properties import Property
from holdgate.config.toml_file import Place
from holdgate.errors import SettingsError
from holdgate.runtime.dependency import check_name


class Nearness(Enum):
    """How near a property of Resilience4j is to what there is here."""

    TAKEN = "taken over"
    OTHER = "taken over, and has another meaning"
    NONE = "no equal"


@dataclass(frozen=True, slots=True)
class Remark:
    """What became of one property, in words."""

    line: int
    name: str
    kind: Nearness
    words: str
    owner: tuple[str, str] = ("", "")
    """The module and the instance; nothing for what belongs to no instance."""


@dataclass(frozen=True, slots=True)
class Value:
    """One setting to be written, as TOML has it, and the line that it comes from."""

    place: Place
    text: str
    line: int
    owner: tuple[str, str]
    """The module and the instance."""


@dataclass
class Imported:
    """What a file becomes."""

    values: list[Value] = field(default_factory=list[Value])
    asides: dict[tuple[str, str], tuple[Value, ...]] = field(default_factory=dict[tuple[str, str], tuple[Value, ...]])
    """By module and instance, what belongs to a run that the file does not name."""
    remarks: list[Remark] = field(default_factory=list[Remark])
    problems: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])


@dataclass(frozen=True, slots=True)
class _Rule:
    """One property becomes one setting. `words` None means that both mean the same."""

    setting: tuple[str, ...]
    read: Callable[[str], object]
    words: str | None = None


_CLOSED_ONLY = "there is no such state here: an operator says force-open, disable or observe to a running guard"
_HEALTH = "an open circuit is degraded and never unhealthy here: docs/reference/health-and-snapshot.md"
_NOTHING = "nothing here needs it"
_IN_CODE = "a settings file names no code: say it where the dependency is made, as {0}"
_WAITING = "a message waits in the broker for as long as it takes, and is refused by nobody"

_CIRCUIT: Mapping[str, _Rule] = {
    "failureratethreshold": _Rule(("failure_rate_threshold",), values.percent),
    "slowcallratethreshold": _Rule(("slow_call_rate_threshold",), values.percent),
    "slowcalldurationthreshold": _Rule(("slow_call_duration",), values.duration),
    "minimumnumberofcalls": _Rule(("minimum_calls",), values.count),
    "waitdurationinopenstate": _Rule(
        ("open_duration",), values.duration, "it is the wait to the first probe; later waits follow the length of the outage (open_share)"
    ),
}
_NO_CIRCUIT = {
    "permittednumberofcallsinhalfopenstate": "half-open here is a probe, then a ramp of 1, 2, 4 ... calls (ramp.initial)",
    "maxwaitdurationinhalfopenstate": "the ramp judges each stage by its own time (ramp.stage_timeout, permit_lease)",
    "automatictransitionfromopentohalfopenenabled": "a guard always tries by itself when the wait is over",
    "transitiontostateafterwaitduration": _CLOSED_ONLY,
    "initialstate": _CLOSED_ONLY,
    "recordexceptions": _IN_CODE.format("failures="),
    "recordfailurepredicate": _IN_CODE.format("failures="),
    "recordresultpredicate": _IN_CODE.format("result_failures="),
    "ignoreexceptions": _IN_CODE.format("excluded="),
    "ignoreexceptionpredicate": _IN_CODE.format("excluded="),
    "registerhealthindicator": _HEALTH,
    "allowhealthindicatortofail": _HEALTH,
    "eventconsumerbuffersize": "observers get every event when it happens",
    "writablestacktraceenabled": "a held message raises nothing",
    "ignoreclassbindingexceptions": _NOTHING,
    "slidingwindowsynchronizationstrategy": "a circuit belongs to one event loop, and has no lock",
}
_NO_RATE = {
    "timeoutduration": _WAITING,
    "subscribeforevents": "observers get every event when it happens",
} | {name: _NO_CIRCUIT[name] for name in ("registerhealthindicator", "allowhealthindicatortofail", "eventconsumerbuffersize")}
_NO_RATE["writablestacktraceenabled"] = _NO_CIRCUIT["writablestacktraceenabled"]
_BULKHEAD = {"maxconcurrentcalls": _Rule(("limits", "concurrency"), values.count)}
_NO_BULKHEAD = {"maxwaitduration": _WAITING, "eventconsumerbuffersize": _NOTHING, "writablestacktraceenabled": _NOTHING}
_POOL = {
    "maxthreadpoolsize": _Rule(
        ("limits", "concurrency"), values.count, "it is how many calls may be in flight; a plain handler's thread is one of asyncio's"
    )
}
_NO_POOL = _NO_BULKHEAD | {
    "corethreadpoolsize": _NOTHING,
    "queuecapacity": _WAITING,
    "keepaliveduration": _NOTHING,
    "contextpropagators": "a handler runs in a context of its own: docs/explanation/between-messages.md",
}
_OWN_FAULT = "it counts only what is the message's own fault: while a dependency is down no attempt is used up"
_RETRY = {
    "maxattempts": _Rule(("attempts",), values.count, _OWN_FAULT),
    "waitduration": _Rule(("initial_backoff",), values.duration, _OWN_FAULT),
}
_NO_RETRY = {
    "intervalbifunction": "waits are initial_backoff, multiplier, max_backoff and jitter, or delivery.retry(after=) in the handler",
    "retryexceptionpredicate": "every failure of a message is tried again, but what not_retryable= names where the policy is made",
    "retryexceptions": "every failure of a message is tried again, but what not_retryable= names where the policy is made",
    "ignoreexceptions": _IN_CODE.format("RetryPolicy(not_retryable=)"),
    "resultpredicate": _IN_CODE.format("result_failures="),
    "consumeresultbeforeretryattempt": _NOTHING,
    "failaftermaxattempts": "a message that has used its attempts up is rejected: to the dead letters, or its partition is blocked",
    "eventconsumerbuffersize": _NOTHING,
}
_TIME = {
    "timeoutduration": _Rule(("timeout",), values.duration, "it is the time of a whole handler; that of a call is the client's own limit")
}
_NO_TIME = {"cancelrunningfuture": "a handler that is too late is always cancelled", "eventconsumerbuffersize": _NOTHING}

# What versions before 1.0, and some after them, called the same.
_OLD: Mapping[str, Mapping[str, str]] = {
    "circuitbreaker": {
        "ringbuffersizeinclosedstate": "slidingwindowsize",
        "ringbuffersizeinhalfopenstate": "permittednumberofcallsinhalfopenstate",
        "waitinterval": "waitdurationinopenstate",
        "waitdurationinopenstatemillis": "waitdurationinopenstate",
    },
    "ratelimiter": {
        "limitrefreshperiodinmillis": "limitrefreshperiod",
        "limitrefreshperiodinnanos": "limitrefreshperiod",
        "timeoutinmillis": "timeoutduration",
    },
    "bulkhead": {"maxconcurrentcall": "maxconcurrentcalls", "maxwaittime": "maxwaitduration"},
    "threadpoolbulkhead": {"keepalivetime": "keepaliveduration"},
    "retry": {"maxretryattempts": "maxattempts", "retryonresultpredicate": "resultpredicate"},
    "timelimiter": {},
}
# A ring buffer gives no rate before it is full.
_RING = "ringbuffersizeinclosedstate"
# Of two names, how much alike they must be for one to be a slip of the other.
_ALIKE = 0.8

# Properties that are read together, in groups by what makes sense of them.
_WINDOW = ("slidingwindowtype", "slidingwindowsize")
_BACKOFF = ("enableexponentialbackoff", "exponentialbackoffmultiplier")
_SPREAD = ("enablerandomizedwait", "randomizedwaitfactor")
_PERIOD = ("limitforperiod", "limitrefreshperiod")
_TOGETHER = {
    "circuitbreaker": (*_WINDOW, *_BACKOFF, *_SPREAD, "exponentialmaxwaitdurationinopenstate"),
    "ratelimiter": _PERIOD,
    "bulkhead": (),
    "threadpoolbulkhead": (),
    "retry": (*_BACKOFF, *_SPREAD, "exponentialmaxwaitduration"),
    "timelimiter": (),
}
_MULTIPLIER = 1.5  # these two are what Resilience4j takes where the file switches it on and says no more
_FACTOR = 0.5


def imported(application: Application) -> Imported:
    """Return what becomes of an application. What is wrong in it is in `problems`, and then the rest is no settings file."""
    result = Imported(problems=list(application.problems))
    for instance in application.instances:
        _Import(instance, result).run()
    _of_runs(application.instances, result)
    for said in application.others:
        result.remarks.append(Remark(said.line, said.name, Nearness.NONE, "it belongs to no instance"))
    result.remarks.sort(key=lambda remark: remark.line)
    result.problems.sort()
    return result


def _of_runs(instances: list[Instance], result: Imported) -> None:
    """Settings of `[retry]` and `[run]` hold for every run. Where instances differ, or one has them and another does not, nobody but the
    reader knows whose run is whose: a handler of the other would be given up after a time that nobody has set for it."""
    every = {instance.name for instance in instances} - {DEFAULT}
    for module in ("retry", "timelimiter"):
        names = [instance.name for instance in instances if instance.module == module]
        tables = {name: [value for value in result.values if value.owner == (module, name)] for name in names}
        said = {tuple(sorted((value.place, value.text) for value in table)) for table in tables.values() if table}
        having = {name for name, table in tables.items() if table}
        if not said or (len(said) == 1 and (DEFAULT in having or having >= every)):
            continue
        result.values = [value for value in result.values if value.owner[0] != module]
        result.asides.update({(module, name): tuple(table) for name, table in tables.items() if table})
        result.remarks = [_put_aside(remark) if remark.owner[0] == module else remark for remark in result.remarks]


def _put_aside(remark: Remark) -> Remark:
    if remark.kind is Nearness.NONE:
        return remark
    return replace(
        remark, kind=Nearness.OTHER, words=f"{remark.words}. It stands in the file as a comment: put it under [runs.NAME] of its run"
    )


class _Import:
    """Takes one instance over."""

    def __init__(self, instance: Instance, result: Imported) -> None:
        self.instance = instance
        self.owner = (instance.module, instance.name)
        self.result = result
        self.left = self._renamed(instance.values)
        self.root = _root(instance, result)

    def run(self) -> None:
        rules, without = {
            "circuitbreaker": (_CIRCUIT, _NO_CIRCUIT),
            "ratelimiter": ({}, _NO_RATE),
            "bulkhead": (_BULKHEAD, _NO_BULKHEAD),
            "threadpoolbulkhead": (_POOL, _NO_POOL),
            "retry": (_RETRY, _NO_RETRY),
            "timelimiter": (_TIME, _NO_TIME),
        }[self.instance.module]
        if self.instance.module == "circuitbreaker":
            self._window()
            self._waits("open_multiplier", "open_duration_max", "exponentialmaxwaitdurationinopenstate", "open_jitter")
        elif self.instance.module == "ratelimiter":
            self._rate()
        elif self.instance.module == "retry":
            self._waits("multiplier", "max_backoff", "exponentialmaxwaitduration", "jitter")
        for name, said in self.left.items():
            if name in rules:
                self._by(rules[name], said)
            else:
                self._remark(said, Nearness.NONE, without.get(name) or _unknown(name, [*rules, *without, *_TOGETHER[self.instance.module]]))

    def _renamed(self, values: Mapping[str, Property]) -> dict[str, Property]:
        """Return what an instance says by today's names. One that is there under both keeps today's."""
        old = _OLD[self.instance.module]
        found = {name: said for name, said in values.items() if name not in old}
        for name, said in values.items():
            if name not in old:
                continue
            if old[name] in found:
                self._remark(said, Nearness.NONE, f"it is an old name of {found[old[name]].name}, which is there too")
                continue
            found[old[name]] = replace(said, text=f"{said.text}ns") if name.endswith("innanos") else said
            if name == _RING:
                found.setdefault("minimumnumberofcalls", said)
        return found

    # -- one by one ---------------------------------------------------------------------------------------------------------------

    def _by(self, rule: _Rule, said: Property) -> None:
        value = self._read(said, rule.read)
        if value is None:
            return
        taken = next(
            (each for each in self.result.values if each.place == (*self.root, *rule.setting) and each.owner[0] != self.owner[0]), None
        )
        if taken is not None:
            self._remark(said, Nearness.NONE, f"{'.'.join(rule.setting)} is {taken.text} already, by line {taken.line}")
            return
        if value == 0:
            self._remark(said, Nearness.NONE, f"{'.'.join(rule.setting)} must be above 0, and keeps its default")
            return
        self._write(rule.setting, value, said, rule.read)
        self._remark(said, Nearness.TAKEN if rule.words is None else Nearness.OTHER, f"{'.'.join(rule.setting)}" + _tail(rule.words))

    def _read(self, said: Property, read: Callable[[str], object]) -> object | None:
        """Return the value, or None after a remark or a problem."""
        text, names, missing = values.without_placeholders(said.text)
        if missing is not None:
            self._remark(said, Nearness.NONE, f"its value comes from {missing}, which has no default in the file: write it by hand")
            return None
        if names:
            self._remark(
                said, Nearness.OTHER, f"the default of ${{{', '.join(names)}}} was taken; here an environment variable is HOLDGATE__..."
            )
        if text.lower() in {"", "null", "~"}:
            self._remark(said, Nearness.NONE, "it is empty")
            return None
        try:
            return read(text)
        except ValueError as error:
            self.result.problems.append((said.line, f"{said.name}: {error}, got {text!r}"))
            return None

    def _take(self, name: str, read: Callable[[str], object]) -> tuple[object | None, Property | None]:
        said = self.left.pop(name, None)
        return (None, None) if said is None else (self._read(said, read), said)

    def _write(self, setting: tuple[str, ...], value: object, said: Property, read: Callable[[str], object] | None = None) -> None:
        text = _seconds(float(str(value))) if read is values.duration else f'"{value:g}%"' if read is values.percent else _plain(value)
        self.result.values.append(Value((*self.root, *setting), text, said.line, self.owner))

    def _remark(self, said: Property, kind: Nearness, words: str) -> None:
        self.result.remarks.append(Remark(said.line, said.name, kind, words, self.owner))

    # -- what belongs together ----------------------------------------------------------------------------------------------------

    def _window(self) -> None:
        kind, of_kind = self._take(_WINDOW[0], str.upper)
        size, of_size = self._take(_WINDOW[1], values.count)
        if of_kind is not None and kind not in {None, "COUNT_BASED", "TIME_BASED"}:
            self.result.problems.append((of_kind.line, f"{of_kind.name}: must be COUNT_BASED or TIME_BASED, got {of_kind.text!r}"))
            return
        if of_size is None or size is None:
            if of_kind is not None:
                self._remark(
                    of_kind, Nearness.NONE, "without a slidingWindowSize the window is that of holdgate, 20 calls; there it is 100"
                )
            return
        is_time = kind == "TIME_BASED"
        self._write(("window", "seconds" if is_time else "calls"), size, of_size)
        for said in (of_kind, of_size):
            if said is not None:
                self._remark(said, Nearness.TAKEN, f"window = {{ {'seconds' if is_time else 'calls'} = {size} }}")
        least = self.left.get("minimumnumberofcalls")
        if not is_time and least is not None and least.text.isdigit() and int(least.text) > int(str(size)):
            del self.left["minimumnumberofcalls"]
            self._write(("minimum_calls",), size, least)
            self._remark(least, Nearness.TAKEN, f"minimum_calls = {size}: never more than the window holds, as there")

    def _waits(self, multiplier: str, longest: str, longest_there: str, jitter: str) -> None:
        is_growing, of_growing = self._take(_BACKOFF[0], values.switch)
        factor, of_factor = self._take(_BACKOFF[1], values.number)
        most, of_most = self._take(longest_there, values.duration)
        if is_growing and of_growing is not None:
            factor = factor if isinstance(factor, float) and factor >= 1 else _MULTIPLIER
            self._write((multiplier,), factor, of_factor or of_growing)
            if "waitdurationinopenstate" in self.left:
                self._by(_Rule(("open_duration",), values.duration), self.left.pop("waitdurationinopenstate"))
            if most and of_most is not None:
                self._write((longest,), most, of_most, values.duration)
        elif self.instance.module == "retry" and "waitduration" in self.left:
            self._write((multiplier,), 1.0, self.left["waitduration"])
        kind, tail = (Nearness.TAKEN, "") if is_growing else (Nearness.NONE, "enableExponentialBackoff is off, and so nothing grows there")
        for said, setting in ((of_growing, multiplier), (of_factor, multiplier), (of_most, longest)):
            if said is not None:
                self._remark(said, kind, tail or setting)
        self._spread(jitter)

    def _spread(self, jitter: str) -> None:
        is_spread, of_spread = self._take(_SPREAD[0], values.switch)
        share, of_share = self._take(_SPREAD[1], values.number)
        if is_spread and of_spread is not None:
            share = _FACTOR if share is None else share
            if isinstance(share, float) and share < 1:
                self._write((jitter,), share, of_share or of_spread)
                kind, words = Nearness.TAKEN, jitter
            else:
                kind, words = Nearness.NONE, f"{jitter} must be below 1, or a wait could be none at all; it keeps its default"
        else:
            kind, words = (
                Nearness.NONE,
                f"enableRandomizedWait is off there; here waits are spread ({jitter}), so that workers do not ask together",
            )
        for said in (of_spread, of_share):
            if said is not None:
                self._remark(said, kind, words)

    def _rate(self) -> None:
        calls, of_calls = self._take(_PERIOD[0], values.count)
        period, of_period = self._take(_PERIOD[1], values.duration)
        if calls and period and of_calls is not None and of_period is not None:
            self._write(("limits", "rate"), calls, of_calls)
            self._write(("limits", "per"), period, of_period, values.duration)
            words = "in no span of `per` do more calls start, wherever it begins: a cycle there lets twice as many through at its border"
            self._remark(of_calls, Nearness.OTHER, f"limits.rate: {words}")
            self._remark(of_period, Nearness.TAKEN, "limits.per")
            return
        for said in (of_calls, of_period):
            if said is not None:
                self._remark(
                    said, Nearness.NONE, "a rate needs limitForPeriod and limitRefreshPeriod; without a period it is 500 ns there, no limit"
                )


def _root(instance: Instance, result: Imported) -> Place:
    """Return the table of an instance."""
    if instance.module in {"retry", "timelimiter"}:
        return ("retry",) if instance.module == "retry" else ("run",)
    if instance.name == DEFAULT and instance.module == "circuitbreaker":
        return ("circuit",)
    try:
        return ("dependencies", check_name(instance.name))
    except SettingsError:
        words = "the name of a dependency is letters, digits and _ . : - up to 100, and begins with a letter or digit: rename the instance"
        result.problems.append((instance.line, f"resilience4j.{instance.module}: {instance.name!r}: {words}"))
        return ("dependencies", instance.name)


def _unknown(name: str, known: Iterable[str]) -> str:
    """Return what is said of a property that nobody knows, with the name that was meant if one is like it."""
    meant = get_close_matches(name, known, 1, _ALIKE)
    return "it is unknown here, and may be misspelt" + (f": is it {meant[0]}?" if meant else "")


def _tail(words: str | None) -> str:
    return "" if words is None else f": {words}"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) and not value.is_integer() else str(value)


def _seconds(seconds: float) -> str:
    """Return a duration as a settings file has it: the largest unit that makes a whole number, or seconds."""
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f'"{seconds / size:.0f}{unit}"'
    millis = round(seconds * 1000, 6)
    return f'"{millis:.0f}ms"' if millis.is_integer() else str(seconds)
