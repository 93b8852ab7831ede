"""Guards in a fleet: one outage for all, one probe, one ramp; what a log in trouble does to a worker; an operator's commands for all."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

import pytest
from tests.runtime.fleet_stage import FleetWorker, Payments, all_in, conductors, fleet_in_an_outage, fleet_of, members
from tests.runtime.stage import Down, Handler, broker_with, dependency, quiet_guard, running, until

from holdgate import CircuitSettings, Dependency, Guard, Reject, State
from holdgate.core import CircuitOpened, Reason
from holdgate.core.events import Event
from holdgate.core.guidance import Phase
from holdgate.errors import CommandError, FleetLogError, SettingsError
from holdgate.events import CommandGiven, FleetLogFellSilent, FleetMembersChanged, FleetOpened, FleetOrdered, FleetRecovered
from holdgate.fleet.records import FleetOrder, FleetRecord, Here, Need, encode
from holdgate.fleet.settings import FleetSettings
from holdgate.fleet.snapshot import FleetSnapshot
from holdgate.runtime.fleet import Fleet
from holdgate.testing import LoopClock, MemoryIntake, in_virtual_time
from holdgate.testing.memory import LogTrouble, MemoryFleetLog, MemoryLogServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdgate.fleet.records import Said

HUNG, RAISES, READ_ONLY = LogTrouble(hung=True), LogTrouble(error="no"), LogTrouble(read_only=True)


async def fail() -> None:
    raise Down


def guidance_of(worker: FleetWorker) -> Any:
    """How its circuit is led; None: it goes by its own rules."""
    return worker.guard.snapshot().dependencies["payments"].guidance


# -- an outage ------------------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_an_outage_is_seen_by_all_together() -> None:
    """Fewer calls fail than five at each worker, which is what each needs alone; and it is one outage, announced by each."""
    payments = Payments()
    async with fleet_of(6, payments, MemoryLogServer()) as workers:
        await asyncio.sleep(3.0)
        payments.is_down = True
        await until(all_in(workers, State.OPEN))
        assert payments.failed <= 3 * len(workers)
        await until(lambda: all(worker.of(FleetOpened) for worker in workers))
        assert any(event.reason is Reason.FLEET for worker in workers for event in worker.of(CircuitOpened))


@in_virtual_time
async def test_failed_calls_outside_of_handlers_are_seen_by_all_together() -> None:
    """Of a web app, say: three failures at each of six workers open the fleet, where each would need five alone."""
    server = MemoryLogServer()
    async with AsyncExitStack() as stack:
        calling: list[tuple[Guard, Dependency]] = []
        for seed in range(6):
            called = Dependency("payments", failures=Down)
            guard = Guard(called, signals=False, clock=LoopClock((0.1 + seed / 10,)), fleet=MemoryFleetLog(server))
            calling.append((await stack.enter_async_context(guard), called))
        await until(lambda: all(len(seen.members) == len(calling) for guard, _ in calling if (seen := guard.snapshot().fleet) is not None))
        await asyncio.sleep(5.0)  # nobody has anything more to say, and no turn is due for half a minute
        for guard, called in [*calling, *calling, *calling]:
            if guard.circuit("payments").state is State.CLOSED:
                with pytest.raises(Down):
                    await called.call(fail)
            await asyncio.sleep(0.05)
        await until(lambda: all(guard.circuit("payments").state is State.OPEN for guard, _ in calling), 2.0)


def counting_turns(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the guard takes a turn, from now on."""
    turns: list[float] = []
    take = guard.turn

    def turn() -> None:
        turns.append(guard.now())
        take()

    monkeypatch.setattr(guard, "turn", turn)
    return turns


