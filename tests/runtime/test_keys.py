"""The keys of messages: what `key=` may answer, what it costs the message if it does not, and which keys calls have."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from tests.runtime.stage import STEADY, Down, broker_with, quiet_guard

from holdgate import CallNotPermitted, CircuitSettings, Delivery, Dependency, Guard, Limits, RetryPolicy, State
from holdgate.core import Outcome
from holdgate.errors import NeedsError, SettingsError
from holdgate.runtime.keys import LONGEST, check_keyed, key_of
from holdgate.testing import MemoryIntake, in_virtual_time

OTHER = CircuitSettings(open_duration=2.0)
ONCE = RetryPolicy(attempts=1, on_exhausted="skip")


def tenant(delivery: Delivery[Any]) -> bytes:
    """A tenth of the messages each."""
    return (delivery.body or b"")[-1:]


def keyed(**more: Any) -> Dependency:
    return Dependency("payments", **{"failures": Down, "settings": STEADY, "key": tenant, **more})


async def run(count: int, handler: Any, dependency: Dependency, **settings: Any) -> Any:
    """Work on so many messages until all of them are settled; returns the guard's gate as it was then."""
    broker = broker_with(count)
    async with quiet_guard() as guard:
        task = asyncio.create_task(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[dependency], **settings))
        while not settled(guard, count):
            await asyncio.sleep(0.1)
            if task.done():
                task.result()
        gate = guard.engine.gates["payments"]
        await guard.stop()
        await task
    return gate


def settled(guard: Any, count: int) -> bool:
    return sum(finished for _, finished in totals(guard)) >= count


def totals(guard: Any) -> list[tuple[str, int]]:
    return [(each.source.name, each.finished) for each in guard.engine.memory.assignments()]


# -- what it may answer ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a", b"a", 7, -(2**1000), UUID(int=1), None, "", "x" * LONGEST])
def test_what_may_be_a_key(key: Any) -> None:
    """Names, numbers, and none."""
    assert key_of(keyed(key=lambda _: key), Delivery.__new__(Delivery)) == key


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (["a"], "an object of type list"),
        (("a", "b"), "an object of type tuple"),
        (1.5, "an object of type float"),
        ("x" * (LONGEST + 1), "a str of 201"),
        (2**2000, "an int of 2001 bits"),
    ],
)
def test_what_may_not_is_an_error_that_does_not_quote_it(key: Any, told: str) -> None:
    """It comes from the message."""
    with pytest.raises(NeedsError, match="key= of dependency 'payments' answered") as raised:
        key_of(keyed(key=lambda _: key), Delivery.__new__(Delivery))
    assert told in str(raised.value)


def test_a_dependency_without_key_has_none() -> None:
    """Nothing is asked."""
    assert key_of(Dependency("payments"), Delivery.__new__(Delivery)) is None


@pytest.mark.parametrize("settings", [{"key": 5}, {"key": "tenant"}, {"max_keys": 0}, {"max_keys": 1.5}])
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    """When the Dependency is made."""
    with pytest.raises(SettingsError):
        keyed(**settings)


def test_a_bound_on_keys_without_keys_is_refused() -> None:
    """It would bound nothing."""
    with pytest.raises(SettingsError, match=r"max_keys=5 with key=None bounds nothing: give key=, or leave max_keys out"):
        Dependency("payments", max_keys=5)
    assert Dependency("payments", max_keys=100_000).key is None


def test_an_async_key_is_refused() -> None:
    """Its answer would be a coroutine."""

    async def ask(_: Any) -> str:
        return "a"

    with pytest.raises(SettingsError, match="async"):
        keyed(key=ask)


def test_batches_do_not_go_with_keys() -> None:
    """The error names both."""
    with pytest.raises(SettingsError, match=r"batch=5 and key= of Dependency\('payments'\)"):
        check_keyed((Dependency("mail"), keyed()), 5)
    assert check_keyed((keyed(),), None)
    assert not check_keyed((Dependency("mail"),), 5)


# -- in a run -------------------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_key_that_cannot_be_told_costs_that_message_alone(caplog: pytest.LogCaptureFixture) -> None:
    """It fails with a NeedsError instead of being handled; the text of what was raised is nowhere."""
    done: list[bytes] = []

    def ask(delivery: Delivery[Any]) -> bytes:
        if delivery.body == b"3":
            raise ValueError("secret")
        return tenant(delivery)

    async def handle(delivery: Delivery[Any]) -> None:
        done.append(delivery.body or b"")

    with caplog.at_level(logging.INFO, "holdgate"):
        await run(6, handle, keyed(key=ask), order="none", retry=ONCE)
    assert sorted(done) == [b"0", b"1", b"2", b"4", b"5"]
    assert "NeedsError" in caplog.text
    assert "secret" not in caplog.text


