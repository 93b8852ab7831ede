from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from tests.runtime.stage import GROUP, ORDERS, Handler, broker_with, quiet_guard, running, until

from holdgate import Delivery
from holdgate.errors import SettingsError
from holdgate.runtime.handlers import Handlers
from holdgate.testing import MemoryBroker, MemoryIntake, in_virtual_time

ORDER = ORDERS[0]


async def _async(delivery: Delivery[Any]) -> None: ...


def _plain(delivery: Delivery[Any]) -> None: ...


async def _none() -> None: ...


async def _yielding(delivery: Delivery[Any]) -> AsyncIterator[None]:
    yield


def _yielding_plainly(delivery: Delivery[Any]) -> Iterator[None]:
    yield


class _YieldingCallable:
    def __call__(self, delivery: Delivery[Any]) -> Iterator[None]:
        yield


async def _two(delivery: Delivery[Any], other: object) -> None: ...


def intake(*topics: str) -> MemoryIntake:
    return MemoryIntake(MemoryBroker(topics=dict.fromkeys(topics or ("orders",), 1)), topics=topics or ("orders",))


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (7, r"handler=7 cannot be called: pass a function that takes one delivery"),
        (None, r"handler=None cannot be called"),
        (_none, r"handler must take one argument, the delivery; its signature is \(\)"),
        (_two, r"handler must take one argument, the delivery; its signature is \(delivery: .*, other: .*\)"),
        (_yielding, r"handler has a `yield`, so that calling it runs nothing: pass a function without one"),
        (_yielding_plainly, r"handler has a `yield`"),
        (_YieldingCallable(), r"handler has a `yield`"),
        (functools.partial(_yielding), r"handler has a `yield`"),
        ({}, r"handler is an empty mapping"),
        ({"mails": _async}, r"handler has no entry for \['orders'\], only for \['mails'\]: add one"),
        ({"orders": _async, "mails": _async}, r"handler has entries for \['mails'\], which the intake does not deliver .*\['orders'\]"),
        ({"orders": _two}, r"handler\['orders'\] must take one argument"),
    ],
)
@in_virtual_time
async def test_what_cannot_handle_is_refused_before_anything_is_consumed(handler: Any, text: str) -> None:
    """Each message names the value and the remedy."""
    broker = broker_with(1)
    async with quiet_guard() as guard:
        with pytest.raises(SettingsError, match=text):
            await guard.run(MemoryIntake(broker, topics=["orders"]), handler)
    assert not broker.ledger.positions("delivered", ORDER)


def test_a_coroutine_object_is_refused_and_closed() -> None:
    """`handler()` instead of `handler`: said so, without Python's own complaint about a coroutine that nobody awaited."""
    with pytest.raises(SettingsError, match="handler is a coroutine object: pass the function itself, without calling it"):
        Handlers(_none(), intake(), None)  # type: ignore[arg-type]


def test_a_builtin_without_a_signature_passes() -> None:
    """What cannot be looked at is believed."""
    assert Handlers(iter, intake(), None).names is None


