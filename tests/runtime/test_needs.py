"""Needs that each message has by itself: what a function may answer, what becomes of a message it cannot answer for, and by a header."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.runtime.stage import Down, quiet_guard

from holdgate import Dependency, Guard, Reject, RetryPolicy, needs_by_header
from holdgate.errors import HoldgateError, NeedsError, SettingsError
from holdgate.events import MessagesHeld, SourceHeld
from holdgate.testing import MemoryBroker, MemoryDeadLetters, MemoryIntake, run_virtual

if TYPE_CHECKING:
    from holdgate import Delivery

payments = Dependency("payments", failures=Down)
email = Dependency("email", failures=Down)
stranger = Dependency("stranger")

SOON = RetryPolicy(attempts=2, initial_backoff=0.1)


class Headed:
    """A delivery as far as `needs_by_header` looks at it."""

    def __init__(self, **headers: object) -> None:
        self.headers = headers


def looked_up(needs: Any, **headers: object) -> Any:
    return needs(cast("Any", Headed(**headers)))


# -- by the value of a header ---------------------------------------------------------------------------------------------------------


def test_a_value_is_the_same_as_text_and_as_bytes() -> None:
    """Kafka has bytes, RabbitMQ text; and the settings may have either."""
    needs = needs_by_header("type", {"charge": [payments], b"mail": [email], 3: [payments, email], b"\xff": []})

    assert looked_up(needs, type=b"charge") == looked_up(needs, type="charge") == (payments,)
    assert looked_up(needs, type=b"mail") == looked_up(needs, type="mail") == (email,)
    assert looked_up(needs, type=3) == (payments, email)
    assert looked_up(needs, type=b"\xff") == ()
    assert needs.dependencies == (payments, email)


@pytest.mark.parametrize("headers", [{}, {"type": "other"}, {"type": b"\xfe"}, {"type": ["a", "list"]}, {"Type": "charge"}])
def test_a_value_that_is_not_listed_is_an_error_or_has_the_needs_of_the_rest(headers: dict[str, object]) -> None:
    """The error names the values that there are, and never the one that came."""
    needs = needs_by_header("type", {"charge": [payments]})
    with pytest.raises(NeedsError, match=r"^header 'type' has none of the values 'charge': add its value, or otherwise=") as raised:
        looked_up(needs, **headers)
    assert "other" not in str(raised.value).replace("otherwise", "")
    rest = needs_by_header("type", {"charge": [payments]}, otherwise=[email])
    assert (looked_up(rest, **headers), rest.dependencies) == ((email,), (payments, email))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("", {"charge": [payments]}), "takes the header's name first, got ''"),
        (({"charge": [payments]}, "type"), "takes the header's name first"),
        (("type", {}), "takes a mapping of values to lists of dependencies, got {}"),
        (("type", [payments]), "takes a mapping of values"),
        (("type", {"charge": payments}), r"needs_by_header\('type', ...\)\['charge'\] takes a list"),
        (("type", {"charge": ["payments"]}), "pass the Dependency itself, not its name"),
    ],
)
def test_a_slip_in_the_mapping_is_refused(arguments: Any, says: str) -> None:
    """Before anything is consumed, and with the remedy."""
    with pytest.raises(SettingsError, match=says):
        needs_by_header(*arguments)


def test_a_slip_in_the_needs_of_the_rest_is_refused() -> None:
    """A single dependency is no list."""
    with pytest.raises(SettingsError, match=r"otherwise=\.\.\.\) takes a list"):
        needs_by_header("type", {"charge": [payments]}, otherwise=cast("Any", payments))


# -- a run ----------------------------------------------------------------------------------------------------------------------------


class Play:
    """Plays a run over messages with a number in their header; what was handled, rejected, and called."""

    def __init__(self, needs: Any, *, declared: tuple[Dependency, ...] = (payments, email), count: int = 4, **settings: Any) -> None:
        self.needs = needs
        self.declared = declared
        self.count = count
        self.settings: dict[str, Any] = {"order": "none", "retry": SOON, **settings}
        self.handled: list[int] = []
        self.down: set[int] = set()
        self.dead = MemoryDeadLetters()
        self.events: list[object] = []

    async def handle(self, delivery: Delivery[Any]) -> None:
        if delivery.headers["number"] in self.down:
            raise Down
        self.handled.append(delivery.headers["number"])

    def play(self, seconds: float = 60.0) -> Play:
        run_virtual(self._play(seconds))
        return self

    async def _play(self, seconds: float) -> None:
        broker = MemoryBroker(topics={"orders": 1})
        for number in range(self.count):
            broker.produce("orders", b"body", headers={"number": number})
        async with quiet_guard(*self.declared, observers=[self.events.append]) as guard:
            intake = MemoryIntake(broker, topics=["orders"])
            run = asyncio.create_task(guard.run(intake, self.handle, needs=self.needs, dead_letters=self.dead, **self.settings))
            await asyncio.sleep(seconds)
            assert not run.done(), "one message must not end the run"
            await guard.stop()
            await run

    @property
    def rejected(self) -> list[tuple[int, str | None, int]]:
        return [(letter.delivery.headers["number"], letter.exception, letter.attempts) for letter in self.dead.letters]


def number_of(delivery: Delivery[Any]) -> int:
    number: int = delivery.headers["number"]
    return number


def test_a_function_is_asked_once_for_each_message_however_often_it_is_tried() -> None:
    """It says what the message is, and that does not change."""
    asked: list[int] = []

    def needs_of(delivery: Delivery[Any]) -> list[Dependency]:
        asked.append(number_of(delivery))
        return [payments, payments] if number_of(delivery) % 2 else []

    play = Play(needs_of)
    play.down = {1}
    play.play()

    assert (asked, play.handled) == ([0, 1, 2, 3], [0, 2, 3])


@pytest.mark.parametrize(
    "answer", [lambda: payments, lambda: [payments, email], lambda: (each for each in (payments, email)), lambda: {payments: 1}, list]
)
def test_a_dependency_or_any_number_of_them_is_an_answer(answer: Callable[[], Any]) -> None:
    """Whatever can be gone through once."""
    assert sorted(Play(lambda _: answer()).play().handled) == [0, 1, 2, 3]


async def _later() -> list[Dependency]:
    return []


def _raises(error: BaseException) -> Any:
    raise error


def _breaks_off() -> Iterator[Dependency]:
    yield payments
    raise ValueError("secret")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda: None, "needs= answered None: it must return a Dependency, several, or [] for nothing"),
        (lambda: "secret", "needs= answered a name: it must return a Dependency, several, or [] for nothing"),
        (lambda: ["secret"], "needs= answered a name: it must return a Dependency, several, or [] for nothing"),
        (lambda: b"secret", "needs= answered an object of type bytes: it must return a Dependency, several, or [] for nothing"),
        (lambda: 5, "needs= answered an object of type int: it must return a Dependency, several, or [] for nothing"),
        (lambda: [payments, 5], "needs= answered an object of type int: it must return a Dependency, several, or [] for nothing"),
        (_later, "needs= answered an object of type coroutine: it must return a Dependency, several, or [] for nothing"),
        (lambda: [stranger], "needs= answered the dependency 'stranger', which the guard does not know: write Guard(stranger, ...)"),
        (lambda: Dependency("email"), "needs= answered the dependency 'email', which the guard does not know: write Guard(email, ...)"),
        (lambda: _raises(KeyError("secret")), "needs= raised KeyError at "),
        (lambda: _raises(asyncio.CancelledError("secret")), "needs= raised CancelledError at "),
        (_breaks_off, "needs= raised ValueError at "),
    ],
)
def test_what_is_no_answer_fails_that_message_alone(answer: Callable[[], Any], says: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is tried by the retry policy and then rejected, its handler is never called, and nothing of the message is in the log."""
    with caplog.at_level(logging.INFO, "holdgate"):
        play = Play(lambda delivery: answer() if number_of(delivery) == 2 else [email]).play()

    assert (sorted(play.handled), play.rejected) == ([0, 1, 3], [(2, "holdgate.errors.NeedsError", 2)])
    (told,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR and "needs=" in record.getMessage()][:1]
    assert told.startswith(f"orders[0]: {says}")
    assert "secret" not in caplog.text


