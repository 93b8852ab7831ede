"""What a first day's mistakes are answered with: the remedy, by name."""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import pkgutil
import warnings
from typing import Any

import pytest

from holdgate import Dependency, Guard, http, network, presets
from holdgate.brokers.kafka import KafkaDeadLetters, KafkaIntake
from holdgate.brokers.rabbitmq import RabbitMQDeadLetters, RabbitMQIntake
from holdgate.errors import CommandError, SettingsError
from holdgate.runtime.unawaited import Unawaited
from holdgate.slips import passed_uncalled, refuse_function_of_nothing, suggest_keywords
from holdgate.testing import MemoryIntake, in_virtual_time
from tests.runtime.stage import GROUP, Handler, assert_nothing_left, broker_with, dependency, quiet_guard


def orders(broker: Any) -> MemoryIntake:
    return MemoryIntake(broker, topics=["orders"])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Dependency("payments", failure=OSError), r"^Dependency\(\) got .* 'failure': did you mean failures=\?"),
        (lambda: Guard(drain_timout=3), r"^Guard\(\) got .* 'drain_timout': did you mean drain_timeout=\?"),
        (lambda: quiet_guard().run(None, None, need=[]), r"^Guard.run\(\) got .* 'need': did you mean needs=\?"),
        (lambda: quiet_guard().deliveries(None, dead_letter=None), r"'dead_letter': did you mean dead_letters=\?"),
        (lambda: KafkaIntake(None, topic="orders"), r"^KafkaIntake\(\) got .* 'topic': did you mean topics=\?"),
        (lambda: KafkaDeadLetters(None, topics="dead"), r"^KafkaDeadLetters\(\) got "),
        (lambda: RabbitMQIntake("amqp://a", "orders", prefetch_count=10), r"'prefetch_count': did you mean prefetch=\?"),
        (lambda: RabbitMQDeadLetters("amqp://a", route="dead"), r"^RabbitMQDeadLetters\(\) got "),
        (lambda: Guard(zzz=1), r"'zzz': it takes drain_timeout=, signals="),
    ],
)  # fmt: skip
def test_an_unknown_keyword_gets_the_one_that_was_meant(call: Any, text: str) -> None:
    """Immediately, and not when a coroutine is awaited; where nothing is alike, all of them."""
    with pytest.raises(TypeError, match=text):
        call()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: KafkaIntake(None, ["orders"]),  # type: ignore[misc]
            r"^KafkaIntake\(\) was given 2 arguments without a name: .* one of topics=, pattern=",
        ),
        (
            lambda: quiet_guard().run(None, None, [PAYMENTS]),  # type: ignore[misc]
            r"^Guard.run\(\) was given 3 arguments without a name: .* one of needs=, ",
        ),
        (
            lambda: quiet_guard().patient(lambda: None),  # type: ignore[misc]
            r"^Guard.patient\(\) was given a function, .*: write @...patient\(needs=...\) with parentheses$",
        ),
    ],
    ids=["an intake", "a run", "a decorator without parentheses"],
)
def test_what_was_given_without_its_name_gets_the_name(call: Any, text: str) -> None:
    """Python would only count them."""
    with pytest.raises(TypeError, match=text):
        call()


def test_what_takes_any_number_is_left_alone() -> None:
    """A guard takes dependencies, and a queue has others beside it."""
    assert Guard(PAYMENTS, Dependency("email"), signals=False)
    assert RabbitMQIntake("amqp://a", "orders", "mails")


def test_what_is_decorated_looks_as_before() -> None:
    """Its signature, its name and its colour are those of the function: tools ask for them."""
    assert "needs" in inspect.signature(Guard.run).parameters
    assert Guard.run.__qualname__ == "Guard.run"
    assert asyncio.iscoroutinefunction(Guard.run)
    assert asyncio.iscoroutinefunction(quiet_guard().run)

    @suggest_keywords
    def add(a: int, *, b: int = 2) -> int:
        return a + b

    assert add(1) == 3
    assert add(1, b=4) == 5
    assert add(a=1) == 3


def predicates() -> list[tuple[str, Any]]:
    modules = [
        http,
        network,
        *(importlib.import_module(f"holdgate.presets.{each.name}") for each in pkgutil.iter_modules(presets.__path__)),
    ]
    return [
        (f"{name}={module.__name__.rpartition('.')[2]}.{name}", getattr(module, name))
        for module in modules
        for name in ("failures", "retry_after")
        if hasattr(module, name)
    ]