@in_virtual_time
async def test_what_others_write_of_themselves_costs_a_worker_no_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty records a second, as in an outage of what it does not need; it has read them, and misses them. An order comes at once."""
    server = MemoryLogServer()
    async with quiet_guard(dependency(), fleet=MemoryFleetLog(server)) as guard:
        await until(lambda: len(fleet_size(guard)) == 1)
        numbers = count(1)

        def write(said: Said) -> None:
            server.store([encode("fleet", FleetRecord("a" * 12, next(numbers), said))])

        write(Here(2, ()))
        await asyncio.sleep(5.0)
        turns = counting_turns(guard, monkeypatch)
        for _ in range(400):
            await asyncio.sleep(0.05)
            write(Here(2, (Need("payments", True, 4, 0),)))
        assert len(turns) <= 20  # for its own beat, and to see whether somebody is silent
        assert max(each.age for each in fleet_size(guard) if not each.own) < 0.1
        await until(lambda: len(fleet_size(guard)) == 1, 7.0)  # three of its beats, and nobody has said anything meanwhile
        turns.clear()
        before = guard.now()
        write(FleetOrder("payments", "hold", 1, False, 0, "migration", "ada"))
        await until(lambda: guard.circuit("payments").state is State.OPEN, 0.1)
        assert turns[0] == pytest.approx(before)


@in_virtual_time
async def test_a_worker_that_has_left_takes_no_turn_for_its_failed_calls_and_for_what_others_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody counts them any more, and the circuit is not open yet: as without a fleet."""
    called, server = dependency(), MemoryLogServer()
    async with quiet_guard(called, fleet=MemoryFleetLog(server)) as guard:
        await until(lambda: len(fleet_size(guard)) == 1)
        turns = counting_turns(guard, monkeypatch)
        for has_left in (False, True):
            if has_left:
                guard.fleet.leave()
            turns.clear()
            with pytest.raises(Down):
                await called.call(fail)
            await asyncio.sleep(0)
            assert (not turns) is has_left
            turns.clear()
            server.store([encode("fleet", FleetRecord("a" * 12, 1 + has_left, FleetOrder("payments", "reset", 1, False, 0, "", "")))])
            await asyncio.sleep(0.001)
            assert (not turns) is has_left


@in_virtual_time
async def test_one_worker_probes_for_all() -> None:
    """Never two calls at a time for as long as the outage lasts, and the others go on waiting past their own times."""
    async with fleet_in_an_outage(6) as (payments, workers):
        await until(lambda: payments.running == 0)
        payments.most, before = 0, payments.calls
        await asyncio.sleep(40.0)
        assert payments.most == 1
        assert 3 <= payments.calls - before <= 15
        assert sum(guidance_of(worker).phase is Phase.WAIT for worker in workers) >= len(workers) - 1


@in_virtual_time
async def test_a_server_that_asks_to_be_left_alone_is_left_alone_by_all() -> None:
    """It tells the one that probes to come again in five minutes: so long nobody calls it, though nobody has probed for so long."""
    payments, wishes = Payments(), [0.0]
    async with fleet_of(6, payments, MemoryLogServer(), retry_after=lambda _: wishes[0] or None) as workers:
        payments.is_down = True
        await until(all_in(workers, State.OPEN))
        await until(lambda: payments.running == 0)
        before, wishes[0] = payments.calls, 300.0
        await until(lambda: payments.calls > before)
        await asyncio.sleep(295.0)
        assert payments.calls == before + 1
        payments.is_down = False
        await until(all_in(workers, State.CLOSED), 60.0)


@in_virtual_time
async def test_the_fleet_comes_back_with_one_ramp_for_all() -> None:
    """The shares together are the fleet's limit at most, and all are closed in the end, those that had no share included."""
    async with fleet_in_an_outage(6, concurrency=4) as (payments, workers):
        await asyncio.sleep(20.0)
        payments.is_down = False
        seen: list[tuple[int, int]] = []

        def closed() -> bool:
            led = [guidance for worker in workers if (guidance := guidance_of(worker)) is not None and guidance.phase is Phase.RAMP]
            if led and len({guidance.stage for guidance in led}) == 1 and len(led) == len(workers):
                agreed = workers[0].guard.snapshot().fleet
                assert agreed is not None
                seen.append((sum(guidance.limit for guidance in led), agreed.agreements[0].limit))
            return all_in(workers, State.CLOSED)()

        await until(closed)
        assert all(shares <= limit for shares, limit in seen)
        assert max(limit for _, limit in seen) > 1
        assert all(worker.of(FleetRecovered) for worker in workers)