def test_the_line_names_the_place_in_the_users_function(caplog: pytest.LogCaptureFixture) -> None:
    """Not a line of holdgate's, where nothing can be mended."""
    Play(lambda _: _raises(KeyError("secret"))).play()

    assert "needs= raised KeyError at test_needs.py:" in caplog.text


def test_a_function_may_reject_a_message() -> None:
    """At once, with its reason, as a handler may."""
    play = Play(lambda delivery: _raises(Reject("no such kind")) if number_of(delivery) == 2 else [email]).play()

    assert play.rejected == [(2, "holdgate.errors.Reject", 1)]
    assert play.dead.letters[0].reason == "no such kind"


def test_messages_wait_and_the_others_go_on() -> None:
    """From the function to the log, in a run."""
    play = Play(lambda delivery: [payments] if number_of(delivery) % 2 else [email], count=60)
    play.down = set(range(1, 60, 2))
    play.play(seconds=2.0)

    assert sorted(play.handled) == list(range(0, 60, 2))
    assert [event.dependencies for event in play.events if isinstance(event, MessagesHeld)] == [("payments",)]
    assert not [event for event in play.events if isinstance(event, SourceHeld) and event.reasons != ("draining",)]


def test_a_mapping_by_topic_may_have_functions_beside_lists() -> None:
    """Each topic by its own rule."""
    broker = MemoryBroker(topics={"orders": 1, "bills": 1})
    for topic in ("orders", "bills"):
        broker.produce(topic, topic.encode(), headers={"type": b"mail"})
    handled: list[bytes | None] = []

    async def handle(delivery: Delivery[Any]) -> None:
        handled.append(delivery.body)

    async def both() -> tuple[tuple[str, ...], ...]:
        async with quiet_guard() as guard:
            needs = {"orders": needs_by_header("type", {"mail": [email]}), "bills": [payments]}
            run = asyncio.create_task(guard.run(MemoryIntake(broker, topics=["orders", "bills"]), handle, needs=needs))
            await asyncio.sleep(1.0)
            seen = guard.snapshot().sources.values()
            await guard.stop()
            await run
            return tuple(each.needs for each in seen)

    assert set(run_virtual(both())) == {("email",), ("payments",)}
    assert sorted(handled, key=str) == [b"bills", b"orders"]


