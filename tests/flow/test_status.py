from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any, get_type_hints

import pytest

from holdgate.core import Circuit, CircuitSnapshot, LimiterSnapshot, Override, Reason, State
from holdgate.core.events import CircuitOpened, OverrideSet
from holdgate.core.guidance import Guidance, Phase
from holdgate.fleet.snapshot import AgreementSnapshot, FleetSnapshot, MemberSnapshot, SharerSnapshot
from holdgate.flow.backlog import SourceBacklog
from holdgate.flow.events import AttributionShared, CommandEnded, CommandGiven, OutageSuspected, SourceBlocked
from holdgate.flow.history import LastEvents
from holdgate.flow.message import Backlog, Partition, Queue
from holdgate.flow.snapshot import FailureKind, PartlyWaiting, Snapshot, SourceSnapshot
from holdgate.flow.status import (
    DependencyStatus,
    FleetMemberStatus,
    FleetShareStatus,
    FleetStatus,
    HealthStatus,
    SourceStatus,
    StatusDocument,
    SummaryStatus,
    Surroundings,
    Wall,
    WorkerShareStatus,
    command_status,
    event_document,
    status,
)

NOW = 1000.0
EPOCH = 1_700_000_000.0
ORDERS, MAILS = Partition("orders", 3), Queue("mails")
HEALTH: HealthStatus = {"live": True, "ready": True, "started": True, "status": "ok", "reasons": [], "memory": ""}


def circuit(name: str = "payments", state: State = State.CLOSED, **fields: Any) -> CircuitSnapshot:
    base = replace(Circuit(name).snapshot(NOW), state=state, full=16)
    return replace(base, **fields)


def source(which: Partition | Queue = ORDERS, *reasons: str, since: float | None = None, **fields: Any) -> SourceSnapshot:
    base = SourceSnapshot(which, bool(reasons), reasons, since, fetch=not reasons, waiting=0, in_flight=0, needs=("payments",))
    return replace(base, **fields)


def document(
    *circuits: CircuitSnapshot,
    sources: tuple[SourceSnapshot, ...] = (),
    last: LastEvents | None = None,
    commands: tuple[CommandGiven, ...] = (),
    limit: int | None = None,
    **around: Any,
) -> StatusDocument:
    snapshot = Snapshot(
        NOW,
        {each.name: each for each in circuits},
        {each.source: each for each in sources},
        commands,
        fleet=around.get("fleet"),
        failures=around.get("failures", {}),
    )
    surroundings = Surroundings(Wall(EPOCH, NOW), EPOCH - 60, "here:1", "0.1", HEALTH, around.get("backlog", {}))
    return status(snapshot, last or LastEvents(), surroundings, limit=limit)


def waits(messages: int | None, which: Partition | Queue = ORDERS, drained_in: float | None = None, **figures: Any) -> dict[Any, Any]:
    return {which: SourceBacklog(which, "charger", Backlog(messages, **figures), NOW, None, drained_in)}


def hold(target: Any, until: float | None, command: Any = "hold") -> CommandGiven:
    return CommandGiven(NOW - 10, command, target, "alice", "the schema changes", until)


def agreed(**fields: Any) -> AgreementSnapshot:
    base = AgreementSnapshot(
        dependency="payments", course="ramp", epoch=7, conductor="3f2a1c", own=False, phase="ramp", stage=3, limit=4, since=60.0,
        failed_probes=2, probe_in=None, bad=5, failures=21, word=None, reason=None, actor=None, word_ends_in=None, sharers=(),
    )  # fmt: skip
    return replace(base, **fields)


def fleet(*agreements: AgreementSnapshot, silent_for: float | None = None) -> FleetSnapshot:
    members = (MemberSnapshot("a1b2c3", 0.5, own=True), MemberSnapshot("3f2a1c", 1.5, own=False))
    return FleetSnapshot("fleet", "a1b2c3", silent_for, 0.02, 0, 0, members, agreements)


def test_every_declared_field_is_written_and_is_json() -> None:
    """The types are the reference that users read: no key is missing, none is extra, at any level."""
    found = document(circuit(), sources=(source(),), commands=(hold(ORDERS, None),))
    assert found.keys() == get_type_hints(StatusDocument).keys()
    assert found["summary"].keys() == get_type_hints(SummaryStatus).keys()
    assert found["dependencies"][0].keys() == get_type_hints(DependencyStatus).keys()
    assert found["dependencies"][0]["failed_with"] == []
    assert found["sources"][0].keys() == get_type_hints(SourceStatus).keys()
    assert json.loads(json.dumps(found))["sources"][0]["needs"] == ["payments"]