@in_virtual_time
async def test_a_source_without_a_share_is_held() -> None:
    """As by an open circuit: nothing is fetched for it, and it says so."""
    async with fleet_in_an_outage(4) as (payments, workers):
        payments.is_down = False
        await until(lambda: any(worker.state is State.HALF_OPEN for worker in workers))

        def without_share() -> list[FleetWorker]:
            return [worker for worker in workers if (led := guidance_of(worker)) and led.phase is Phase.RAMP and led.limit == 0]

        await until(lambda: bool(without_share()))
        await asyncio.sleep(0)
        worker = without_share()[0]
        (seen,) = worker.guard.snapshot().sources.values()
        assert (seen.held, seen.reasons, seen.fetch) == (True, ("circuit:payments",), False)
        await until(all_in(workers, State.CLOSED))
        assert worker.started


@in_virtual_time
async def test_a_worker_alone_in_trouble_opens_for_itself() -> None:
    """The others go on; nobody is led."""
    healthy, sick = Payments(), Payments()
    async with fleet_of(4, healthy, MemoryLogServer()) as workers:
        workers[0].payments = sick
        sick.is_down = True
        await until(lambda: workers[0].state is State.OPEN)
        await asyncio.sleep(5.0)
        assert [worker.state for worker in workers[1:]] == [State.CLOSED] * 3
        assert guidance_of(workers[0]) is None
        assert not any(worker.of(FleetOpened) for worker in workers)


@in_virtual_time
async def test_a_conductor_that_dies_is_followed_by_another() -> None:
    """Its log is cut and it stands still; the fleet recovers without it."""
    async with fleet_in_an_outage(4) as (payments, workers):
        fleet = workers[0].guard.snapshot().fleet
        assert fleet is not None
        own = conductors(workers)
        for worker in own:
            assert worker.log is not None
            worker.log.trouble = HUNG
        others = [worker for worker in workers if worker not in own]
        await asyncio.sleep(15.0)
        payments.is_down = False
        await until(all_in(others, State.CLOSED), 60.0)


@in_virtual_time
async def test_two_dependencies_of_one_message_come_back_though_two_workers_conduct() -> None:
    """Neither conductor can probe while the other's dependency waits, so in the end each worker goes by its own rules for a while."""
    payments, server = Payments(), MemoryLogServer()
    workers = [FleetWorker(payments, server, seed) for seed in range(3)]
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker.guard)
            needs = [worker.dependency, Dependency("stock", failures=Down)]
            await stack.enter_async_context(running(worker.guard.run(worker.intake, worker.handle, needs=needs)))
        await asyncio.sleep(5.0)
        payments.is_down = True  # a failure counts against both
        await asyncio.sleep(20.0)
        conductors = {each.conductor for each in fleet_of_first(workers).agreements}
        assert len(conductors) == 2
        payments.is_down = False
        circuits = [worker.guard.circuit(name) for worker in workers for name in ("payments", "stock")]
        await until(lambda: all(circuit.state is State.CLOSED for circuit in circuits), 150.0)


def fleet_of_first(workers: list[FleetWorker]) -> FleetSnapshot:
    """The fleet as the first worker sees it."""
    seen = workers[0].guard.snapshot().fleet
    assert seen is not None
    return seen


@in_virtual_time
async def test_a_worker_whose_sources_an_operator_holds_has_no_work() -> None:
    """It could not probe, so another one conducts."""
    payments = Payments()
    async with fleet_of(4, payments, MemoryLogServer()) as workers:
        await asyncio.sleep(3.0)
        payments.is_down = True
        await until(all_in(workers, State.OPEN))
        await asyncio.sleep(1.0)
        (own,) = conductors(workers)
        own.guard.hold("orders", reason="deploying", for_=None)
        payments.is_down = False
        others = [worker for worker in workers if worker is not own]
        await until(all_in(others, State.CLOSED), 60.0)


# -- a log in trouble -----------------------------------------------------------------------------------------------------------------