@in_virtual_time
async def test_one_tenant_down_is_no_matter_of_the_others() -> None:
    """Nine of ten go on, in the order of each; the tenth goes on when it is well."""
    calls: Counter[bytes] = Counter()
    done: list[bytes] = []

    async def handle(delivery: Delivery[Any]) -> None:
        calls[tenant(delivery)] += 1
        await asyncio.sleep(0.01)
        if tenant(delivery) == b"7" and asyncio.get_running_loop().time() < began + 20:
            raise Down
        done.append(delivery.body or b"")

    began = asyncio.get_running_loop().time()
    gate = await run(200, handle, keyed(), order="key", key=tenant)
    assert gate.circuit.state is State.CLOSED
    assert [body for body in done if body[-1:] == b"7"] == [b"%d" % number for number in range(7, 200, 10)]
    assert calls[b"7"] < 20 + 15
    assert done.index(b"7") == 180


@in_virtual_time
async def test_keys_are_in_no_log_line(caplog: pytest.LogCaptureFixture) -> None:
    """Though one of them is held for a while, and that is told."""

    async def handle(delivery: Delivery[Any]) -> None:
        await asyncio.sleep(0.01)
        if asyncio.get_running_loop().time() < began + 20:
            raise Down

    began = asyncio.get_running_loop().time()
    with caplog.at_level(logging.DEBUG, "holdgate"):
        await run(8, handle, keyed(key=lambda _: "acme-corporation"), order="none")
    assert "payments: 1 key is held" in caplog.text
    assert "payments: no key is held any more" in caplog.text
    assert "acme" not in caplog.text


@in_virtual_time
async def test_needs_by_message_and_keys_go_together() -> None:
    """Half of the messages need the dependency with keys."""
    done: Counter[bytes] = Counter()
    payments, mail = keyed(limits=Limits(concurrency=1)), Dependency("mail")

    async def handle(delivery: Delivery[Any]) -> None:
        done[tenant(delivery)] += 1

    broker = broker_with(40)
    async with quiet_guard(payments, mail) as guard:
        needs = lambda delivery: payments if int(delivery.body) % 2 else [mail]  # noqa: E731
        task = asyncio.create_task(guard.run(MemoryIntake(broker, topics=["orders"]), handle, needs=needs, order="none"))
        while not settled(guard, 40):
            await asyncio.sleep(0.1)
        assert guard.snapshot().dependencies["payments"].keys.known == 5  # type: ignore[union-attr]
        assert guard.snapshot().dependencies["mail"].keys is None
        await guard.stop()
        await task
    assert sum(done.values()) == 40


# -- an operator ----------------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_limits_and_settings_are_those_of_each_key() -> None:
    """And a reset lets all of them go."""
    payments = keyed()
    async with quiet_guard(payments) as guard:
        keys = guard.engine.gates["payments"].keys
        assert keys is not None
        for _ in range(5):
            keys.end("a", None, Outcome.FAILURE, guard.now())
        assert keys.held == 1
        guard.reset("payments", reason="mended")
        assert (keys.held, len(keys)) == (0, 0)
        guard.set_limits("payments", Limits(rate=5))
        assert keys.limits == Limits(rate=5)
        assert guard.circuit("payments").limits.snapshot(guard.now()) is None
        guard.reconfigure("payments", OTHER)
        assert keys.known("a", guard.now()).settings == OTHER


# -- calls ----------------------------------------------------------------------------------------------------------------------------


async def fail() -> None:
    raise Down


async def well() -> int:
    return 5


@in_virtual_time
async def test_a_call_may_be_given_its_key() -> None:
    """Its key is refused when it is down; another one, and a call without, are not."""
    payments = keyed()
    async with quiet_guard(payments) as guard:
        for _ in range(5):
            with pytest.raises(Down):
                await payments.call(fail, key="a")
        with pytest.raises(CallNotPermitted):
            await payments.call(well, key="a")
        assert await payments.call(well, key="b") == await payments.call(well) == 5
        with pytest.raises(CallNotPermitted), payments.calling(key="a"):
            pass
        assert payments.call_sync(len, "abc", key="b") == 3
        assert guard.circuit("payments").state is State.CLOSED
        with pytest.raises(asyncio.CancelledError):
            async with payments.calling(key="b"):
                raise asyncio.CancelledError
        with pytest.raises(SettingsError, match="an object of type list"):
            await payments.call(well, key=[])  # type: ignore[arg-type]