def test_times_are_those_of_the_wall_clock() -> None:
    """`at - since` is how long something lasts; what is unknown stays null."""
    found = document(circuit(state=State.OPEN, open_until=NOW + 22), sources=(source(ORDERS, "circuit:payments", since=NOW - 14),))
    (shown,) = found["sources"]
    assert (found["at"], shown["since"], shown["next_try"]) == (EPOCH, EPOCH - 14, EPOCH + 22)
    assert found["dependencies"][0]["next_try"] == EPOCH + 22
    assert found["dependencies"][0]["since"] is None


def test_the_worst_dependency_comes_first() -> None:
    """Shut before half-open before overridden before limited before closed; then by what it holds, by its failures, and by name."""
    found = document(
        circuit("well"),
        circuit("limited", limits=LimiterSnapshot(0, None, 9.8, None, 990, 10, 3, "pace")),
        circuit("failing", failure_rate=0.2),
        circuit("observed", State.OPEN, override=Override.METRICS_ONLY),
        circuit("ramping", State.HALF_OPEN, limit=4),
        circuit("forced", override=Override.FORCED_OPEN),
        circuit("down", State.OPEN),
        sources=(source(ORDERS, "circuit:down", since=NOW, needs=("down",)), source(MAILS, waiting=7, needs=("limited",))),
    )
    assert [each["name"] for each in found["dependencies"]] == ["down", "forced", "ramping", "observed", "limited", "failing", "well"]
    assert found["summary"]["open"] == 2
    assert found["summary"]["ramping"] == 1
    assert found["summary"]["overridden"] == 2


def test_the_oldest_hold_comes_first_and_a_limit_cuts_the_rest() -> None:
    """Then what falls back, then what has most to do."""
    busy, idle, falling = Partition("orders", 0), Partition("orders", 1), Partition("orders", 2)
    sources = (
        source(idle),
        source(busy, waiting=9),
        source(falling, falling_back=True),
        source(MAILS, "operator", since=NOW - 5),
        source(ORDERS, "operator", since=NOW - 50),
    )
    found = document(circuit(), sources=sources, limit=3)
    assert [each["source"] for each in found["sources"]] == ["orders[3]", "mails", "orders[2]"]
    assert found["sources_left_out"] == 2
    assert [each["source"] for each in document(circuit(), sources=sources)["sources"]][3:] == ["orders[0]", "orders[1]"]
    summary = found["summary"]
    assert (summary["sources"], summary["partitions_held"], summary["queues_held"], summary["held_since"]) == (5, 1, 1, EPOCH - 50)


def test_a_dependency_sums_up_its_sources() -> None:
    """Those that need it, those that it holds, and what waits in them, at the broker too as far as that is known."""
    held = source(ORDERS, "circuit:payments", since=NOW, waiting=7)
    undeclared = source(MAILS, needs=(), waits_for=("payments",), waiting=2)
    other = source(Partition("orders", 4), needs=("email",), waiting=100, in_flight=3)
    backlog = waits(48, oldest_age=30.0, readable=40, blocked_for=7.0, delayed=3) | waits(None, Partition("orders", 4))
    found = document(circuit(state=State.OPEN), circuit("email"), sources=(held, undeclared, other), backlog=backlog)
    payments, email = found["dependencies"]
    assert (payments["sources"], payments["held"], payments["waiting"], payments["backlog"]) == (2, 1, 9, 48)
    assert (email["sources"], email["held"], email["waiting"], email["backlog"]) == (1, 0, 100, None)
    assert (found["summary"]["waiting"], found["summary"]["in_flight"], found["summary"]["backlog"]) == (109, 3, 48)
    shown = found["sources"][0]
    assert (shown["backlog"], shown["oldest"]) == (48, EPOCH - 30)
    assert (shown["readable"], shown["blocked_for"], shown["delayed"]) == (40, 7.0, 3)
    assert document(circuit())["summary"]["backlog"] is None