def _wrapper_async(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    async def wrapper(*args: Any) -> Any:
        return fn(*args)

    return wrapper


def _wrapper_plain(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any) -> Any:
        return fn(*args)

    return wrapper


class _AsyncCallable:
    async def __call__(self, delivery: Delivery[Any]) -> None: ...

    async def method(self, delivery: Delivery[Any]) -> None: ...


class _PlainCallable:
    def __call__(self, delivery: Delivery[Any]) -> None: ...


@pytest.mark.parametrize(
    ("handler", "is_async"),
    [
        (_async, True),
        (_plain, False),
        (functools.partial(_two, other=1), True),
        (functools.partial(_plain), False),
        (_AsyncCallable(), True),
        (_AsyncCallable().method, True),
        (_PlainCallable(), False),
        (_wrapper_async(_plain), True),
        (_wrapper_plain(_async), True),
        (_wrapper_plain(_plain), False),
        (functools.partial(_wrapper_plain(_async)), True),
    ],
)
def test_the_colour_is_seen_through_wrappers(handler: Any, is_async: bool) -> None:
    """Async handlers run on the loop, plain ones in a thread, whatever they are dressed in."""
    found = Handlers(handler, intake(), None).of(ORDER)
    assert (getattr(found, "__name__", "itself") != "in_thread") is is_async


def _logged(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(delivery: Delivery[Any]) -> Any:
        return fn(delivery)

    return wrapper


class _Work:
    """Handlers that return their work instead of doing it, in every way that a stranger has found."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    async def work(self, delivery: Delivery[Any]) -> None:
        await asyncio.sleep(0.01)
        self.seen.append(delivery.position)

    async def without_await(self, delivery: Delivery[Any]) -> object:
        return self.work(delivery)

    async def as_a_task(self, delivery: Delivery[Any]) -> object:
        return asyncio.create_task(self.work(delivery))

    async def twice(self, delivery: Delivery[Any]) -> object:
        return self.without_await(delivery)

    def run_to_the_end(self) -> Callable[..., Any]:
        @functools.wraps(self.work)
        def wrapper(delivery: Delivery[Any]) -> None:
            self.seen.append(delivery.position)

        return wrapper

    @property
    def all(self) -> dict[str, Callable[..., Any]]:
        plain = {"without await": self.without_await, "task": self.as_a_task, "twice": self.twice, "logged": _logged(self.without_await)}
        return {**plain, "run to its end": self.run_to_the_end()}


def _in_a_loop_of_its_own(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any) -> Any:
        return asyncio.run(fn(*args))

    return wrapper


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # asyncio.run refuses the first one, and nobody else has it
@in_virtual_time
async def test_a_wrapper_that_runs_a_loop_of_its_own_runs_in_a_thread() -> None:
    """It looks like a wrapper that passes a coroutine on, and on our loop asyncio.run would refuse every message."""
    broker, seen = broker_with(3), list[int]()

    @_in_a_loop_of_its_own
    async def handler(delivery: Delivery[Any]) -> None:
        await asyncio.sleep(0)
        seen.append(delivery.position)

    guard = quiet_guard()
    async with guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handler)):
        await until(lambda: len(seen) == 3)
    assert seen == [0, 1, 2]


@in_virtual_time
async def test_a_runtime_error_of_a_wrapper_is_its_own() -> None:
    """Only what a second loop says is read so."""

    def handler(_: object) -> None:
        raise RuntimeError("closed")

    found = Handlers(functools.wraps(_async)(handler), intake(), None).of(ORDER)
    with pytest.raises(RuntimeError, match="closed"):
        await found(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", list(_Work().all))
@pytest.mark.parametrize("apart", [False, True])
@in_virtual_time
async def test_work_that_a_handler_returns_is_done_before_its_message_is_settled(way: str, apart: bool) -> None:
    """`return charge(delivery)` without an await: every message was acknowledged, and nothing had been done."""
    color: ContextVar[int] = ContextVar("color", default=-1)
    does = _Work()
    handler = does.all[way]

    async def in_color(delivery: Delivery[Any]) -> object:
        color.set(delivery.position)
        return handler(delivery)

    broker = broker_with(3)
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), in_color if apart else handler)):
        await until(lambda: broker.committed(GROUP) == {ORDER: 3})
    assert does.seen == [0, 1, 2]


@pytest.mark.parametrize(
    ("handler", "name"),
    [(_logged(_yielding), "_yielding"), (_logged(_yielding_plainly), "_yielding_plainly"), (lambda _: (each for each in ()), "<genexpr>")],
)
@in_virtual_time
async def test_a_handler_that_returns_a_generator_ends_the_run(handler: Any, name: str) -> None:
    """Behind a decorator nobody sees the `yield` before the first call. Then it is refused, and not a message is settled."""
    broker = broker_with(3)
    async with quiet_guard() as guard:
        with pytest.raises(SettingsError, match=f"{name} has a `yield`, so that calling it runs nothing"):
            async with asyncio.timeout(60):
                await guard.run(MemoryIntake(broker, topics=["orders"]), handler)
    assert broker.committed(GROUP).get(ORDER, 0) == 0


class _GivesItself:
    """As the clients of some databases do, whose `await` connects them."""

    def __await__(self) -> Generator[None, None, _GivesItself]:
        yield
        return self


@in_virtual_time
async def test_what_gives_itself_when_it_is_awaited_is_awaited_once() -> None:
    """A handler that returned such a client kept its worker from anything else, for ever."""
    broker = broker_with(1)

    async def handle(_: Delivery[Any]) -> object:
        return _GivesItself()

    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handle)):
        async with asyncio.timeout(60):
            await until(lambda: broker.committed(GROUP) == {ORDER: 1})


@in_virtual_time
async def test_a_generator_that_has_begun_is_a_result_like_any_other() -> None:
    """Somebody has run it: what is left of it is nobody's affair."""
    broker = broker_with(1)

    async def handle(_: Delivery[Any]) -> object:
        begun = iter([1, 2])
        steps = (each for each in begun)
        next(steps)
        return steps

    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handle)):
        await until(lambda: broker.committed(GROUP) == {ORDER: 1})


