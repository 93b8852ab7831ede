"""What an operator may do to a guard."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from tests.runtime.stage import GROUP, ORDERS, STEADY, Down, Handler, Wrong, broker_with, dependency, quiet_guard, running, until

from holdgate import Delivery, Dependency, Guard, Partition, RetryPolicy, State
from holdgate.core import Override
from holdgate.errors import CallNotPermitted, CommandError
from holdgate.events import CommandEnded, CommandGiven, MessageSkipped, SourceRetried
from holdgate.flow.commands import AuditEntry
from holdgate.testing import MemoryBroker, MemoryIntake, in_virtual_time

ORDER = ORDERS[0]
ONCE = RetryPolicy(attempts=1)


class Broken(Handler):
    """Cannot process the message whose body is `b"1"` until it is `fixed`."""

    fixed = False

    async def __call__(self, delivery: Delivery[Any]) -> None:
        if delivery.body == b"1" and not self.fixed:
            raise Wrong
        await super().__call__(delivery)


def committed(broker: MemoryBroker) -> int:
    return broker.committed(GROUP).get(ORDER, 0)


def is_blocked(guard: Guard) -> bool:
    seen = guard.snapshot().sources.get(ORDER)
    return seen is not None and "blocked" in seen.reasons


@in_virtual_time
async def test_a_blocked_source_goes_on_when_the_handler_is_mended() -> None:
    """By `retry`, with the reason in the event, and nothing is lost."""
    broker, handler, seen = broker_with(3), Broken(), list[Any]()
    async with (
        quiet_guard(observers=[seen.append]) as guard,
        running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, retry=ONCE)),
    ):
        await until(lambda: is_blocked(guard))
        handler.fixed = True
        assert guard.retry(ORDER, reason="deployed 1.2.3") == 1
        await until(lambda: committed(broker) == 3)

    assert [position for _, position in handler.done] == [0, 1, 2]
    assert [event.reason for event in seen if isinstance(event, SourceRetried)] == ["deployed 1.2.3"]


@in_virtual_time
async def test_a_skipped_message_is_settled_and_lost() -> None:
    """By `skip`, with the reason in the event; those behind it are processed."""
    broker, handler, seen = broker_with(3), Broken(), list[Any]()
    async with (
        quiet_guard(observers=[seen.append]) as guard,
        running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, retry=ONCE)),
    ):
        await until(lambda: is_blocked(guard))
        guard.skip(ORDER, 1, reason="test data")
        await until(lambda: committed(broker) == 3)

    assert [position for _, position in handler.done] == [0, 2]
    assert [(event.position, event.reason) for event in seen if isinstance(event, MessageSkipped)] == [(1, "test data")]


@in_virtual_time
async def test_an_exit_that_does_not_exist_is_an_error() -> None:
    """A source that is not ours, and a message that is not in the way."""
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker_with(1), topics=["orders"]), Broken())):
        await until(lambda: ORDER in guard.snapshot().sources)
        with pytest.raises(CommandError, match=r"orders\[9\] is not assigned here; these are: orders\[0\]"):
            guard.retry(Partition("orders", 9), reason="test")
        with pytest.raises(CommandError, match=r"orders\[9\] is not assigned here"):
            guard.skip(Partition("orders", 9), 0, reason="test")
        with pytest.raises(CommandError, match=r"no message at orders\[0\]@7"):
            guard.skip(ORDER, 7, reason="test")
        assert guard.audit() == ()
        assert guard.retry(ORDER, reason="test") == 0


def said(guard: Guard) -> list[tuple[str, str]]:
    """The audit log in short: what on what, and "over" for what ended by itself."""
    return [_short(entry) for entry in guard.audit()]


def _short(entry: AuditEntry) -> tuple[str, str]:
    return (entry.command, str(entry.target)) if isinstance(entry, CommandGiven) else ("over", entry.given.command)


# -- sources ---------------------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_hold_and_unhold_a_source() -> None:
    """A held source starts nothing, however often circuits change; unhold lets it go on."""
    broker, handler = broker_with(4, partitions=2), Handler()
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handler)):
        await until(lambda: len(handler.done) == 4)
        guard.hold(ORDER, reason="test")
        await asyncio.sleep(0.1)
        assert guard.snapshot().sources[ORDER].reasons == ("operator",)
        broker.produce("orders", b"", partition=0)
        broker.produce("orders", b"", partition=1)
        await asyncio.sleep(10)
        assert handler.done[4:] == [("orders[1]", 2)]
        guard.unhold(ORDER, reason="test")
        await until(lambda: len(handler.done) == 6)
        assert said(guard) == [("hold", "orders[0]"), ("unhold", "orders[0]")]


@pytest.mark.parametrize(("settings", "seconds"), [({"for_": 30}, 30), ({"for_": timedelta(minutes=1)}, 60), ({}, 1800)])
@in_virtual_time
async def test_a_hold_expires_without_traffic(settings: dict[str, Any], seconds: float) -> None:
    """So many seconds later the source goes on by itself; half an hour when nobody says otherwise."""
    broker, handler, seen = broker_with(1), Handler(), list[Any]()
    async with quiet_guard(observers=[seen.append]) as guard:
        async with running(guard.run(MemoryIntake(broker, topics=["orders"], poll_timeout=3600.0), handler)):
            await until(lambda: len(handler.done) == 1)
            guard.hold(ORDER, reason="deploying", actor="alice", **settings)
            broker.produce("orders", b"")
            await asyncio.sleep(seconds - 1)
            assert len(handler.started) == 1
            (command,) = guard.snapshot().commands
            assert (command.command, command.target, command.actor, command.reason) == ("hold", ORDER, "alice", "deploying")
            assert command.until == command.at + seconds
            await asyncio.sleep(2)
            assert guard.snapshot().commands == ()
            assert len(handler.done) == 2
        ended = [event for event in seen if isinstance(event, CommandEnded)]
        assert [event.given for event in ended] == [command]
        assert guard.audit() == (command, *ended)


@in_virtual_time
async def test_a_hold_without_an_end_needs_another_word() -> None:
    """`for_=None`: a week later it still holds."""
    intake = MemoryIntake(broker_with(0), topics=["orders"], poll_timeout=86_400.0)
    async with quiet_guard() as guard, running(guard.run(intake, Handler())):
        await until(lambda: guard.health().started)
        guard.hold("orders", reason="test", for_=None)
        await asyncio.sleep(7 * 86_400)
        assert guard.snapshot().sources[ORDER].reasons == ("operator",)


@in_virtual_time
async def test_a_held_topic_stays_held_in_a_rebalance() -> None:
    """Another member takes a partition and leaves again: what comes back comes back held, and the snapshot still says who holds it."""
    broker, handler = broker_with(0, partitions=2), Handler()
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handler)):
        await until(lambda: len(guard.snapshot().sources) == 2)
        guard.hold("orders", reason="test")
        other = broker.add_member(GROUP)
        await until(lambda: len(guard.snapshot().sources) == 1)
        broker.remove_member(GROUP, other)
        await until(lambda: len(guard.snapshot().sources) == 2)
        broker.produce("orders", b"", partition=0)
        broker.produce("orders", b"", partition=1)
        await asyncio.sleep(60)
        assert not handler.started
        assert {seen.reasons for seen in guard.snapshot().sources.values()} == {("operator",)}
        guard.unhold("orders", reason="test")
        await until(lambda: len(handler.done) == 2)


@in_virtual_time
async def test_a_partition_that_is_held_with_its_topic_is_released_with_it() -> None:
    """Its own `unhold` would change nothing, and says what would."""
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker_with(0), topics=["orders"]), Handler())):
        await until(lambda: ORDER in guard.snapshot().sources)
        guard.hold("orders", reason="test")
        with pytest.raises(CommandError, match=r"orders\[0\] is held with all of 'orders': end that hold, unhold\('orders', ...\)"):
            guard.unhold(ORDER, reason="test")
        guard.unhold("orders", reason="test")
        assert guard.snapshot().commands == ()
        guard.unhold(ORDER, reason="test")  # nothing to end is no mistake
        guard.unhold("orders", reason="test")


@in_virtual_time
async def test_what_is_not_here_is_named_with_what_is() -> None:
    """A source, a topic, a dependency, and something that is none of them."""
    async with quiet_guard(dependency()) as guard:
        with pytest.raises(CommandError, match=r"orders\[7\] is not assigned here; these are: none"):
            guard.hold(Partition("orders", 7), reason="test")
        async with running(guard.run(MemoryIntake(broker_with(0, partitions=2), topics=["orders"]), Handler())):
            await until(lambda: len(guard.snapshot().sources) == 2)
            with pytest.raises(CommandError, match=r"these are: orders\[0\], orders\[1\]"):
                guard.unhold(Partition("orders", 7), reason="test")
            with pytest.raises(CommandError, match="no topic or queue named 'bills' is read here; these are: orders"):
                guard.hold("bills", reason="test")
            for command in (guard.hold, guard.unhold):
                with pytest.raises(
                    CommandError, match=r"no source, topic or queue 7 is read here; sources: orders\[0\], .*; topics and queues: orders"
                ):
                    command(7, reason="test")  # type: ignore[operator]
            with pytest.raises(CommandError, match="no source, topic or queue 'bills' is read here"):
                guard.unhold("bills", reason="test")
        for command in (guard.force_open, guard.disable, guard.observe, guard.clear_override, guard.reset, guard.probe):
            with pytest.raises(CommandError, match=r"no dependency is named 'mail'; there are payments"):
                command("mail", reason="test")  # type: ignore[operator]
        assert guard.audit() == ()


@pytest.mark.parametrize("words", ["", "  ", "two\nlines", "\x1b[31m", "x" * 501, None, 7])
@in_virtual_time
async def test_words_are_one_line_for_others_to_read(words: Any) -> None:
    """An empty one says nothing, and one with line ends or escapes would forge what the log says."""
    async with quiet_guard(dependency()) as guard:
        with pytest.raises(CommandError, match=r"reason=.* must be one line of 1 to 500 characters"):
            guard.reset("payments", reason=words)
        with pytest.raises(CommandError, match=r"actor=.* must be one line"):
            guard.reset("payments", reason="test", actor=words)
        guard.reset("payments", reason="x" * 500)
        assert len(guard.audit()) == 1


@pytest.mark.parametrize("for_", [0, -1, "soon", float("inf"), True])
@in_virtual_time
async def test_a_command_lasts_for_seconds(for_: Any) -> None:
    """Anything else is refused, and nothing has happened."""
    async with quiet_guard(dependency()) as guard:
        with pytest.raises(CommandError, match="for_ must be"):
            guard.disable("payments", reason="test", for_=for_)
        assert guard.circuit("payments").override is None


# -- dependencies ----------------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_dependency_is_forced_open_for_a_time() -> None:
    """Its source is held meanwhile, nobody calls it, and it comes back through a probe, without a message coming in."""
    broker, handler, payments = broker_with(0), Handler(), dependency()
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[payments])):
        await until(lambda: ORDER in guard.snapshot().sources)
        guard.force_open("payments", reason="migration", actor="alice", for_=60)
        broker.produce("orders", b"")
        await asyncio.sleep(59)
        assert (guard.snapshot().sources[ORDER].reasons, handler.started) == (("circuit:payments",), [])
        assert [command.reason for command in guard.snapshot().commands] == ["migration"]
        await until(lambda: len(handler.done) == 1, seconds=2)
        assert guard.circuit("payments").override is None
        assert said(guard) == [("force_open", "payments"), ("over", "force_open")]


@pytest.mark.parametrize(("command", "override"), [("disable", Override.DISABLED), ("observe", Override.METRICS_ONLY)])
@in_virtual_time
async def test_an_override_ends_by_itself_or_by_a_word(command: str, override: Override) -> None:
    """After half an hour, without traffic, or by `clear_override`."""
    async with quiet_guard(dependency()) as guard:
        getattr(guard, command)("payments", reason="test")
        await asyncio.sleep(1799)
        assert guard.circuit("payments").override is override
        await asyncio.sleep(2)
        assert guard.circuit("payments").override is None
        getattr(guard, command)("payments", reason="again", for_=None)
        guard.clear_override("payments", reason="enough")
        assert (guard.circuit("payments").override, guard.snapshot().commands) == (None, ())
        assert said(guard) == [(command, "payments"), ("over", command), (command, "payments"), ("clear_override", "payments")]


@in_virtual_time
async def test_the_last_word_on_a_dependency_is_in_force() -> None:
    """Also when it follows on another kind of override."""
    async with quiet_guard(dependency()) as guard:
        guard.disable("payments", reason="first")
        guard.force_open("payments", reason="second", for_=None)
        assert [(command.reason, command.until) for command in guard.snapshot().commands] == [("second", None)]
        await asyncio.sleep(3600)
        assert [command.reason for command in guard.snapshot().commands] == ["second"]


@in_virtual_time
async def test_a_reset_lets_everything_go_on_at_once() -> None:
    """What was held by the open circuit is processed, at the full rate."""
    broker, handler = broker_with(20), Handler(down=True)
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[dependency()])):
        await until(lambda: "payments" in guard.dependencies and guard.circuit("payments").state is State.OPEN)
        handler.down = False
        guard.reset("payments", reason="it was the firewall")
        await until(lambda: len(handler.done) == 20, seconds=1)
        assert said(guard) == [("reset", "payments")]


@in_virtual_time
async def test_a_probe_tries_an_open_dependency_now() -> None:
    """By a message, long before the end of the wait; when there is nothing to try nothing is noted."""
    settings = {"failures": Down, "settings": STEADY}
    broker, handler = broker_with(20), Handler(down=True)
    payments = Dependency("payments", **settings)  # type: ignore[arg-type]
    async with quiet_guard(payments) as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[payments])):
        assert guard.probe("payments", reason="test") is False
        await until(lambda: guard.circuit("payments").state is State.OPEN)
        guard.circuit("payments").open_for(3000.0, guard.now())
        handler.down = False
        assert guard.probe("payments", reason="the provider says it is back") is True
        assert guard.probe("payments", reason="test") is False
        await until(lambda: len(handler.done) == 20, seconds=5)
        assert said(guard) == [("probe", "payments")]


@in_virtual_time
async def test_a_probe_runs_the_health_probe_first() -> None:
    """And no message, when it says no."""
    broker, handler, asked = broker_with(20), Handler(down=True), list[float]()

    async def probe() -> bool:
        asked.append(guard.now())
        return False

    payments = Dependency("payments", failures=Down, settings=STEADY, probe=probe)
    async with quiet_guard(payments) as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[payments])):
        await until(lambda: guard.circuit("payments").state is State.OPEN)
        tried = len(handler.started)
        guard.probe("payments", reason="test")
        await asyncio.sleep(1)
        assert (len(asked), len(handler.started), guard.circuit("payments").state) == (1, tried, State.OPEN)


@in_virtual_time
async def test_a_probe_under_an_override_is_in_vain() -> None:
    """The override decides alone: the error names the way out."""
    async with quiet_guard(dependency()) as guard:
        guard.force_open("payments", reason="test")
        with pytest.raises(
            CommandError, match=r"payments is FORCED_OPEN, and no probe changes that: clear_override\('payments', ...\) first"
        ):
            guard.probe("payments", reason="test")


@in_virtual_time
async def test_what_the_program_does_to_a_circuit_ends_what_an_operator_said() -> None:
    """The snapshot never shows a command that is not in force."""
    async with quiet_guard(dependency()) as guard:
        guard.disable("payments", reason="test")
        guard.circuit("payments").clear_override(guard.now())
        assert guard.snapshot().commands == ()
        guard.wake()
        await asyncio.sleep(0.1)
        assert said(guard) == [("disable", "payments"), ("over", "disable")]


@in_virtual_time
async def test_a_call_form_sees_an_override_at_once() -> None:
    """Outside of any handler, before the guard has taken a turn."""
    payments = dependency()

    async def call() -> str:
        return "called"

    async with quiet_guard(payments) as guard:
        guard.force_open("payments", reason="test")
        with pytest.raises(CallNotPermitted):
            await payments.call(call)
        guard.disable("payments", reason="test")
        assert await payments.call(call) == "called"


# -- what is in the way ----------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_every_way_out_is_in_the_audit_log() -> None:
    """Who let it go and why, with the position of what was given up."""
    broker = broker_with(3)
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), Broken(), retry=ONCE)):
        await until(lambda: is_blocked(guard))
        guard.retry(ORDER, reason="once more", actor="alice")
        await asyncio.sleep(1)
        await until(lambda: is_blocked(guard))
        guard.skip(ORDER, 1, reason="test data", actor="bob")
        await until(lambda: committed(broker) == 3)
        entries = [entry for entry in guard.audit() if isinstance(entry, CommandGiven)]

    assert [(entry.command, entry.target, entry.position, entry.actor, entry.until) for entry in entries] == [
        ("retry", ORDER, None, "alice", None),
        ("skip", ORDER, 1, "bob", None),
    ]