@pytest.mark.parametrize(("where", "predicate"), predicates(), ids=lambda each: each if isinstance(each, str) else "")
def test_a_predicate_that_is_called_says_how_it_is_passed(where: str, predicate: Any) -> None:
    """Every one of them, in the form in which it is written."""
    with pytest.raises(SettingsError) as caught:
        predicate()
    assert str(caught.value) == f"{where}() was called without an exception: pass the function itself, as in {where}"
    assert not predicate(ValueError())
    assert not predicate(error=ValueError())


def test_there_are_predicates_to_look_at() -> None:
    """Or the test above shows nothing."""
    assert len(predicates()) >= 14


def test_a_predicate_is_given_its_exception() -> None:
    """And its answer comes back."""

    @passed_uncalled("failures=mine")
    def mine(error: BaseException) -> str:
        return type(error).__name__

    assert mine(OSError()) == "OSError"


def test_with_is_answered_by_async_with() -> None:
    """Python would only say that a protocol is not supported."""
    with pytest.raises(CommandError, match=r"`async with Guard\(\) as guard:`, got `with`"), Guard():  # type: ignore[attr-defined]
        pass


@in_virtual_time
async def test_a_run_that_nobody_awaits_is_an_error_of_the_guard() -> None:
    """Instead of an exit code 0 with nothing done; and Python has nothing left to warn of."""
    broker, handler = broker_with(3), Handler()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CommandError, match=r"guard.run\(...\) was not awaited, so nothing was consumed: write `await guard.run"):
            async with quiet_guard() as guard:
                guard.run(orders(broker), handler)
        gc.collect()
    assert handler.started == []


@in_virtual_time
async def test_an_error_of_the_block_is_not_hidden_by_it() -> None:
    """It may be the very reason."""
    made: list[Any] = []

    async def block() -> None:
        async with quiet_guard() as guard:
            made.append(guard.run(orders(broker_with(1)), Handler()))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await block()
    made[0].close()


@in_virtual_time
async def test_a_run_that_was_only_just_started_has_begun() -> None:
    """Its task has had no step when the block ends: it begins, and drains as any other."""
    async with quiet_guard() as guard:
        run = asyncio.create_task(guard.run(orders(broker_with(1)), Handler()))
    assert await run is None


@in_virtual_time
async def test_a_cancellation_while_a_run_begins_leaves_nothing_behind() -> None:
    """A guard is left all the same: its run has ended, and the dependency is free for the next guard."""
    payments = dependency()
    guard = quiet_guard(payments)
    runs: list[asyncio.Task[None]] = []

    async def program() -> None:
        async with guard:
            runs.append(asyncio.create_task(guard.run(orders(broker_with(1)), Handler(), needs=[payments])))
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(program())
    await asyncio.wait(runs, timeout=600)
    await assert_nothing_left(guard)
    async with quiet_guard(payments):
        pass


@in_virtual_time
async def test_runs_that_were_awaited_are_forgotten() -> None:
    """One after the other, in a guard that lives long."""
    broker = broker_with(3)
    async with quiet_guard() as guard:
        for _ in range(3):
            run = asyncio.create_task(guard.run(orders(broker), Handler()))
            await asyncio.sleep(2)
            run.cancel()
            await asyncio.wait({run})
        assert len(guard.unawaited._made) == 1
        assert not guard.unawaited.any
    assert broker.committed(GROUP)


def test_only_what_has_not_begun_is_refused() -> None:
    """One that was closed, or has ended, was somebody's."""

    async def nothing() -> None: ...

    unawaited = Unawaited()
    closed, ended = nothing(), nothing()
    unawaited.note(closed)
    unawaited.note(ended)
    closed.close()
    asyncio.run(ended)
    assert not unawaited.any
    unawaited.refuse("it")


PAYMENTS = dependency()


def _nothing() -> list[Dependency]:
    return []


@pytest.mark.parametrize("needs", [lambda: [PAYMENTS], _nothing, {"orders": lambda: [PAYMENTS]}])
@in_virtual_time
async def test_needs_as_a_function_of_nothing_is_the_list_itself(needs: Any) -> None:
    """Before anything is consumed."""
    async with quiet_guard() as guard:
        with pytest.raises(SettingsError, match=r"is a function that takes nothing: write the list itself, needs(\['orders'\])?=\[...\]"):
            await guard.run(orders(broker_with(1)), Handler(), needs=needs)


@pytest.mark.parametrize("needs", [[], {"orders": []}, lambda delivery: [], dict, [PAYMENTS]])
def test_other_needs_pass(needs: Any) -> None:
    """Whether they are any good is for others to say, also of a builtin that tells nobody what it takes."""
    refuse_function_of_nothing("needs", needs)
