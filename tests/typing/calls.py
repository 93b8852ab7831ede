"""The call forms, as a type checker sees them: results and parameters of what is called are kept. Checked, and never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import assert_type

from holdgate import CallNotPermitted, Dependency, Guard
from holdgate.core import Circuit, Outcome

payments = Dependency("payments")


async def fetch(order: int, currency: str = "EUR") -> bytes:
    return b"%d" % order + currency.encode()


def look_up(order: int) -> str:
    return str(order)


async def call() -> None:
    """The result is the function's, and the arguments are checked against it."""
    assert_type(await payments.call(fetch, 1), bytes)
    assert_type(await payments.call(fetch, 1, "USD"), bytes)
    assert_type(await payments.call(fetch, 1, fallback=lambda refused: b"" if refused.retry_at is None else b"later"), bytes)
    await payments.call(fetch, "1")  # type: ignore[arg-type]
    await payments.call(fetch, order=1)  # type: ignore[arg-type]
    await payments.call(look_up, 1)  # type: ignore[arg-type]
    await payments.call(fetch(1))  # type: ignore[arg-type]


def call_sync() -> None:
    """The same for a plain function."""
    assert_type(payments.call_sync(look_up, 1), str)
    assert_type(payments.call_sync(look_up, 1, fallback=lambda refused: refused.dependency), str)
    payments.call_sync(look_up, "1")  # type: ignore[arg-type]
    payments.call_sync(look_up, 1, fallback=lambda: "")  # type: ignore[arg-type,misc]


# -- decorators keep signatures -------------------------------------------------------------------------------------------------------


@payments.guarded
async def charge(order: int, /, *, amount: float = 1.0) -> str:
    return f"{order}: {amount}"


@payments.guarded
def price(order: int) -> float:
    return order * 1.0


def _instead(refused: CallNotPermitted) -> float:
    return refused.retry_at or 0.0


@payments.guarded(fallback=_instead)
def price_or_wait(order: int) -> float:
    return order * 1.0


async def guarded() -> None:
    """Async stays async, plain stays plain; positional and keyword parameters stay what they are."""
    assert_type(await charge(1, amount=2.0), str)
    assert_type(price(1), float)
    assert_type(price(order=1), float)
    assert_type(price_or_wait(1), float)
    await charge(order=1)  # type: ignore[call-arg]
    await charge(1, 2.0)  # type: ignore[call-arg]
    price("1")  # type: ignore[arg-type]
    price_or_wait("1")  # type: ignore[arg-type]


async def blocks() -> None:
    """A block is one call, for `with` and `async with`."""
    with payments.calling():
        look_up(1)
    async with payments.calling():
        await fetch(1)
    assert_type(payments.circuit, Circuit)
    assert_type(payments.classify(ValueError()), Outcome | None)


# -- patient functions ----------------------------------------------------------------------------------------------------------------

guard = Guard(payments)


@guard.patient(needs=[payments])
async def send(order: int, *, urgent: bool = False) -> bytes:
    return b"%d" % order if urgent else b""


@guard.patient(needs=[payments], wait_at_most=60)
def send_sync(order: int) -> int:
    return order


async def patient() -> None:
    """The decorated function has the signature of the plain one."""
    assert_type(await send(1, urgent=True), bytes)
    assert_type(send_sync(1), int)
    await send("1")  # type: ignore[arg-type]
    send_sync()  # type: ignore[call-arg]
    guard.patient(needs=["payments"])  # type: ignore[list-item]


def settings_of_a_dependency() -> None:
    """Failures are types, a tuple of them, or a predicate."""
    Dependency("a", failures=ConnectionError)
    Dependency("a", failures=(ConnectionError, TimeoutError), excluded=lambda error: isinstance(error, ValueError))
    Dependency("a", failures="ConnectionError")  # type: ignore[arg-type]
    Dependency("a", retry_after=lambda error: 1.0 if error.args else None)
    Dependency("a", result_failures=lambda answer: answer is None)
    Dependency("a", setting=1)  # type: ignore[call-arg]


# What the decorators give may be passed on where a function is wanted.
ASYNC: Callable[[int], Awaitable[bytes]] = send
PLAIN: Callable[[int], float] = price