async def test_a_call_in_a_thread_may_be_given_its_key() -> None:
    """Through the loop, as any call from there."""
    payments = keyed(limits=Limits(concurrency=1, adaptive=False))
    async with Guard(payments, signals=False) as guard:
        found = await asyncio.to_thread(payments.call_sync, threading.get_ident, key="a")
        assert found != threading.get_ident()
        keys = guard.engine.gates["payments"].keys
        while keys.known("a", guard.now()).in_flight:
            await asyncio.sleep(0)


async def test_a_key_for_a_dependency_without_is_refused() -> None:
    """Nobody would look at it."""
    with pytest.raises(SettingsError, match="which has none"):
        await Dependency("mail").call(well, key="a")


async def test_outside_of_any_guard_there_is_one_breaker_for_all() -> None:
    """The limits of each key are none of it, either."""
    payments = keyed(limits=Limits(rate=1, per=60))
    assert await payments.call(well, key="a") == await payments.call(well, key="a") == 5


@in_virtual_time
async def test_a_call_in_a_handler_has_the_key_of_its_message() -> None:
    """Of a dependency that nobody has declared: its key is held, and the whole is not."""
    payments, refused = keyed(), Counter[bytes]()
    seen: list[Any] = []

    async def handle(delivery: Delivery[Any]) -> None:
        if tenant(delivery) == b"7" and asyncio.get_running_loop().time() < began + 5:
            try:
                await payments.call(fail)
            except CallNotPermitted:
                refused[tenant(delivery)] += 1
                raise
        await payments.call(well)

    broker = broker_with(60)
    began = asyncio.get_running_loop().time()
    async with quiet_guard() as guard:
        task = asyncio.create_task(guard.run(MemoryIntake(broker, topics=["orders"]), handle, order="none"))
        while not settled(guard, 60):
            await asyncio.sleep(0.1)
            if "payments" in guard.engine.gates:
                seen.append(guard.circuit("payments").state)
        await guard.stop()
        await task
    assert set(seen) == {State.CLOSED}


@in_virtual_time
@pytest.mark.parametrize("is_given", [False, True])
async def test_a_tenant_that_is_down_stops_no_other_where_nobody_has_declared_the_dependency(is_given: bool) -> None:
    """Each attempt asks for its key anew. Nothing is told apart by comparing tenants, so none of its messages is given up."""
    payments, calls, seen = keyed(), Counter[bytes](), set[State]()

    async def handle(delivery: Delivery[Any]) -> None:
        is_down = tenant(delivery) == b"7"
        calls[tenant(delivery)] += 1
        await payments.call(fail if is_down else well, key=b"tenant " + tenant(delivery) if is_given else None)

    broker = broker_with(100)
    async with quiet_guard() as guard:
        settings = {"order": "none", "retry": RetryPolicy(attempts=2)}
        task = asyncio.create_task(guard.run(MemoryIntake(broker, topics=["orders"]), handle, **settings))
        for number in range(300):
            await asyncio.sleep(0.1)
            broker.produce("orders", str(number).encode())
            if "payments" in guard.engine.gates:
                seen.add(guard.circuit("payments").state)
        await asyncio.sleep(1.0)
        gate = guard.engine.gates["payments"]
        assert (seen, gate.keys.held, totals(guard)) == ({State.CLOSED}, 1, [("orders", 360)])  # type: ignore[union-attr]
        assert calls.total() - calls[b"7"] == 360
        guard.reset("payments", reason="ends the test")
        await guard.stop()
        await task


@in_virtual_time
async def test_a_declared_need_counts_by_the_key_that_its_message_holds() -> None:
    """A call form inside uses it; with another key it is refused, and with its own it is not."""
    payments, wrong = keyed(), list[str]()

    async def handle(delivery: Delivery[Any]) -> None:
        assert await payments.call(well) == await payments.call(well, key=tenant(delivery)) == 5
        try:
            await payments.call(well, key=b"another")
        except SettingsError as error:
            wrong.append(str(error))

    gate = await run(3, handle, payments, order="none")
    assert len(wrong) == 3
    assert "leave key= out, or the dependency out of needs" in wrong[0]
    assert gate.keys.snapshot().known == 0