def test_what_waits_is_drained_when_the_slowest_source_is() -> None:
    """Of a dependency, and of all. One whose time nobody knows leaves the whole unknown; what is empty takes no time."""

    def drains(backlog: dict[Any, Any]) -> list[float | None]:
        sources = (source(ORDERS), source(Partition("orders", 4)), source(MAILS, needs=("email",)))
        found = document(circuit(), circuit("email"), sources=sources, backlog=backlog)
        by_name = {each["name"]: each["drain_seconds"] for each in found["dependencies"]}
        return [by_name["payments"], by_name["email"], found["summary"]["drain_seconds"]]

    slow, quick = waits(10, drained_in=60.0), waits(5, Partition("orders", 4), 5.0)
    assert drains(slow | quick | waits(1, MAILS, 90.0)) == [60.0, 90.0, 90.0]
    assert drains(slow | quick | waits(1, MAILS)) == [60.0, None, None]
    assert drains(slow | waits(0, MAILS)) == [60.0, 0.0, 60.0]
    assert drains({}) == [None, None, None]


def test_a_source_is_tried_when_the_last_of_its_reasons_is() -> None:
    """An operator's hold of the source or its name ends, and a circuit admits a probe; a reason without a time leaves it unknown."""
    down = circuit(state=State.OPEN, open_until=NOW + 22)
    both = source(ORDERS, "circuit:payments", "operator", since=NOW)

    def next_try(seen: SourceSnapshot, *commands: CommandGiven) -> float | None:
        return document(down, sources=(seen,), commands=commands)["sources"][0]["next_try"]

    assert next_try(both, hold("orders", NOW + 60)) == EPOCH + 60
    assert next_try(both, hold("orders", NOW + 60), hold(ORDERS, NOW + 90)) == EPOCH + 90
    assert next_try(both, hold("orders", NOW + 60), hold(ORDERS, None)) is None
    assert next_try(both) is None
    assert next_try(source(ORDERS, "blocked", "circuit:payments", since=NOW)) is None
    assert next_try(source(ORDERS)) is None


def test_each_source_that_is_held_by_keys_has_its_own_next_try() -> None:
    """The same reason, and other keys. What a circuit holds, too, waits for the later of the two; without keys it waits for the circuit."""
    down = circuit(state=State.OPEN, open_until=NOW + 20)
    held = [source(Partition("orders", n), "key:payments", since=NOW, key_try=NOW + 30 + n) for n in range(2)]
    both = source(Partition("orders", 2), "circuit:payments", "key:payments", since=NOW, key_try=NOW + 10)
    alone = source(Partition("orders", 3), "circuit:payments", since=NOW)
    shown = document(down, sources=(*held, both, alone))["sources"]
    assert {each["partition"]: each["next_try"] for each in shown} == {0: EPOCH + 30, 1: EPOCH + 31, 2: EPOCH + 20, 3: EPOCH + 20}


def test_an_override_decides_about_the_next_try() -> None:
    """A forced opening ends with its command; what is disabled or observed is not open at all."""

    def next_try(override: Override, *commands: CommandGiven) -> float | None:
        open_below = circuit(state=State.OPEN, open_until=NOW + 22, override=override)
        return document(open_below, commands=commands)["dependencies"][0]["next_try"]

    assert next_try(Override.FORCED_OPEN, hold("payments", NOW + 600, "force_open")) == EPOCH + 600
    assert next_try(Override.FORCED_OPEN) is None
    assert next_try(Override.DISABLED, hold("payments", NOW + 600, "disable")) is None
    # A topic that is named like a dependency is another thing.
    assert next_try(Override.FORCED_OPEN, hold("payments", NOW + 600)) is None


def test_what_events_said_is_shown_where_it_belongs() -> None:
    """Why a circuit opened, which message blocks a source, and which exception nobody claims."""
    last = LastEvents()
    last.note(CircuitOpened("payments", NOW - 9, 1, Reason.RETRY_AFTER, NOW + 5, 1, State.CLOSED))
    last.note(SourceBlocked(NOW - 5, ORDERS, 4711, 5, "KeyError"))
    last.note(OutageSuspected(NOW - 5, (MAILS,), "mailer.RelayDown", 9, 10, NOW - 5))
    sources = (source(ORDERS, "blocked", since=NOW - 5), source(MAILS, "unclaimed failures", since=NOW - 4))
    found = document(circuit(state=State.OPEN), sources=sources, last=last)
    dependency = found["dependencies"][0]
    assert (dependency["reason"], dependency["since"], dependency["down_since"]) == ("retry_after", EPOCH - 9, EPOCH - 9)
    blocked = {"position": 4711, "attempts": 5, "error": "KeyError", "suspect": False, "throttled": False}
    assert found["sources"][0]["blocked"] == blocked
    assert [each["suspected"] for each in found["sources"]] == [None, "mailer.RelayDown"]