@in_virtual_time
async def test_work_that_a_handler_of_batches_returns_is_done() -> None:
    """The same for batches."""
    broker, seen = broker_with(4), []

    async def work(deliveries: Any) -> None:
        await asyncio.sleep(0.01)
        seen.extend(each.position for each in deliveries)

    async def handle(deliveries: Any) -> object:
        return work(deliveries)

    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handle, batch=2)):
        await until(lambda: broker.committed(GROUP) == {ORDER: 4})
    assert seen == [0, 1, 2, 3]


def test_a_mapping_goes_by_topic() -> None:
    """Each topic has its own handler; one that nobody named has none."""
    other = Handler()
    handlers = Handlers({"orders": _async, "mails": other}, intake("orders", "mails"), None)
    assert handlers.of(ORDER) is _async
    assert handlers.names == {"orders", "mails"}


async def test_a_plain_function_that_gives_something_to_await_is_awaited() -> None:
    """A lambda in front of an async function is no trap."""
    broker, seen = broker_with(2), []

    async def handle(position: int) -> None:
        await asyncio.sleep(0)
        seen.append(position)

    source = MemoryIntake(broker, topics=["orders"], poll_timeout=0.005)
    async with quiet_guard() as guard, running(guard.run(source, lambda delivery: handle(delivery.position))):
        async with asyncio.timeout(60):
            while len(seen) < 2:
                await asyncio.sleep(0.005)
    assert seen == [0, 1]
    assert broker.committed(GROUP) == {ORDER: 2}


async def test_a_thread_that_has_not_begun_is_withdrawn() -> None:
    """An interrupted call that no thread has taken never runs, and takes no lane."""
    began: list[int] = []
    handlers = Handlers(lambda delivery: began.append(1), intake(), 1)
    handle = handlers.of(ORDER)
    with handlers:
        first = asyncio.ensure_future(handle(None))  # type: ignore[arg-type]
        await first
        first = asyncio.ensure_future(handle(None))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    assert len(began) <= 2


@in_virtual_time
async def test_a_topic_without_a_handler_that_comes_under_a_pattern_is_held() -> None:
    """With a list of needs, too: it waits with a reason, and the run goes on."""
    broker, handler = MemoryBroker(topics={"orders": 1, "mails": 1}), Handler()

    class Pattern(MemoryIntake):
        @property
        def names(self) -> None:
            return None

    broker.produce("orders", b"")
    broker.produce("mails", b"")
    source = Pattern(broker, topics=["orders", "mails"])
    async with quiet_guard() as guard, running(guard.run(source, {"orders": handler})) as run:
        await until(lambda: len(handler.done) == 1)
        reasons = {source.name: seen.reasons for source, seen in guard.snapshot().sources.items()}
        assert reasons == {"orders": (), "mails": ("no needs",)}
        assert not run.done()