def _set(trouble: LogTrouble) -> Callable[[MemoryLogServer], None]:
    def apply(server: MemoryLogServer) -> None:
        server.trouble = trouble

    return apply


@pytest.mark.parametrize(
    "trouble", [_set(HUNG), _set(RAISES), _set(READ_ONLY), MemoryLogServer.wipe, MemoryLogServer.delete, _set(LogTrouble(delay=5.0))]
)
@in_virtual_time
async def test_no_handler_starts_later_because_of_the_log(trouble: Callable[[MemoryLogServer], None]) -> None:
    """One every 0.1 seconds, which is how long each takes, whatever the log does."""
    payments, server = Payments(), MemoryLogServer()
    async with fleet_of(1, payments, server):
        trouble(server)
        before = len(payments.at)
        await asyncio.sleep(20.0)
        starts = payments.at[before:]
        assert len(starts) >= 199
        assert max(after - earlier for earlier, after in pairwise(starts)) == pytest.approx(0.1)


async def trace_of(server: MemoryLogServer | None) -> list[tuple[str, float, int]]:
    """The events of a worker's circuit in an outage of two minutes and the recovery from it, without jitter."""
    events: list[Any] = []
    payments, handler = dependency(), Handler(0.1)
    began = asyncio.get_running_loop().time()
    guard = quiet_guard(observers=[events.append], fleet=None if server is None else MemoryFleetLog(server))
    intake = MemoryIntake(broker_with(5000), topics=["orders"])
    async with guard, running(guard.run(intake, handler, needs=[payments])):
        await asyncio.sleep(1.0)
        handler.down = True
        await asyncio.sleep(120.0)
        handler.down = False
        await asyncio.sleep(120.0)
    return [(type(event).__name__, event.at - began, event.generation) for event in events if isinstance(event, Event)]


@pytest.mark.parametrize("trouble", [HUNG, RAISES, READ_ONLY])
@in_virtual_time
async def test_a_worker_whose_log_is_dead_does_what_one_alone_does(trouble: LogTrouble) -> None:
    """Each event of its circuit, at the same moment."""
    alone = await trace_of(None)
    server = MemoryLogServer()
    server.trouble = trouble
    dead = await trace_of(server)
    assert len(alone) > 10
    assert [(name, pytest.approx(at, abs=1e-6), generation) for name, at, generation in dead] == alone  # floats of other beginnings


@in_virtual_time
async def test_a_log_that_dies_in_an_outage_leaves_each_to_its_own_rules() -> None:
    """After six seconds of silence none is led, and all come back by themselves."""
    server = MemoryLogServer()
    async with fleet_in_an_outage(4, server) as (payments, workers):
        server.trouble = HUNG
        await asyncio.sleep(10.0)
        assert not any(guidance_of(worker) for worker in workers)
        assert all(worker.of(FleetLogFellSilent) for worker in workers)
        payments.is_down = False
        await until(all_in(workers, State.CLOSED), 60.0)


@pytest.mark.parametrize("when", ["before it starts", "while it runs", "of another fleet"])
@in_virtual_time
async def test_other_settings_of_its_fleet_hold_from_now_on(when: str) -> None:
    """With ten minutes of patience a log that hangs for one is not silent yet. Settings of another fleet change nothing."""
    server = MemoryLogServer()
    fleet, patient = Fleet(MemoryFleetLog(server)), FleetSettings(silence=600.0)
    events: list[Any] = []
    guard = quiet_guard(dependency(), fleet=fleet, observers=[events.append])
    if when == "before it starts":
        guard.fleet.reconfigure(fleet, patient)
    async with guard:
        await asyncio.sleep(5.0)
        if when != "before it starts":
            guard.fleet.reconfigure(fleet if when == "while it runs" else Fleet(fleet.log), patient)
        server.trouble = HUNG
        await asyncio.sleep(60.0)
        assert any(isinstance(event, FleetLogFellSilent) for event in events) is (when == "of another fleet")