def test_a_loop_of_the_users_own_meets_no_message_whose_needs_are_unknown() -> None:
    """It is rejected between two turns of the loop."""
    broker = MemoryBroker(topics={"orders": 1})
    for number in range(3):
        broker.produce("orders", b"body", headers={"number": number})
    dead = MemoryDeadLetters()
    met: list[int] = []

    async def loop() -> None:
        async with (
            quiet_guard(email) as guard,
            guard.deliveries(
                MemoryIntake(broker, topics=["orders"]),
                needs=lambda delivery: [email] if number_of(delivery) != 1 else cast("Any", None),
                retry=SOON,
                dead_letters=dead,
            ) as deliveries,
        ):
            async for delivery in deliveries:
                async with delivery:
                    met.append(delivery.headers["number"])
                if len(met) == 2:
                    break

    run_virtual(loop())

    assert (met, [letter.delivery.headers["number"] for letter in dead.letters]) == ([0, 2], [1])


# -- what is refused ------------------------------------------------------------------------------------------------------------------


async def _async_needs(delivery: Delivery[Any]) -> list[Dependency]:
    return []


@pytest.mark.parametrize(
    ("needs", "declared", "settings", "says"),
    [
        (_async_needs, (email,), {}, "needs=.* is async: give a plain function"),
        (lambda _: [], (), {}, r"write Guard\(payments, email\), or needs_by_header\('type', "),
        ({"orders": lambda _: []}, (), {}, r"needs\['orders'\] is a function, and the guard knows no dependency"),
        (lambda _: [], (email,), {"batch": 5}, "batch=5 and a function in needs=: a batch has one verdict"),
        ([email], (), {"held_span": 5}, "held_span= is given, but no function in needs="),
        (lambda _: [], (email,), {"held_span": 5}, "held_span=5 is less than span=1000"),
        (lambda _: [], (email,), {"held_span": 0}, "held_span must be a whole number from 1, got 0"),
        (payments, (), {}, "needs takes a list, got"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_consumed(needs: Any, declared: Any, settings: dict[str, Any], says: str) -> None:
    """With the remedy, as every setting."""

    async def run() -> None:
        broker = MemoryBroker(topics={"orders": 1})
        async with quiet_guard(*declared) as guard:
            await guard.run(MemoryIntake(broker, topics=["orders"]), _take, needs=needs, **settings)

    with pytest.raises(SettingsError, match=says):
        run_virtual(run())


async def _take(given: Any) -> None:
    """A handler of one or of several."""


def test_the_error_is_one_of_holdgates() -> None:
    """`except HoldgateError` gets it, and it is no SettingsError: those end a run."""
    assert issubclass(NeedsError, HoldgateError)
    assert not issubclass(NeedsError, SettingsError)
    assert Guard(payments, email) is not None