def test_a_queue_has_no_partition() -> None:
    """The name that commands take is that of the queue."""
    (shown,) = document(circuit(), sources=(source(MAILS),))["sources"]
    assert (shown["source"], shown["name"], shown["partition"]) == ("mails", "mails", None)


def test_a_moment_is_written_the_same_each_time_until_the_clock_is_set() -> None:
    """Two clocks are never read in the same instant; who compares two answers must not see an entry change by a millisecond."""
    wall = Wall(EPOCH, NOW)
    assert wall.read_again(EPOCH + 60.0004, NOW + 60).at(NOW) == EPOCH
    assert wall.read_again(EPOCH + 59.95, NOW + 60).at(NOW) == EPOCH
    assert wall.read_again(EPOCH + 3660, NOW + 60).at(NOW) == EPOCH + 3600
    assert wall.read_again(EPOCH - 3540, NOW + 60).at(NOW) == EPOCH - 3600


def test_an_entry_of_the_audit_log_says_when_it_was_over() -> None:
    """One that ended by itself is the command with its end."""
    wall = Wall(EPOCH, NOW)
    given = hold(ORDERS, NOW + 60)
    shown = command_status(given, wall)
    assert shown == {
        "command": "hold", "target": "orders[3]", "actor": "alice", "reason": "the schema changes",
        "at": EPOCH - 10, "until": EPOCH + 60, "position": None, "ended": None,
    }  # fmt: skip
    assert command_status(CommandEnded(NOW + 60, given), wall) == shown | {"ended": EPOCH + 60}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            CircuitOpened("payments", NOW, 1, Reason.PROBE, NOW + 5, 2, State.HALF_OPEN, outage_since=NOW - 9),
            {
                "outage_since": EPOCH - 9,
                "name": "payments",
                "at": EPOCH,
                "generation": 1,
                "reason": "probe",
                "until": EPOCH + 5,
                "level": 2,
                "previous": "half_open",
            },
        ),
        (
            OverrideSet("payments", NOW, 1, Override.DISABLED, None),
            {"name": "payments", "at": EPOCH, "generation": 1, "override": "disabled", "until": None},
        ),
        (
            OutageSuspected(NOW, (MAILS,), "mailer.RelayDown", 9, 10, NOW - 60, began=NOW - 62),
            {"sources": ["mails"], "since": EPOCH - 60, "began": EPOCH - 62},
        ),
        (AttributionShared(NOW, MAILS, ("a", "b")), {"at": EPOCH, "source": "mails", "dependencies": ["a", "b"]}),
        (
            CommandEnded(NOW, hold("orders", NOW)),
            {"at": EPOCH, "given": command_status(hold("orders", NOW), Wall(EPOCH, NOW))},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_event_is_written_with_its_fields(event: Any, expected: dict[str, Any]) -> None:
    """Moments by the wall clock, members by their values, sources by their names."""
    found = event_document(event, Wall(EPOCH, NOW))
    assert found.keys() == {"event", *(field.name for field in fields(event))}
    assert {name: found[name] for name in expected} == expected
    assert json.loads(json.dumps(found)) == found


def test_a_dependency_says_what_its_calls_failed_with() -> None:
    """The type, how often, from when to when."""
    failures = {"payments": (FailureKind("HTTPStatusError 503", 412, NOW - 60, NOW - 1),)}
    payments, email = document(circuit(state=State.OPEN), circuit("email"), failures=failures)["dependencies"]
    assert payments["failed_with"] == [{"error": "HTTPStatusError 503", "count": 412, "first": EPOCH - 60, "last": EPOCH - 1}]
    assert email["failed_with"] == []


def test_where_each_message_has_its_own_needs_those_that_wait_are_counted() -> None:
    """A dependency sums up what waits for it, and not what waits for others; such a source comes before those at work."""
    mixed = source(
        ORDERS, needs=("payments", "email"), waiting=7, partly=PartlyWaiting(True, {"payments": 5}, behind=1, stands_because="order")
    )
    plain = source(MAILS, waiting=100, partly=PartlyWaiting(False, {"email": 3}), waits_for=("email",))
    found = document(circuit(state=State.OPEN), circuit("email"), sources=(source(Partition("orders", 4), waiting=9), plain, mixed))
    payments, email = found["dependencies"]
    assert (payments["sources"], payments["held"], payments["partly"], payments["waiting"]) == (3, 0, 1, 114)
    assert (email["sources"], email["partly"], email["waiting"]) == (2, 1, 3)
    assert [each["source"] for each in found["sources"]] == ["mails", "orders[3]", "orders[4]"]
    assert found["sources"][1]["partly"] == {"by_message": True, "waiting_for": {"payments": 5}, "behind": 1, "stands_because": "order"}
    assert found["sources"][0]["partly"] == {"by_message": False, "waiting_for": {"email": 3}, "behind": 0, "stands_because": None}
    assert found["sources"][2]["partly"] is None


def test_a_fleet_is_shown_as_its_worker_sees_it() -> None:
    """Its log, its members, and for each dependency who conducts, how many calls all may make, and this worker's share."""
    led = circuit(state=State.HALF_OPEN, limit=1, guidance=Guidance(Phase.RAMP, limit=1, stage=3, epoch=7))
    found = document(led, circuit("stock"), fleet=fleet(agreed()))
    shown = found["fleet"]
    assert shown is not None
    assert shown.keys() == get_type_hints(FleetStatus).keys()
    assert shown["members"][1].keys() == get_type_hints(FleetMemberStatus).keys()
    assert (shown["readable"], shown["silent_since"], [each["worker"] for each in shown["members"]]) == (True, None, ["a1b2c3", "3f2a1c"])
    share = found["dependencies"][0]["fleet"]
    assert share is not None
    assert share.keys() == get_type_hints(FleetShareStatus).keys()
    assert (share["conductor"], share["epoch"], share["stage"], share["limit"], share["share"]) == ("3f2a1c", 7, 3, 4, 1)
    assert found["dependencies"][1]["fleet"] is None
    assert document(led)["dependencies"][0]["fleet"] is None
    assert json.loads(json.dumps(found))["fleet"]["name"] == "fleet"


def test_shares_are_those_of_a_fleet_that_comes_back() -> None:
    """The largest first, and who has work before who has none; while the fleet waits or is well nobody has one."""
    sharers = tuple(SharerSnapshot(name, backlog, 8, share) for name, backlog, share in (("c", False, 0), ("b", True, 0), ("a", True, 3)))
    half_open = circuit(state=State.HALF_OPEN, limit=3)
    share = document(half_open, fleet=fleet(agreed(sharers=sharers)))["dependencies"][0]["fleet"]
    assert share is not None
    assert share["shares"][0].keys() == get_type_hints(WorkerShareStatus).keys()
    assert [(each["worker"], each["backlog"], each["share"]) for each in share["shares"]] == [
        ("a", True, 3),
        ("b", True, 0),
        ("c", False, 0),
    ]
    assert (share["failing"], share["failures"]) == (5, 21)
    waiting = document(half_open, fleet=fleet(agreed(course="wait", sharers=sharers)))["dependencies"][0]["fleet"]
    assert waiting is not None
    assert waiting["shares"] == []


def test_a_fleets_moments_are_those_of_the_wall_clock() -> None:
    """When its next probe is due, when a word ends, and since when its log is silent. Nobody here tries in a wait for others."""
    waiting = circuit(state=State.OPEN, open_until=NOW + 22, guidance=Guidance(Phase.WAIT, epoch=7))
    held = agreed(course="wait", phase="wait", probe_in=12.0, word="hold", reason="migration", actor="ada", word_ends_in=600.0)
    found = document(waiting, fleet=fleet(held, silent_for=30.0))
    assert found["fleet"] is not None
    assert (found["fleet"]["readable"], found["fleet"]["silent_since"]) == (False, EPOCH - 30)
    share = found["dependencies"][0]["fleet"]
    assert share is not None
    assert (share["next_probe"], share["word_until"], share["share"]) == (EPOCH + 12, EPOCH + 600, None)
    assert found["dependencies"][0]["next_try"] is None
    probing = circuit(state=State.OPEN, open_until=NOW + 22, guidance=Guidance(Phase.PROBE, epoch=7))
    assert document(probing)["dependencies"][0]["next_try"] == EPOCH + 22