@pytest.mark.parametrize("trouble", [HUNG, RAISES])
@in_virtual_time
async def test_a_log_in_trouble_delays_no_drain(trouble: LogTrouble) -> None:
    """A guard is left within a second, its tasks with it."""
    server = MemoryLogServer()
    guard = quiet_guard(dependency(), fleet=MemoryFleetLog(server))
    async with guard:
        await asyncio.sleep(5.0)
        server.trouble = trouble
        await asyncio.sleep(5.0)
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 1.0
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("holdgate")]


@in_virtual_time
async def test_a_worker_that_leaves_says_so() -> None:
    """The others know at once, and wait for no silence."""
    server = MemoryLogServer()
    events: list[Any] = []
    async with quiet_guard(dependency(), fleet=MemoryFleetLog(server), observers=[events.append]) as guard:
        other = Guard(dependency(), signals=False, fleet=MemoryFleetLog(server), clock=LoopClock((0.25,)))
        async with other:
            await until(lambda: len(fleet_size(guard)) == 2)
        await asyncio.sleep(0.1)
        assert len(fleet_size(guard)) == 1
        assert events[-1] == FleetMembersChanged(events[-1].at, size=1, joined=0, left=1)


def fleet_size(guard: Guard) -> tuple[Any, ...]:
    """The members as a guard knows them."""
    seen = guard.snapshot().fleet
    return () if seen is None else seen.members


@in_virtual_time
async def test_a_worker_that_drains_conducts_no_more() -> None:
    """It starts nothing, so it could not probe either: another one takes over though its handler still runs."""
    async with fleet_in_an_outage(3) as (_, workers):
        await asyncio.sleep(1.0)
        (own,) = conductors(workers)
        await own.guard.stop()
        others = [worker for worker in workers if worker is not own]
        await until(lambda: bool(conductors(others)), 10.0)
        assert all(len(members(worker)) == 2 for worker in others)


# -- required -------------------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_guard_that_requires_its_log_refuses_to_start_without() -> None:
    """With the log's own remedy, and nothing of the guard is left."""
    guard = quiet_guard(dependency(), fleet=Fleet(MemoryFleetLog(MemoryLogServer(exists=False)), required=True))
    with pytest.raises(FleetLogError, match="create"):
        async with guard:
            raise AssertionError
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("holdgate")]


@in_virtual_time
async def test_a_required_log_that_hangs_is_refused_in_time() -> None:
    """Whoever waits for a start learns why there is none."""
    server = MemoryLogServer()
    server.trouble = HUNG
    with pytest.raises(FleetLogError, match="is required, and gave no answer within 10 s"):
        async with quiet_guard(dependency(), fleet=Fleet(MemoryFleetLog(server), required=True)):
            raise AssertionError


@in_virtual_time
async def test_a_required_log_that_answers_is_used() -> None:
    """Opened once, before anything is consumed."""
    async with quiet_guard(dependency(), fleet=Fleet(MemoryFleetLog(MemoryLogServer()), required=True)) as guard:
        await until(lambda: len(fleet_size(guard)) == 1)


@pytest.mark.parametrize("fleet", [3, "kafka", object()])
def test_a_fleet_is_a_log(fleet: Any) -> None:
    """Anything else is refused when the guard is made, and named."""
    with pytest.raises(SettingsError, match="fleet must be a FleetLog such as KafkaFleetLog"):
        Guard(fleet=fleet)


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"quorum": 1}, "quorum must be at least 2"), ({"required": 1}, "required must be True or False"), ({"name": ""}, "name")],
)
def test_settings_of_a_fleet_are_checked(settings: dict[str, Any], told: str) -> None:
    """When it is made."""
    with pytest.raises(SettingsError, match=told):
        Fleet(MemoryFleetLog(MemoryLogServer()), **settings)


# -- commands for all -----------------------------------------------------------------------------------------------------------------


def test_a_fleet_that_is_given_only_its_log_has_the_settings_that_the_rules_were_tried_with() -> None:
    """Each default stands in two places, for who reads `Fleet` and for who uses the rules alone."""
    assert Fleet(MemoryFleetLog(MemoryLogServer())).settings == FleetSettings()


@in_virtual_time
async def test_a_hold_keeps_every_worker_from_a_dependency_until_it_is_released() -> None:
    """It is in the audit log of the worker that was told, and each one announces it. Then the fleet comes back gently."""
    payments = Payments()
    async with fleet_of(4, payments, MemoryLogServer()) as workers:
        fleet = workers[0].guard.fleet
        await fleet.hold("payments", reason="migration", actor="ada")
        await until(all_in(workers, State.OPEN))
        await until(lambda: payments.running == 0)
        before = payments.calls
        await asyncio.sleep(40.0)
        assert payments.calls == before
        assert all(worker.of(FleetOrdered)[0].actor == "ada" for worker in workers)
        assert [(entry.command, entry.target) for entry in workers[0].guard.audit() if isinstance(entry, CommandGiven)] == [
            ("fleet_hold", "payments")
        ]
        await fleet.release("payments", reason="done", actor="ada")
        payments.most = 0
        await until(lambda: payments.calls > before)
        assert payments.most == 1
        await until(all_in(workers, State.CLOSED))


@in_virtual_time
async def test_a_hold_ends_by_itself() -> None:
    """A hold that was forgotten is an outage of its own."""
    async with fleet_of(3, Payments(), MemoryLogServer()) as workers:
        await workers[0].guard.fleet.force_open("payments", reason="drill", for_=20.0)
        await until(all_in(workers, State.OPEN), 5.0)
        await until(all_in(workers, State.CLOSED), 60.0)


@in_virtual_time
async def test_a_reset_closes_every_worker() -> None:
    """At the full rate, immediately."""
    async with fleet_in_an_outage(3) as (payments, workers):
        await asyncio.sleep(1.0)
        payments.is_down = False
        await workers[1].guard.fleet.reset("payments", reason="it is back")
        await until(all_in(workers, State.CLOSED), 1.0)


@in_virtual_time
async def test_a_reset_closes_a_worker_that_is_alone_in_trouble() -> None:
    """The fleet is well, and one circuit is open by its own rules: it is at every worker, too."""
    sick = Payments()
    async with fleet_of(3, Payments(), MemoryLogServer(), circuit=CircuitSettings(open_duration=60)) as workers:
        workers[0].payments = sick
        sick.is_down = True
        await until(lambda: workers[0].state is State.OPEN)
        sick.is_down = False
        await workers[1].guard.fleet.reset("payments", reason="its network is mended")
        await until(all_in(workers, State.CLOSED), 1.0)


@in_virtual_time
async def test_a_command_that_nobody_would_hear_is_refused() -> None:
    """Without a fleet, for a dependency that is not here, with a log that does not take it, and while leaving."""
    server = MemoryLogServer()
    async with quiet_guard(dependency()) as guard:
        with pytest.raises(CommandError, match="in no fleet"):
            await guard.fleet.hold("payments", reason="x")
    async with quiet_guard(dependency(), fleet=MemoryFleetLog(server)) as guard:
        await until(lambda: len(fleet_size(guard)) == 1)
        with pytest.raises(CommandError, match="no dependency is named 'stock'"):
            await guard.fleet.hold("stock", reason="x")
        with pytest.raises(CommandError, match="reason"):
            await guard.fleet.hold("payments", reason="")
        server.trouble = READ_ONLY
        with pytest.raises(CommandError, match=r"did not take hold of 'payments'.*may not write"):
            await guard.fleet.hold("payments", reason="x")
        assert not guard.audit()
        guard.fleet.leave()
        with pytest.raises(CommandError, match="about to leave"):
            await guard.fleet.hold("payments", reason="x")


@in_virtual_time
async def test_messages_of_their_own_fault_are_none_of_the_fleets() -> None:
    """A worker that rejects everything is well."""
    server = MemoryLogServer()

    async def reject(_: Any) -> None:
        raise Reject("bad")

    guard, payments = quiet_guard(fleet=MemoryFleetLog(server)), dependency()
    async with guard, running(guard.run(MemoryIntake(broker_with(20), topics=["orders"]), reject, needs=[payments])):
        await asyncio.sleep(5.0)
        assert guard.circuit("payments").own_facts(guard.now()).failed == 0
